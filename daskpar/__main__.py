"""`python -m daskpar`, and the command `daskpar`."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

from daskpar import cli


def main() -> NoReturn:
    """Run the command line, then end this process at once.

    Everything is closed and on the disk by then, and what others left for the exit is called; but to take a few thousand modules apart
    would keep the user waiting for a fifth of a second.
    """
    code = cli.main()
    with suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
