"""Python's debugger for a user's code: it stops in the user's frames, and ours are not in the way."""

from __future__ import annotations

import pdb
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from daskpar.errors import UsageError
from daskpar.processor.error_text import is_ours

OF_OURS = ["daskpar.*"]
"""Modules that are stepped over."""


class UserPdb(pdb.Pdb):
    """Stops in frames of which `is_user` is true, where there are any. `is_user` takes the path of a file."""

    def __init__(self, is_user: Callable[[str], bool]) -> None:
        super().__init__(skip=OF_OURS)
        self._is_user = is_user
        self._begun = False

    def post_mortem(self, traceback: TracebackType | None) -> bool:
        """Let the user look at where an exception was raised; False where there is nothing to look at."""
        self.reset()
        if not self.get_stack(None, traceback)[0]:
            return False
        self.interaction(None, traceback)
        return True

    def call(self, function: Callable[[], Any]) -> Any:
        """Call it, and stop at the first line of the user's that is reached; BdbQuit where they leave."""
        self._begun = False
        self.reset()
        sys.settrace(self.trace_dispatch)
        try:
            return function()
        finally:
            sys.settrace(None)

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """Not at the first call, but at the line after it, which reads as in a script."""
        if self._begun:
            super().user_call(frame, argument_list)
        self._begun = True

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[Any], int]:
        """The frames that can be looked at, and the one where the user is to start."""
        stack, current = super().get_stack(f, t)
        if t is None:
            return stack, current
        while stack and is_ours(stack[0][0].f_code.co_filename):
            del stack[0]
        users = [at for at, (frame, _) in enumerate(stack) if self._is_user(frame.f_code.co_filename)]
        return stack, users[-1] if users else max(0, len(stack) - 1)


def check_debugpy() -> None:
    """UsageError where the package for debuggers of editors is missing."""
    try:
        import debugpy  # noqa: F401
    except ImportError:
        raise UsageError(
            "--listen needs the package debugpy, which this Python does not have: pip install debugpy "
            "(or 'daskpar[debug]')"
        ) from None


def listen(port: int, say: Callable[[str], None]) -> None:
    """Wait for the debugger of an editor at a port of this machine: it stops at its breakpoints, and at
    exceptions where it is told to. UsageError where the port is not free.
    """
    import debugpy

    try:
        host, port = debugpy.listen(("127.0.0.1", port))
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--listen {port}: {error}") from error
    say(f"waiting for a debugger at {host}:{port} (debugpy; whoever is on this machine can connect)")
    debugpy.wait_for_client()
