"""The run directory: everything about one run in one folder, held by one driver at a time."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from daskpar import _version, atomic
from daskpar.errors import RunDirectoryError, UsageError
from daskpar.locations import is_url
from daskpar.paths import RunPaths, shell_path, step_path
from daskpar.results import Status
from daskpar.rundir.boot import boot_id
from daskpar.rundir.identity import RunIdentity, read_identity, save_identity
from daskpar.rundir.lock import Lock, holder
from daskpar.rundir.new_path import ELSEWHERE, PathTaken, make_folder
from daskpar.rundir.own_files import refuse_foreign
from daskpar.rundir.step_folder import StepFolder


class RunDirectory(RunPaths):
    """One run's folder. Made by `create` or `open`; a driver holds its lock until `close`."""

    def __init__(self, path: Path, identity: RunIdentity, lock: Lock | None) -> None:
        super().__init__(path)
        self.identity = identity
        self._lock = lock

    @classmethod
    def create(cls, path: Path | str, job_name: str, spec: Path | str, *, new: bool = False) -> RunDirectory:
        """A new, locked run directory at `path`; with `new`, nothing at all may be there yet.

        Raises UsageError for a URL, PathTaken for a path that is no longer `new`, RunDirectoryError for a
        folder that holds anything else, is in use, or can't be written.
        """
        _refuse_no_folder(path)
        folder = Path(os.path.abspath(path))
        with atomic.explained(f"The run directory {folder} can't be made", ELSEWHERE):
            try:
                # A folder that was there keeps its rights: so it can be shared with nodes of another user.
                make_folder(folder, atomic.OWNER_FOLDER, exist_ok=not new)
            except FileExistsError:
                if new and os.path.lexists(folder):
                    raise PathTaken(f"{folder} was made by another process") from None
                raise
        _refuse_used(folder)
        lock = Lock.take(folder, ELSEWHERE)
        try:
            _refuse_used(folder)  # another process may have been quicker
            identity = RunIdentity(
                id=secrets.token_hex(6),
                name=job_name,
                spec=str(spec),
                created=time.time(),
                boot=boot_id(),
                version=_version.__version__,
            )
            run = cls(folder, identity, lock)
            save_identity(folder, identity)
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def open(cls, path: Path | str, *, lock: bool = True) -> RunDirectory:
        """The run directory at `path`, locked unless `lock` is false (to look at it only).

        Raises RunDirectoryError when it is none of ours, of a newer version, damaged or in use, or where a
        file in it leads out of it.
        """
        _refuse_no_folder(path)
        folder = Path(os.path.abspath(path))
        refuse_foreign(folder)
        identity = read_identity(folder)
        if not lock:
            return cls(folder, identity, None)
        try:
            held = Lock.take(folder)
        except RunDirectoryError:
            read_identity(folder)  # says so where it was removed meanwhile
            raise
        try:
            return cls(folder, read_identity(folder), held)
        except BaseException:
            held.release()
            raise

    def step(self, name: str) -> StepFolder:
        """The folder of the step `name`."""
        return StepFolder(step_path(self.path, name))

    def steps(self) -> list[StepFolder]:
        """The folders of the steps that have started, in the order of the job."""
        folders = [StepFolder(path.parent) for path in (self.path / "steps").glob("*/step.json")]
        states = {folder: state for folder in folders if (state := folder.state())}
        # Runs of older versions have no numbers: theirs are told apart by the time of their start.
        return sorted(states, key=lambda of: (states[of].number, states[of].started or 0.0, of.name))

    def set_aside(self, name: str) -> Path:
        """Take the step `name` out of the run, in one rename, as if it had never started; where it is now."""
        earlier = self.path / "steps" / ".earlier"
        with atomic.explained(f"The step {name} can't be set aside in {earlier}"):
            earlier.mkdir(exist_ok=True)
            target = next(path for n in itertools.count(1) if not (path := earlier / f"{name}-{n}").exists())
            self.step(name).path.rename(target)
        return target

    def holder(self) -> str | None:
        """Who runs it now, readable; None when nobody does."""
        return holder(self.path)

    def update(self, **changes: Any) -> None:
        """Change fields of run.json (`status`, `reason`, `exit_code`, `ended`), whole or not at all."""
        self.identity = replace(self.identity, **changes)
        save_identity(self.path, self.identity)

    def resumed(self) -> None:
        """Mark the run as running again, by this daskpar in this boot of the machine."""
        self.update(
            status=Status.RUNNING,
            reason="",
            exit_code=None,
            ended=None,
            boot=boot_id(),
            version=_version.__version__,
        )

    def close(self) -> None:
        """Give the run directory free; may be called twice."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse_no_folder(path: Path | str) -> None:
    if is_url(str(path)):
        raise UsageError(f"A run directory must be a local folder that every node reaches, not a URL: {path}")
    if not str(path).strip():
        raise UsageError("The name of a run directory is empty: it would be the folder that you are in.")


def _refuse_used(folder: Path) -> None:
    names = set(os.listdir(folder)) - {"lock", ".run.json.tmp"}
    if "run.json" in names:
        raise RunDirectoryError(
            f"{folder} already holds a run. `python -m daskpar resume {shell_path(folder)}` goes on with it; "
            "a new run needs another run directory (--run-dir, run_dir in Python)."
        )
    if names:
        raise RunDirectoryError(
            f"{folder} is not empty "
            f"({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''}) and no run directory: "
            "choose a new or empty folder (--run-dir, run_dir in Python)."
        )
