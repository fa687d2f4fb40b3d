"""What several peers need: marks, ranges of a text file, and joining part files."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

Range = tuple[int, int]


def mark(name: str) -> None:
    """Tell the harness when something happened."""
    print("MARKS " + json.dumps({name: time.time()}), flush=True)


def cut(path: str | Path, size: int) -> list[Range]:
    """Byte ranges of about `size`, each ending at a line break; the header line is left out."""
    with Path(path).open("rb") as file:
        file.readline()
        starts = [file.tell()]
        total = os.fstat(file.fileno()).st_size
        for target in range(size, total, size):
            if target <= starts[-1]:
                continue
            file.seek(target - 1)
            file.readline()
            if starts[-1] < file.tell() < total:
                starts.append(file.tell())
    return list(zip(starts, [*starts[1:], total], strict=True))


def join(parts: Iterable[str], output: str | Path) -> None:
    """Append part files to one file in the order given, as soon as each comes, by the kernel alone."""
    with Path(output).open("wb") as target:
        for part in parts:
            append(target, part)
            os.unlink(part)


def append(target: BinaryIO, part: str) -> None:
    """Append one file by sendfile."""
    with open(part, "rb") as source:
        left, at = os.fstat(source.fileno()).st_size, 0
        while left:
            sent = os.sendfile(target.fileno(), source.fileno(), at, left)
            left, at = left - sent, at + sent


def main(functions: dict[str, Callable[..., None]]) -> None:
    """Call the function that the command line names."""
    functions[sys.argv[1]](*sys.argv[2:])
