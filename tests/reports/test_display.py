"""The display on a fake terminal, in a notebook, in a file."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import threading
from types import SimpleNamespace

import pytest

from daskpar.events import Event, Progress, StepStarted, Warned
from daskpar.reports import display
from daskpar.reports.display import Display, Lines, Notebook, Paper, Terminal, plain_pause
from daskpar.results import Counts

from .conftest import START, ended, planned


class FakeTerminal(io.StringIO):
    """A terminal that keeps what is written; `screen` is what a user would see."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        lines, row = [""], 0
        for token in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+", self.getvalue()):
            if token == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif token == "\r":
                pass  # columns are not followed: every drawing writes whole lines
            elif token.endswith("J"):
                lines = [*lines[:row], ""]
            elif token.endswith("A"):
                row -= int(token[2:-1])
                assert row >= 0, "the cursor left the screen"
            else:
                lines[row] = token
        return lines


class Ascii(io.TextIOWrapper):
    """A stream that knows no more than ASCII."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="ascii", write_through=True)


def step(name: str = "score") -> StepStarted:
    return StepStarted(time=START, step=name, kind="parallel", folder="/run")


def progress(done: int, name: str = "score", doing: str = "") -> Progress:
    return Progress(
        time=START + done,
        step=name,
        counts=Counts(planned=20, succeeded=done, items=10 * done),
        running=2,
        doing=doing,
    )


def warned(text: str) -> Warned:
    return Warned(time=START, step="score", text=text)


class Scene:
    """A display that is drawn by hand at chosen times."""

    def __init__(self, paper: Paper) -> None:
        self.now = START
        self.display = Display(paper, clock=lambda: self.now)
        self.display._thread = threading.Thread()  # drawn below, and by nobody else

    def hear(self, *events: Event, now: float = 0.0) -> None:
        self.now = START + now
        for event in events:
            self.display.hear(event)
        self.display.draw()


def terminal(width: int = 100, height: int = 24) -> tuple[FakeTerminal, Terminal]:
    stream = FakeTerminal()
    return stream, Terminal(stream, size=lambda: os.terminal_size((width, height)))


def test_lines_of_steps_are_redrawn_in_place_and_remarks_scroll_above() -> None:
    stream, paper = terminal()
    scene = Scene(paper)
    scene.hear(step("a"), step("b"), progress(5, "a"), now=5)
    scene.hear(progress(10, "b"), warned("careful"), now=10)
    assert [line[:20] for line in stream.screen()] == [
        "warning: score: care",
        "a  0:00:10  █████░░░",
        "b  0:00:10  ████████",
        "",
    ]
    scene.hear(progress(15, "a"), now=15)
    assert [line[:16] for line in stream.screen()] == [
        "warning: score: ",
        "a  0:00:15  ████",
        "b  0:00:15  ████",
        "",
    ]


def test_nothing_is_written_when_nothing_changed() -> None:
    stream, paper = terminal()
    scene = Scene(paper)
    scene.hear(step(), progress(5), now=5)
    before = stream.getvalue()
    scene.hear(now=5)
    assert stream.getvalue() == before


def test_a_step_that_ended_becomes_a_line_and_the_end_leaves_no_trace() -> None:
    stream, paper = terminal()
    scene = Scene(paper)
    scene.hear(step(), planned(20), progress(5), now=5)
    scene.hear(ended(planned=20, succeeded=20, items=200), now=60)
    paper.put(paper.ending())
    assert stream.screen() == [
        "score: 20 mini-batches, 200 items; 2 processors on 1 node",
        "score: completed after 1 min 0 s: 20 of 20 mini-batches succeeded; 200 items",
        "",
    ]


def test_an_interrupted_end_clears_the_lines_that_are_still_drawn() -> None:
    stream, paper = terminal()
    scene = Scene(paper)
    scene.hear(step(), progress(5), now=5)
    stream.write("^C")
    paper.put(paper.ending())
    assert stream.screen() == [""]
    stream.write("Traceback\n")
    assert stream.screen() == ["Traceback", ""]


@pytest.mark.parametrize("width", [10, 20, 40])
def test_a_narrow_terminal_is_never_overfull(width: int) -> None:
    stream, paper = terminal(width)
    scene = Scene(paper)
    for done in range(5):
        scene.hear(step(), progress(done), now=done)
    drawn = stream.screen()[:-1]
    assert len(drawn) == 1
    assert all(len(line) < width for line in drawn)


def test_a_terminal_that_became_narrower_has_folded_the_lines() -> None:
    stream = FakeTerminal()
    sizes = iter([(100, 24), (20, 24)])
    paper = Terminal(stream, size=lambda: os.terminal_size(next(sizes)))
    scene = Scene(paper)
    scene.hear(step(), progress(5), now=5)
    folded = -(-len(stream.screen()[0]) // 20)
    scene.hear(progress(6), now=6)
    assert f"\x1b[{folded}A" in stream.getvalue()


def test_a_terminal_without_the_signs_gets_simpler_ones() -> None:
    stream = Ascii()
    scene = Scene(Terminal(stream, size=lambda: os.terminal_size((100, 24))))
    scene.hear(step(), planned(20), progress(5), warned("ü"), now=5)
    assert b"#####---------------" in stream.bytes.getvalue()
    assert b"warning: score: ?" in stream.bytes.getvalue()


def test_plain_lines_come_seldom_and_at_each_change_of_phase() -> None:
    stream = io.StringIO()
    scene = Scene(Lines(stream))
    scene.hear(step(), now=0)
    scene.hear(progress(0, doing="listing"), now=1)
    scene.hear(progress(0, doing="listing 40 %"), now=2)
    scene.hear(progress(0), now=3)
    for second in range(4, 20):
        scene.hear(progress(second), now=second)
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "score: 0:00:01", "score: 0:00:03", "score: 0:00:08", "score: 0:00:13", "score: 0:00:18",
    ]  # fmt: skip
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()


@pytest.mark.parametrize(("age", "pause"), [(0, 5), (100, 5), (600, 30), (100_000, 60)])
def test_a_long_job_does_not_fill_its_log(age: float, pause: float) -> None:
    assert plain_pause(age) == pause


def test_a_notebook_has_one_line_that_changes() -> None:
    stream = io.StringIO()
    scene = Scene(Notebook(stream))
    scene.hear(step("a"), step("b"), progress(5, "a"), progress(6, "b"), now=6)
    scene.hear(progress(7, "a"), warned("careful"), now=7)
    scene.display._paper.put(scene.display._paper.ending())
    assert "\x1b" not in stream.getvalue()
    visible = [line.split("\r")[-1] for line in stream.getvalue().split("\n")]
    assert visible == ["warning: score: careful", ""]
    assert "a: 0:00:07" in stream.getvalue() and "  |  b: 0:00:07" in stream.getvalue()


def test_the_writer_thread_says_everything_before_close_returns() -> None:
    stream = io.StringIO()
    shown = Display(Lines(stream))
    for i in range(100):
        shown.hear(warned(str(i)))
    shown.close()
    assert stream.getvalue().splitlines() == [f"warning: score: {i}" for i in range(100)]


def test_a_display_that_heard_nothing_closes() -> None:
    Display(Lines(io.StringIO())).close()


def test_a_terminal_that_is_gone_ends_the_display_only() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    shown = Display(Lines(Gone()))
    shown.hear(warned("x"))
    shown.close()
    shown.hear(warned("y"))


def test_escapes_of_a_script_do_not_reach_the_terminal() -> None:
    stream = io.StringIO()
    scene = Scene(Lines(stream))
    scene.hear(warned("\x1b[2Jgone"))
    assert stream.getvalue() == "warning: score: \ufffd[2Jgone\n"


def test_what_others_write_while_lines_are_redrawn_is_said_above_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, paper = terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    logger = logging.getLogger("test.of.another.library")
    logger.propagate = False
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    shown = Display(paper)
    shown.hear(step())
    logger.warning("from a library")
    print("printed", end="", file=sys.stderr)
    assert sys.stderr.isatty()
    shown.close()
    assert stream.screen() == ["from a library", "printed", ""]
    assert sys.stderr is stream and handler.stream is stream
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("stream", "term", "paper"),
    [
        (FakeTerminal(), "xterm", Terminal),
        (FakeTerminal(), "dumb", Lines),
        (FakeTerminal(), "", Lines),
        (io.StringIO(), "xterm", Lines),
    ],
)
def test_the_paper_that_suits_the_stream(
    stream: io.StringIO, term: str, paper: type[Paper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    assert type(Display.of_process(stream)._paper) is paper


def test_an_ipython_kernel_is_a_notebook_and_a_plain_shell_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for shell, expected in ((SimpleNamespace(kernel=1), True), (SimpleNamespace(), False), (None, False)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert display.in_notebook() is expected
    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    )
    assert type(Display.of_process(io.StringIO())._paper) is Notebook


def test_a_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert not display.can_redraw(stream)
    assert display.terminal_size(io.StringIO()) == os.terminal_size((80, 24))
