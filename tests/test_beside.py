"""A call beside the caller's own work: what comes of it, and that nobody waits for one who hangs."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from daskpar.beside import Beside


def test_what_it_returns_or_raises_is_had_as_often_as_it_is_asked_for() -> None:
    beside = Beside(lambda: 7, "seven")
    assert [beside.result(), beside.result()] == [7, 7] and beside.is_over
    failing = Beside(lambda: 1 // 0, "fails")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.result()


def test_it_runs_on_another_thread_where_there_may_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Beside(threading.get_ident, "own").result() != threading.get_ident()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert Beside(threading.get_ident, "own").result() == threading.get_ident()


def test_a_program_ends_while_it_hangs() -> None:
    text = "import time; from daskpar.beside import Beside; Beside(lambda: time.sleep(3600), 'hangs')"
    subprocess.run([sys.executable, "-c", text], check=True, timeout=60)
