"""Whether the files of a mini-batch still answer, asked when its time is up: a stale mount is nobody's fault.

Who asks for a file on a mount whose server is gone waits without end, and gets no error. So another process
asks, and is left behind where it gets no answer either.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from daskpar.batches.plan import Plan
from daskpar.data.reach import UNREACHED_ERRNOS
from daskpar.locations import is_url

ANSWER_SECONDS = 10.0
"""A disk that moves at all gives two bytes of a file in that time."""
FILES_AT_MOST = 8
"""Files of one mini-batch that are asked for."""
_ASK = """
import os, sys
for number, path in enumerate(sys.argv[1:], 1):
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    try:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(fd, 1, 0), os.pread(fd, 1, max(0, os.fstat(fd).st_size - 1))
        os.close(fd)
    except OSError as error:
        if error.errno in UNREACHED:
            sys.exit(error.errno)
""".replace("UNREACHED", repr(tuple(UNREACHED_ERRNOS)))


class SilentData:
    """A question to the first and the last byte of each of some `paths`, on its way."""

    def __init__(self, paths: Sequence[str], seconds: float | None = None) -> None:
        self._paths = paths
        self.silent = ""
        """The file that there is trouble with, once that is known."""
        self._until = monotonic() + (ANSWER_SECONDS if seconds is None else seconds)
        self._asking = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _ASK, *paths],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def trouble(self) -> str | None:
        """What is wrong with the files, in words; empty where they answer, None while nobody knows yet."""
        number = self._asking.poll()
        if number is None and monotonic() < self._until:
            return None
        if number is None:
            self._asking.kill()
            with suppress(subprocess.TimeoutExpired):  # where it can't be ended, it ends with its mount
                self._asking.wait(0.5)
            why = "does not answer"
        elif number in UNREACHED_ERRNOS:
            why = f"can't be read: {os.strerror(number)}"
        else:
            why = ""
        said = self._said() if why else []
        if self._asking.stdout:
            self._asking.stdout.close()
        if why:
            self.silent = self._paths[int(said[-1]) - 1 if said else 0]
        return f"{self.silent} {why}" if why else ""

    def _said(self) -> list[bytes]:
        """The numbers of the files that were asked for so far."""
        assert self._asking.stdout is not None
        # Where it hangs before it has said anything, and can't be ended, nobody waits for it.
        os.set_blocking(self._asking.stdout.fileno(), False)
        with suppress(BlockingIOError):
            return os.read(self._asking.stdout.fileno(), 4096).split()
        return []


def ask_for(plan: str, index: int) -> SilentData | None:
    """Ask for some of the local files of mini-batch `index`; None where it has none, or can't be asked."""
    try:
        found = [path for path in Plan.open(plan).some_files(index, FILES_AT_MOST) if not is_url(path)]
        return SilentData(found) if found else None
    except Exception:  # the mini-batch has still taken too long, which is what counts then
        return None
