"""Tells what a disk refused the driver from a mistake of daskpar's: it is put right, and `resume` goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from daskpar import atomic
from daskpar.errors import InfrastructureLost


def refused_by_a_disk(error: BaseException | None, run_directory: Path) -> str:
    """What was refused and what to do, in words; empty where `error` is of another kind.

    A disk that is full, read-only or failing is one whatever was to be written; any other refusal counts
    where a file of the run itself was refused. One that is not there was removed, or never written by us.
    """
    while isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
        # of a rename the name that was to be given: the other one is a temporary one of ours
        path = os.fsdecode(error.filename2 or error.filename or "")
        found = atomic.in_words(error, f"{path or 'A file'} can't be written")
        if isinstance(found, InfrastructureLost) or (path and Path(path).is_relative_to(run_directory)):
            return str(found)
        error = error.__cause__
    return ""
