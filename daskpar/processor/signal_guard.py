"""Keeps what a script's signal handlers raise out of our code.

Python runs a handler wherever the main thread happens to be. A script that limits each item by `signal.alarm`
and a handler that raises may leave an alarm behind, which then goes off in the middle of our loop and would
cost the rows that are being written. Handlers run as they always do, at once; only what they raise between
two calls of the script is dropped, and said.
"""

from __future__ import annotations

import importlib
import signal
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from daskpar.processor.error_text import describe_error

_signal: Any = importlib.import_module("_signal")


class SignalGuard:
    """Of one process. While `in_script` is true, what a handler raises goes where it would without us."""

    def __init__(self) -> None:
        self.in_script = True
        self.own_code: CodeType | None = None
        """Code of ours that runs directly above the script's functions: it is none of the script's."""
        self.terminated: Callable[[], object] = lambda: None
        """Called before a handler of the script's takes a SIGTERM."""
        self.stray = ""
        """The first thing that was dropped, as a sentence."""

    def install(self) -> None:
        """From here on, for every handler that Python code sets."""
        # Below the module `signal`, so that nothing which a script can look at or patch is another than
        # before.
        plain_set, plain_get = _signal.signal, _signal.getsignal

        def set_handler(number: int, handler: Any, /) -> Any:
            """Set the action for the given signal."""
            wanted = _Contained(handler, self) if callable(handler) else handler
            return _given(plain_set(number, wanted))

        def get_handler(number: int, /) -> Any:
            """Return the current action for the given signal."""
            return _given(plain_get(number))

        _signal.signal, _signal.getsignal = set_handler, get_handler
        for number in signal.valid_signals():
            if callable(handler := plain_get(number)):
                set_handler(number, handler)

    def drop(self, number: int, error: BaseException) -> None:
        """Remember what a handler raised while none of the script's functions ran."""
        if not self.stray:
            name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
            self.stray = (
                f"the script's handler of {name} raised {describe_error(error)} while no function of the "
                "script ran: dropped, and no mini-batch is charged (cancel an alarm in a `finally`, before "
                "run() returns)"
            )


class _Contained:
    """A handler of the script's, as Python calls it."""

    __slots__ = ("guard", "handler")

    def __init__(self, handler: Callable[[int, FrameType | None], Any], guard: SignalGuard) -> None:
        self.handler = handler
        self.guard = guard

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        guard = self.guard
        if number == signal.SIGTERM:
            guard.terminated()
        if guard.in_script and (frame is None or frame.f_code is not guard.own_code):
            return self.handler(number, frame)
        try:
            return self.handler(number, frame)
        except BaseException as error:
            guard.drop(number, error)
            return None


def _given(handler: Any) -> Any:
    """The handler as the script gave it."""
    return handler.handler if type(handler) is _Contained else handler
