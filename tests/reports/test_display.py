"""The display: a thread that writes all messages, and ends with its terminal."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest

from daskpar.reports.display import Display, writer_of_process
from daskpar.reports.display_writer import DisplayWriter
from daskpar.reports.plain_text_writer import PlainTextWriter
from daskpar.reports.terminal_writer import TerminalWriter

from .display_scene import FakeTerminal, progress, step, warned


def test_the_writer_thread_writes_everything_before_close_returns() -> None:
    stream = io.StringIO()
    shown = Display(PlainTextWriter(stream))
    for i in range(100):
        shown.handle(warned(str(i)))
    shown.close()
    assert stream.getvalue().splitlines() == [f"warning: score: {i}" for i in range(100)]


def test_a_display_that_had_no_event_closes() -> None:
    Display(PlainTextWriter(io.StringIO())).close()


def test_a_terminal_that_is_gone_ends_the_display_only() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    shown = Display(PlainTextWriter(Gone()))
    shown.handle(warned("x"))
    shown.close()
    shown.handle(warned("y"))


def test_what_others_write_at_the_very_end_is_shown_too() -> None:
    """A thread that was in the middle of writing goes on when all has been drawn."""
    stream = FakeTerminal()
    shown = Display(TerminalWriter(stream))
    shown.handle(warned("x"))
    shown.add_message("before")
    shown.close()
    shown.add_message("late")
    assert "before\n" in stream.getvalue() and stream.getvalue().endswith("late\n")


@pytest.mark.parametrize(
    ("stream", "term", "writer"),
    [
        (FakeTerminal(), "xterm", TerminalWriter),
        (FakeTerminal(), "dumb", PlainTextWriter),
        (FakeTerminal(), "", PlainTextWriter),
        (io.StringIO(), "xterm", PlainTextWriter),
    ],
)
def test_the_writer_that_suits_the_stream(
    stream: io.StringIO, term: str, writer: type[DisplayWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    assert type(writer_of_process(stream)) is writer


def test_escapes_of_a_script_do_not_reach_the_terminal() -> None:
    stream = io.StringIO()
    shown = Display(PlainTextWriter(stream))
    shown.handle(warned("\x1b[2Jgone"))
    shown.close()
    assert stream.getvalue() == "warning: score: \ufffd[2Jgone\n"


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e9])
def test_a_clock_that_is_set_meanwhile_changes_no_times_that_are_shown(
    monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    shown = Display(PlainTextWriter(stream := io.StringIO()))
    monkeypatch.setattr(shown, "_start_thread", lambda: None)
    shown.handle(replace(step(), time=time.time()))
    monkeypatch.setattr("time.time", lambda real=time.time: real() + jump)
    for done in (0, 10):
        shown.handle(replace(progress(done), time=time.time()))
    monkeypatch.setattr("time.monotonic", lambda real=time.monotonic: real() + 20)
    shown.draw()
    assert "score: 0:00:20" in stream.getvalue() or "score: 0:00:21" in stream.getvalue()
    assert "30/min" in stream.getvalue()
