"""The folder in which the schedule of faults lies and in which the entry script writes down what happened."""

import argparse
import os
import pathlib

_parser = argparse.ArgumentParser(allow_abbrev=False)
_parser.add_argument("--world", type=pathlib.Path, default=pathlib.Path(__file__).parent)
WORLD = _parser.parse_known_args()[0].world


def parent_of(pid):
    """The process that started another one."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


# The Dask worker (in tests of the pool: the test itself) starts the fork server, which forks the processors.
WORKER = parent_of(os.getppid())


def line(name, *values):
    """Append one whole line to a file of the world, whichever other process writes there at the same time."""
    fd = os.open(WORLD / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (" ".join(map(str, values)) + "\n").encode())
    os.close(fd)


def turn(moment):
    """How often this moment came before, over all processes; whatever kills the process, no number is given twice."""
    n = 0
    while True:
        try:
            path = WORLD / f"turn.{moment.replace(' ', '-')}.{n}"
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            n += 1
        else:
            return n
