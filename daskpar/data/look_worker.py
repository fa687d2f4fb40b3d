"""Looks at a range of files for another process: their sizes and times, into memory that both share.

Run as a script of its own, without daskpar and its libraries, so that it is there in a few milliseconds; what
asks for it is `file_look`.
"""

import mmap
import os
import stat
import sys
import threading
import time

ODD = -2
"""Stands for the size of what can't be looked at or is no plain file: whoever asked looks again."""
TIMED_FILES = 64
"""Files by which it is seen whether looking is slow."""
AT_ONCE = 4096
"""Files between two looks at whether anybody still waits."""


def look(
    prefix: str, files: "tuple[int, int, int]", start: int, stop: int, slow: float, threads: int
) -> None:
    """Look at the files [start, stop) of a list, whose paths begin with `prefix`.

    `files`: descriptors of the paths one after the other, of where each ends, and of the place for sizes and
    then times. Where a look takes longer than `slow` seconds, `threads` do the rest.
    """
    if prefix:
        os.chdir(prefix)
    names, ends, out = files
    data = mmap.mmap(names, 0, access=mmap.ACCESS_READ)
    bounds = memoryview(mmap.mmap(ends, 0, access=mmap.ACCESS_READ)).cast("q")
    stamps = memoryview(mmap.mmap(out, 0)).cast("q")
    parent, count = os.getppid(), len(bounds) - 1

    def some(first: int, last: int) -> None:
        regular, ask = stat.S_ISREG, os.stat
        for low in range(first, last, AT_ONCE):
            if os.getppid() != parent:
                return
            high = min(last, low + AT_ONCE)
            at = bounds[low : high + 1].tolist()
            text, base = data[at[0] : at[-1]], at[0]
            for number in range(low, high):
                name = text[at[number - low] - base : at[number - low + 1] - base]
                try:
                    seen = ask(name)
                except (OSError, ValueError):
                    stamps[number] = ODD
                    continue
                if regular(seen.st_mode):
                    stamps[number] = seen.st_size
                    stamps[count + number] = seen.st_mtime_ns
                else:
                    stamps[number] = ODD

    began = time.monotonic()
    timed = min(stop, start + TIMED_FILES)
    some(start, timed)
    if time.monotonic() - began < slow * (timed - start):
        some(timed, stop)
        return
    step = -(-(stop - timed) // threads) or 1
    shares = [
        threading.Thread(target=some, args=(at, min(stop, at + step))) for at in range(timed, stop, step)
    ]
    for share in shares:
        share.start()
    for share in shares:
        share.join()


def main(arguments: "list[str]") -> None:
    """The arguments of `look`, as texts."""
    prefix, names, ends, out, start, stop, slow, threads = arguments
    look(prefix, (int(names), int(ends), int(out)), int(start), int(stop), float(slow), int(threads))


if __name__ == "__main__":
    main(sys.argv[1:])
