"""What `breakpoint()`, `pdb.set_trace()` and `input()` say in a run, where nobody is there to answer.

They cost the mini-batch as any other exception does; its message names the command that stops there.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from daskpar.processor.protocol import ProcessorSettings


class BreakpointReached(RuntimeError):
    """A script has called `breakpoint()` in a run."""


def command(settings: ProcessorSettings, index: int) -> str:
    """The command that runs mini-batch `index` (-1: none, `init()`) in a debugger."""
    run = Path(settings.working_dir).parent.parent
    return (
        f"python -m daskpar debug {shlex.quote(str(run))} --step {shlex.quote(settings.step)} "
        f"--mini-batch {max(0, index)}"
    )


def take_breakpoints() -> None:
    """Have `breakpoint()` raise what it means here, unless PYTHONBREAKPOINT says what it is to do."""
    if not os.environ.get("PYTHONBREAKPOINT"):
        sys.breakpointhook = _reached


def _reached(*_: object, **__: object) -> None:
    # The same text for each mini-batch, so that reports count them together.
    raise BreakpointReached("breakpoint() has no terminal in a run")


def advice(error: BaseException, settings: ProcessorSettings, index: int) -> str:
    """What to do about an error that only says that nobody answers; empty for any other error."""
    if isinstance(error, BreakpointReached):
        return f". To stop there: {command(settings, index)}"
    if (type(error).__module__, type(error).__name__) == ("bdb", "BdbQuit"):
        return f": a debugger has no terminal in a run. To stop there: {command(settings, index)}"
    if type(error) is EOFError and "reading a line" in str(error):
        return f": nobody answers input() in a run. To be asked: {command(settings, index)}"
    return ""
