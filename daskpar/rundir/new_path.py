"""Chooses the path of a new run directory early, for the job has to know it; `run_directory` makes it."""

# Imported before the first fork server starts: nothing that takes time to import.
from __future__ import annotations

import itertools
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from daskpar.errors import RunDirectoryError

ELSEWHERE = "Nothing has run yet: choose another place with --run-dir FOLDER (run_dir in Python)."
"""What to do where the folder of a new run can't be made."""
_TRIES = 10
"""To make a folder whose parent others take away."""


class PathTaken(RunDirectoryError):
    """Another process has made the folder that was going to be a new run directory."""


def new_path(job_name: str) -> Path:
    """A path for a run directory at which nothing is yet: `runs/NAME-TIME` below the working directory."""
    name = re.sub(r"[^\w.-]+", "-", job_name).strip("-.")[:60] or "job"
    base = Path.cwd() / "runs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    numbered = (base if n == 1 else base.with_name(f"{base.name}-{n}") for n in itertools.count(1))
    return next(path for path in numbered if not os.path.lexists(path))


def make_folder(path: Path, mode: int, *, exist_ok: bool = False) -> None:
    """Make the folder of a run, and those above it; FileExistsError as `Path.mkdir` has it.

    Another run that leaves nothing may take an empty `runs/` away between the two.
    """
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode, exist_ok=exist_ok)
            return
    path.mkdir(mode, parents=True, exist_ok=exist_ok)
