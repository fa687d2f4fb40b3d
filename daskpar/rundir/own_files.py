"""A run directory may come from somebody else: what is read of it lies in it, and is a plain file.

A link, or a name such as `../../secret`, would make `export`, `logs`, `status` and `resume` read, and show or
copy, a file that its maker can't read but its reader can.
"""

from __future__ import annotations

import os
from pathlib import Path

from daskpar.errors import RunDirectoryError
from daskpar.paths import RunPaths, StepPaths


def refuse_foreign(run: Path) -> None:
    """RunDirectoryError where what we read or write below `run` leads out of it, or is no plain file.

    What scripts may have made is left out: outputs, working folders, the folder of `EntryScript().log_dir`.
    """
    paths = RunPaths(run)
    for path in (paths.identity_file, paths.started_with, paths.effective_spec, paths.shown, run / "lock"):
        _check(path, folder=False)
    steps = StepPaths(run / "steps" / "any").path.parent
    if not _check(steps, folder=True):
        return
    for entry in _entries(steps):
        if entry.name.startswith("."):
            continue  # set aside, and never read again
        if entry.is_dir(follow_symlinks=False):
            _check_step(StepPaths(Path(entry.path)))
        else:
            _refuse(entry.path)


def _check_step(step: StepPaths) -> None:
    for file in ("step.json", "outputs-before.json", step.progress.name, step.journal.name):
        _check(step.path / file, folder=False)
    scripts = str(step.logs.script_logs)
    waiting = [
        str(folder) for folder in (step.plan, step.parts, step.logs.root) if _check(folder, folder=True)
    ]
    while waiting:
        for entry in _entries(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting += [entry.path] if entry.path != scripts else []
            elif not entry.is_file(follow_symlinks=False):
                _refuse(entry.path)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []  # who reads it says what is wrong


def _check(path: Path, *, folder: bool) -> bool:
    """Whether there is something at `path`; refused where that is not what it has to be."""
    if not os.path.lexists(path):
        return False
    if path.is_symlink() or not (path.is_dir() if folder else path.is_file()):
        _refuse(path)
    return True


def _refuse(path: str | Path) -> None:
    what = "a symbolic link" if os.path.islink(path) else "not what daskpar writes there"
    raise RunDirectoryError(
        f"{path} is {what}: this run directory was changed, and reading it could show files outside of it. "
        "Use it only if you trust whoever made it, after putting a copy of the real file there."
    )
