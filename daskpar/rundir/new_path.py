"""Chooses the path of a new run directory early, for the job has to know it; `run_directory` makes it."""

# Imported before the first fork server starts: nothing that takes time to import.
from __future__ import annotations

import itertools
import os
import re
import time
from pathlib import Path

from daskpar.errors import RunDirectoryError


class PathTaken(RunDirectoryError):
    """Another process has made the folder that was going to be a new run directory."""


def new_path(job_name: str) -> Path:
    """A path for a run directory at which nothing is yet: `runs/NAME-TIME` below the working directory."""
    name = re.sub(r"[^\w.-]+", "-", job_name).strip("-.")[:60] or "job"
    base = Path.cwd() / "runs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    numbered = (base if n == 1 else base.with_name(f"{base.name}-{n}") for n in itertools.count(1))
    return next(path for path in numbered if not os.path.lexists(path))
