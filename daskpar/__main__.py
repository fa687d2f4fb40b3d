"""`python -m daskpar`, and the command `daskpar`."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from daskpar.driver.interrupts import delay_interrupts_in_imports, take_over_signals

STARTED = 250_000
"""New objects after which a run has certainly started; a small one ends before."""


def main() -> NoReturn:
    """Run the command line, then end this process at once.

    Everything is closed and on the disk by then, and what others left for the exit is called; but to take a
    few thousand modules apart would keep the user waiting for a fifth of a second.
    """
    take_over_signals()
    _collect_nothing_at_the_start()
    try:
        delay_interrupts_in_imports()
        _open_closed_streams()
        from daskpar import cli  # from here on an interrupt does not show where the imports were

        code = cli.main()
    except KeyboardInterrupt:
        with suppress(OSError):
            os.write(2, b"daskpar: interrupted before anything ran\n")
        code = 130
    with suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _collect_nothing_at_the_start() -> None:
    """Look for no garbage (in circles of objects) until the run has started.

    Nearly all that is made until then are modules, which stay: to look at them again and again takes a
    twelfth of a small run's time. Afterwards Python looks as ever, but never at those again.
    """
    usual = gc.get_threshold()

    def set_back(phase: str, _: object) -> None:
        if phase == "stop":
            gc.callbacks.remove(set_back)
            gc.freeze()
            gc.set_threshold(*usual)

    gc.callbacks.append(set_back)
    gc.set_threshold(STARTED, *usual[1:])


def _open_closed_streams() -> None:
    """Where this process was started without a standard stream (`>&-`), give it one that leads nowhere.

    Else the next file opened, a journal perhaps, would get its number, and what is meant for the stream would
    be written there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(nowhere, True)
            setattr(sys, name, os.fdopen(nowhere, mode))


if __name__ == "__main__":
    main()
