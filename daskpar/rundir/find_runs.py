"""Finds run directories below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from daskpar.errors import DaskparError
from daskpar.rundir.identity import RunIdentity, is_run_directory, read_identity
from daskpar.value_classes import frozen

DEPTH = 4
"""How far below a folder runs are looked for."""
NEAR = 2
"""The same where none was named: `RUN` and `runs/RUN`."""
MOST_ENTRIES = 20_000
"""A folder with more entries is one of data: it is not searched to its end."""


@frozen
class FoundRun:
    """A run directory, and what is written in it of the run."""

    path: Path
    identity: RunIdentity | None
    """None where that can't be read."""
    trouble: str = ""
    """Why not."""


def find_runs(folder: Path, depth: int = DEPTH) -> list[FoundRun]:
    """The runs in and below `folder`, the oldest first. Links and hidden folders are not followed, and
    nothing is looked for inside a run.
    """
    found = []
    for path in _run_folders(folder, depth):
        try:
            found.append(FoundRun(path, read_identity(path)))
        except DaskparError as error:
            found.append(FoundRun(path, None, str(error)))
    return sorted(found, key=lambda run: (run.identity.created if run.identity else 0.0, run.path))


def latest_run(folder: Path) -> Path | None:
    """The run that was started last of those in `folder` and in its folders."""
    inside = next((above for above in (folder, *folder.parents) if is_run_directory(above)), None)
    if inside is not None:
        return inside
    known = [run for run in find_runs(folder, NEAR) if run.identity is not None]
    return known[-1].path if known else None


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    if is_run_directory(folder):
        yield folder
        return
    if depth <= 0:
        return
    try:
        with os.scandir(folder) as entries:
            inner = [
                entry.path
                for _, entry in zip(range(MOST_ENTRIES), entries, strict=False)
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return
    for path in inner:
        yield from _run_folders(Path(path), depth - 1)
