"""The display on a terminal: lines that are redrawn, messages above them."""

from __future__ import annotations

import io
import os

import pytest

from daskpar.cells import cells
from daskpar.reports.terminal_writer import TerminalWriter, can_redraw, terminal_size

from .conftest import ended, planned
from .display_scene import FakeTerminal, Scene, progress, step, warned


def terminal(width: int = 100, height: int = 24) -> tuple[FakeTerminal, TerminalWriter]:
    stream = FakeTerminal()
    return stream, TerminalWriter(stream, size=lambda: os.terminal_size((width, height)))


class Ascii(io.TextIOWrapper):
    """A stream that knows no more than ASCII."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="ascii", write_through=True)


def test_lines_of_steps_are_redrawn_in_place_and_messages_scroll_above() -> None:
    stream, writer = terminal()
    scene = Scene(writer)
    scene.show(step("a"), step("b"), progress(5, "a"), now=5)
    scene.show(progress(10, "b"), warned("careful"), now=10)
    assert [line[:20] for line in stream.screen()] == [
        "warning: score: care",
        "a  0:00:10  █████░░░",
        "b  0:00:10  ████████",
        "",
    ]
    scene.show(progress(15, "a"), now=15)
    assert [line[:16] for line in stream.screen()] == [
        "warning: score: ",
        "a  0:00:15  ████",
        "b  0:00:15  ████",
        "",
    ]


def test_nothing_is_written_when_nothing_changed() -> None:
    stream, writer = terminal()
    scene = Scene(writer)
    scene.show(step(), progress(5), now=5)
    before = stream.getvalue()
    scene.show(now=5)
    assert stream.getvalue() == before


def test_a_step_that_ended_becomes_a_line_and_the_end_leaves_no_trace() -> None:
    stream, writer = terminal()
    scene = Scene(writer)
    scene.show(step(), planned(20), progress(5), now=5)
    scene.show(ended(planned=20, succeeded=20, items=200), now=60)
    writer.write(writer.ending())
    assert stream.screen() == [
        "score: 20 mini-batches, 200 items; 2 processors on 1 node",
        "score: completed after 1 min 0 s: 20 of 20 mini-batches succeeded; 200 items",
        "",
    ]


def test_an_interrupted_end_clears_the_lines_that_are_still_drawn() -> None:
    stream, writer = terminal()
    scene = Scene(writer)
    scene.show(step(), progress(5), now=5)
    stream.write("^C")
    writer.write(writer.ending())
    assert stream.screen() == [""]
    stream.write("Traceback\n")
    assert stream.screen() == ["Traceback", ""]


@pytest.mark.parametrize("width", [10, 20, 40])
def test_a_narrow_terminal_is_never_overfull(width: int) -> None:
    stream, writer = terminal(width)
    scene = Scene(writer)
    for done in range(5):
        scene.show(step(), progress(done), now=done)
    drawn = stream.screen()[:-1]
    assert len(drawn) == 1
    assert all(len(line) < width for line in drawn)


def test_wide_characters_never_overfill_a_line() -> None:
    stream, writer = terminal(30)
    scene = Scene(writer)
    for done in range(3):
        scene.show(step("画像を分類する工程"), progress(done, "画像を分類する工程"), now=done)
    (line,) = stream.screen()[:-1]
    assert cells(line) < 30 and "…" in line


def test_a_terminal_that_became_narrower_has_folded_the_lines() -> None:
    stream = FakeTerminal()
    sizes = iter([(100, 24), (20, 24)])
    writer = TerminalWriter(stream, size=lambda: os.terminal_size(next(sizes)))
    scene = Scene(writer)
    scene.show(step(), progress(5), now=5)
    folded = -(-len(stream.screen()[0]) // 20)
    scene.show(progress(6), now=6)
    assert f"\x1b[{folded}A" in stream.getvalue()


def test_a_terminal_without_the_signs_gets_simpler_ones() -> None:
    stream = Ascii()
    scene = Scene(TerminalWriter(stream, size=lambda: os.terminal_size((100, 24))))
    scene.show(step(), planned(20), progress(5), warned("ü"), now=5)
    assert b"#####---------------" in stream.bytes.getvalue()
    assert b"warning: score: ?" in stream.bytes.getvalue()


def test_a_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert not can_redraw(stream)
    assert terminal_size(io.StringIO()) == os.terminal_size((80, 24))
