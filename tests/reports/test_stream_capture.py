"""What others write to the terminal while lines are redrawn on it."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from daskpar.reports.display import Display
from daskpar.reports.stream_capture import captured_streams
from daskpar.reports.terminal_writer import TerminalWriter

from .display_scene import FakeTerminal, step


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


def test_a_stream_that_is_no_terminal_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    with captured_streams(FakeTerminal(), lambda text: None):
        print("to the file")
    assert file.getvalue() == "to the file\n"
