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
from collections.abc import Sequence
from itertools import pairwise

ODD = -2
"""Stands for the size of what can't be looked at or is no plain file: whoever asked looks again."""
TIMED_FILES = 64
"""Files by which it is seen whether looking is slow."""
BILLION = 1_000_000_000
AT_ONCE = 4096
"""Files between two looks at whether anybody still waits."""


class FoundColumns:
    """The memory for what is seen of all files: their sizes, then the seconds and then the nanoseconds of
    their times.
    """

    def __init__(self, descriptor: int) -> None:
        numbers = memoryview(mmap.mmap(descriptor, 0)).cast("q")
        count = len(numbers) // 3
        self.sizes = numbers[:count]
        self.seconds = numbers[count : 2 * count]
        self.nanoseconds = numbers[2 * count :]

    def look(self, names: Sequence[bytes], first: int) -> None:
        """Look at these files, of which the first has the number `first`, one by one."""
        regular, ask = stat.S_ISREG, os.stat
        for at, name in enumerate(names, first):
            try:
                seen = ask(name)
            except (OSError, ValueError):
                self.sizes[at] = ODD
                continue
            if regular(seen.st_mode):
                self.sizes[at] = seen.st_size
                self.seconds[at], self.nanoseconds[at] = divmod(seen.st_mtime_ns, BILLION)
            else:
                self.sizes[at] = ODD


def look(
    prefix: str, files: "tuple[int, int, int]", start: int, stop: int, slow: float, threads: int
) -> None:
    """Look at the files [start, stop) of a list, whose paths begin with `prefix`.

    `files`: descriptors of the paths one after the other, of where each ends, and of `FoundColumns`. Where a
    look takes longer than `slow` seconds, `threads` do the rest.
    """
    from libc_stat import libc_stat  # type: ignore[import-not-found]  # it lies beside this script

    if prefix:
        os.chdir(prefix)
    names, ends, out = files
    data = mmap.mmap(names, 0, access=mmap.ACCESS_READ)
    bounds = memoryview(mmap.mmap(ends, 0, access=mmap.ACCESS_READ)).cast("q")
    found, parent = FoundColumns(out), os.getppid()

    def some(first: int, last: int) -> None:
        quick = libc_stat()
        for low in range(first, last, AT_ONCE):
            if os.getppid() != parent:
                return
            at = bounds[low : min(last, low + AT_ONCE) + 1].tolist()
            names = [data[start:stop] for start, stop in pairwise(at)]
            # A null character ends a name for the library, and is an error for Python.
            if quick is None or b"\0" in data[at[0] : at[-1]]:
                found.look(names, low)
                continue
            for done in range(0, len(names), quick.places):
                few, number = names[done : done + quick.places], low + done
                if any(quick.seen(few)) or not all(map(stat.S_ISREG, set(quick.modes(len(few))))):
                    found.look(few, number)
                    continue
                found.sizes[number : number + len(few)] = quick.sizes(len(few))
                found.seconds[number : number + len(few)] = quick.seconds(len(few))
                found.nanoseconds[number : number + len(few)] = quick.nanoseconds(len(few))

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
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    main(sys.argv[1:])
