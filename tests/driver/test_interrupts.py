"""Ctrl-C: never in the middle of Python's import machinery, and never forgotten."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from daskpar.driver import interrupts
from daskpar.driver.interrupts import delay_interrupts_in_imports


@pytest.fixture(autouse=True)
def as_a_program_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(interrupts, "_early", [])
    yield
    signal.signal(signal.SIGINT, before)


def frame_in(file: str) -> FrameType:
    """A frame of code that says it is from `file`."""
    found: dict[str, Any] = {}
    exec(compile("import sys\nframe = sys._getframe()", file, "exec"), found)
    frame: FrameType = found["frame"]
    return frame


def handler() -> Any:
    delay_interrupts_in_imports()
    return signal.getsignal(signal.SIGINT)


def test_outside_of_imports_it_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        handler()(signal.SIGINT, frame_in("/home/user/score.py"))


@pytest.mark.parametrize("file", ["<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"])
def test_within_imports_it_comes_again_in_a_moment(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Long enough that on a busy machine too it comes within `raises`; elsewhere it would end the test run.
    monkeypatch.setattr(interrupts, "RETRY_SECONDS", 0.5)
    on_ctrl_c = handler()
    on_ctrl_c(signal.SIGINT, frame_in(file))  # raises nothing here, where a lock may be held
    with pytest.raises(KeyboardInterrupt):
        threading.Event().wait(60)


def test_one_that_was_swallowed_stops_the_run_before_it_begins() -> None:
    """Python prints what is raised in a callback, and goes on."""
    with pytest.raises(KeyboardInterrupt):
        handler()(signal.SIGINT, None)
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt), interrupts.interrupts(lambda *_: None, told.append):
        told.append("began")
    assert told == []


@pytest.mark.parametrize("how", [signal.SIG_IGN, lambda *_: None])
def test_a_program_that_was_told_otherwise_keeps_its_way(how: Any) -> None:
    signal.signal(signal.SIGINT, how)
    assert handler() is how
