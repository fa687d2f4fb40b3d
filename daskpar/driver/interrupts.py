"""Ctrl-C, SIGTERM and SIGHUP: the first one stops a run cleanly, the second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_SECONDS = 0.01
_early: list[int] = []
"""Interrupts that came before `interrupts` listened."""


def spare_imports() -> None:
    """For a program, at its start: a Ctrl-C in the middle of Python's import machinery waits until it is out
    of there.

    Python's own handler raises KeyboardInterrupt wherever the program is. In the machinery's callbacks that
    is printed and forgotten, and between the taking of a lock and the `try` behind it, it leaves the lock
    taken: the next import, on any thread, waits for ever.
    """

    def hear(number: int, frame: FrameType | None) -> None:
        _early.append(number)
        if frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(
                AGAIN_SECONDS, signal.pthread_kill, (threading.main_thread().ident, number)
            )
            again.daemon = True
            again.start()
            return
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, hear)


@contextmanager
def interrupts(stop: Callable[[str, bool], None], warn: Callable[[str], None]) -> Iterator[None]:
    """Within it, a signal calls `stop(reason, at once?)` on a thread of its own, and the first one `warn`.
    Only the main thread listens.

    KeyboardInterrupt where a Ctrl-C had come before (`spare_imports`).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def hear(number: int, _: object) -> None:
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
            before[wanted] = signal.signal(wanted, hear)
    try:
        if _early:
            raise KeyboardInterrupt
        yield
    finally:
        for wanted, handler in before.items():
            signal.signal(wanted, handler)
