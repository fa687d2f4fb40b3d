"""What others write to the terminal while lines are redrawn on it."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from daskpar.reports.display import Display
from daskpar.reports.stream_capture import captured_streams
from daskpar.reports.terminal_writer import TerminalWriter

from .display_scene import FakeTerminal, step, warned


def test_what_others_write_while_lines_are_redrawn_is_shown_above_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", stream)
    logger = logging.getLogger("test.of.another.library")
    logger.propagate = False
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    shown = Display(TerminalWriter(stream))
    shown.handle(step())
    logger.warning("from a library")
    print("printed", end="", file=sys.stderr)
    assert sys.stderr.isatty()
    shown.close()
    assert stream.screen() == ["from a library", "printed", ""]
    assert sys.stderr is stream and handler.stream is stream
    logger.removeHandler(handler)


def test_lines_are_shown_whole_and_the_rest_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = FakeTerminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    shown: list[str] = []
    with captured_streams(stream, shown.append):
        print("a\nb\nbegun", end="")
        assert shown == ["a\nb"]
        print(" on stderr", file=sys.stderr)
        print("rest", end="")
    assert shown == ["a\nb", "begun on stderr", "rest"]
    assert sys.stdout is stream and stream.getvalue() == ""


def test_a_stream_that_another_has_replaced_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", FakeTerminal())
    another = io.StringIO()
    with captured_streams(sys.stdout, lambda text: None):
        monkeypatch.setattr(sys, "stdout", another)
    assert sys.stdout is another


def terminal_of_process(monkeypatch: pytest.MonkeyPatch) -> FakeTerminal:
    """What the standard error of this process is; called in the test itself, for pytest replaces that before."""
    stream = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.fixture
def handler() -> Iterator[logging.StreamHandler[Any]]:
    logger = logging.getLogger("test.of.two.runs")
    logger.propagate = False
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize("first_to_end", [0, 1])
def test_of_two_runs_either_may_end_first(
    handler: logging.StreamHandler[Any], first_to_end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = terminal_of_process(monkeypatch)
    handler.setStream(terminal)
    logger = logging.getLogger("test.of.two.runs")
    shown: tuple[list[str], list[str]] = ([], [])
    runs = [captured_streams(sys.stderr, each.append) for each in shown]
    for run in runs:
        run.__enter__()
    print("both\nbegun", end="", file=sys.stderr)
    assert shown == ([], ["both"])
    runs[first_to_end].__exit__(None, None, None)
    print(" and ended", file=sys.stderr)
    logger.warning("logged")
    left = shown[1 - first_to_end]
    assert left == (["both", "begun and ended", "logged"] if first_to_end == 0 else [" and ended", "logged"])
    assert shown[first_to_end] == ([] if first_to_end == 0 else ["both", "begun"])
    runs[1 - first_to_end].__exit__(None, None, None)
    assert sys.stderr is terminal and handler.stream is terminal
    assert terminal.getvalue() == ""


def test_a_run_that_starts_while_another_goes_on_draws_on_the_terminal_itself(
    handler: logging.StreamHandler[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its progress is no text to be shown above that of the other, which may end first."""
    terminal = terminal_of_process(monkeypatch)
    handler.setStream(terminal)
    monkeypatch.setenv("TERM", "xterm")
    first = Display.of_process()
    first.handle(step())
    second = Display.of_process()
    assert isinstance(second._writer, TerminalWriter) and second._writer.stream is terminal
    second.handle(step())
    first.close()
    second.handle(warned("of the second"))
    print("printed", file=sys.stderr)
    second.close()
    logging.getLogger("test.of.two.runs").warning("logged later")
    written = terminal.getvalue()
    assert all(text in written for text in ("of the second", "printed", "logged later")), written
    assert sys.stderr is terminal and handler.stream is terminal


def test_what_began_to_write_there_meanwhile_reaches_the_terminal_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = terminal_of_process(monkeypatch)
    shown: list[str] = []
    with captured_streams(terminal, shown.append):
        kept = sys.stderr
        print("meanwhile", file=kept)
    print("later", end="", file=kept, flush=True)
    assert (shown, terminal.getvalue()) == (["meanwhile"], "later")
    with captured_streams(terminal, shown.append):
        assert sys.stderr is kept
        print("again", file=kept)
    assert shown == ["meanwhile", "again"]


def test_a_stream_that_is_no_terminal_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    with captured_streams(FakeTerminal(), lambda text: None):
        print("to the file")
    assert file.getvalue() == "to the file\n"
