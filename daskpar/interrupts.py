"""Ctrl-C, SIGTERM and SIGHUP: the first one stops a run cleanly, the second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupts(stop: Callable[[str, bool], None], warn: Callable[[str], None]) -> Iterator[None]:
    """Within it, a signal calls `stop(reason, at once?)` on a thread of its own, and the first one `warn`. Only the main thread listens."""
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
        yield
    finally:
        for wanted, handler in before.items():
            signal.signal(wanted, handler)
