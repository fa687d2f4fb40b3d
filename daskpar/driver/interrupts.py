"""Ctrl-C, SIGTERM and SIGHUP: the first one stops a run cleanly, the second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

RETRY_SECONDS = 0.01
"""After which an interrupt that came in the middle of an import is sent again."""
_early: list[int] = []
"""Signals that came before a run handled them (`interrupts`)."""


def delay_interrupts_in_imports() -> None:
    """For a program, at its start: a Ctrl-C in the middle of an import takes effect right after it.

    SIGTERM and SIGHUP are the same as Ctrl-C from here on.
    """
    # Python's own handler raises KeyboardInterrupt wherever the program is. In the callbacks of the import
    # machinery that is printed and forgotten; and between the taking of a lock and the `try` behind it, it
    # leaves the lock taken, so that the next import, on any thread, waits for ever.

    def on_signal(number: int, frame: FrameType | None) -> None:
        _early.append(number)
        if frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(
                RETRY_SECONDS, signal.pthread_kill, (threading.main_thread().ident, number)
            )
            again.daemon = True
            again.start()
            return
        raise KeyboardInterrupt

    for wanted in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(wanted) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(wanted, on_signal)


def take_over_signals() -> None:
    """For a program, at its start: what whoever started it has blocked or ignored is ours to receive."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Where it is ignored the kernel forgets the exit codes of children.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@contextmanager
def interrupts(stop: Callable[[str, bool], None], warn: Callable[[str], None]) -> Iterator[None]:
    """Within it, a signal calls `stop(reason, at_once)` on a thread of its own, and the first one `warn`.

    Does nothing on other threads than the main one. Raises KeyboardInterrupt where a Ctrl-C had come before
    (`delay_interrupts_in_imports`).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def on_signal(number: int, _: object) -> None:
        nonlocal seen
        seen += 1
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        # The handler runs between two steps of the main thread, which may hold the lock that stopping takes.
        threading.Thread(target=stop, args=(f"interrupted by {name}", seen > 1), daemon=True).start()
        if seen == 1:
            warn(f"{name}: stopping; what is committed is kept (again: stop at once)")

    before = {}
    for wanted in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        # A run started by nohup is not to be ended by the hang-up it was shielded from.
        if signal.getsignal(wanted) is not signal.SIG_IGN:
            before[wanted] = signal.signal(wanted, on_signal)
    try:
        if _early:
            raise KeyboardInterrupt
        yield
    finally:
        for wanted, handler in before.items():
            signal.signal(wanted, handler)
