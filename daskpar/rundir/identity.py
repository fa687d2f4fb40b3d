"""run.json: what a run is, which daskpar wrote it, and how it ended."""

from __future__ import annotations

import os
from dataclasses import asdict, fields
from pathlib import Path

from daskpar import _version, atomic
from daskpar.errors import RunDirectoryError
from daskpar.masking import hidden
from daskpar.paths import RunPaths
from daskpar.results import Status
from daskpar.rundir.json_files import read_json
from daskpar.value_classes import frozen

FORMAT = 1
"""Of run.json and of everything below the run directory."""
_OURS = "daskpar run"


@frozen(kw_only=True)
class RunIdentity:
    """run.json: what this run is and how it ended."""

    id: str
    """Random text; plugin names, task keys and temporary files carry it."""
    name: str
    spec: str
    """Absolute path of the YAML file as it was when the run started."""
    created: float
    """Seconds since the epoch."""
    boot: str
    version: str
    """daskpar's, of the process that wrote last."""
    status: Status = Status.RUNNING
    """`running` without a holder of the lock means that the driver died."""
    reason: str = ""
    exit_code: int | None = None
    ended: float | None = None


def is_run_directory(path: Path | str) -> bool:
    """Whether `path` is a run directory of ours, of any version; quick, for walks that leave them out."""
    return os.path.isfile(os.path.join(path, "run.json")) and os.path.exists(os.path.join(path, "lock"))


def save_identity(folder: Path, identity: RunIdentity) -> None:
    """Write run.json, whole or not at all."""
    value = {"kind": _OURS, "format": FORMAT, **asdict(identity), "reason": hidden(identity.reason)}
    atomic.replace_json(RunPaths(folder).identity_file, value)


def read_identity(folder: Path) -> RunIdentity:
    """What run.json says; RunDirectoryError where it is none of ours, of a newer version or damaged."""
    if not folder.is_dir():
        what = "is a file, not a run directory" if folder.exists() else "does not exist"
        raise RunDirectoryError(f"{folder} {what}. Give the folder that the run printed at its start.")
    value = read_json(RunPaths(folder).identity_file)
    if value is None or value.get("kind") != _OURS:
        raise RunDirectoryError(f"{folder} is not a run directory of daskpar: it has no run.json of ours.")
    number = value.get("format")
    if not isinstance(number, int) or number > FORMAT:
        raise RunDirectoryError(
            f"{folder} was written by a newer daskpar ({value.get('version', '?')}, format {number}); "
            f"this one ({_version.__version__}) knows formats up to {FORMAT}. Update daskpar to use it."
        )
    known = {f.name: value[f.name] for f in fields(RunIdentity) if f.name in value}
    try:
        return RunIdentity(**{**known, "status": Status(known.get("status", Status.RUNNING))})
    except (TypeError, ValueError) as error:
        raise RunDirectoryError(f"{folder / 'run.json'} is damaged: {error}.") from error
