"""The run directory: everything about one run in one folder, with an identity, a lock and the state of each
step.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from daskpar import _version, atomic
from daskpar.errors import RunDirectoryError, UsageError
from daskpar.paths import StepPaths, step_path
from daskpar.results import Counts
from daskpar.rundir.boot import boot_id
from daskpar.rundir.lock import Lock, holder

FORMAT = 1
"""Of run.json and of everything below the run directory."""
STARTED_WITH = "started-with.json"
"""How the run was started, beside what the spec says."""
_OURS = "daskpar run"
_ELSEWHERE = "Nothing has run yet: choose another place with --run-dir FOLDER."
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, kw_only=True)
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
    status: str = "running"
    """`running`, `completed`, `failed`, `interrupted`, `lost`; `running` without a holder of the lock means
    that the driver died.
    """
    reason: str = ""
    exit_code: int | None = None
    ended: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepState:
    """step.json: how far a step is, and what it was made of."""

    step: str
    kind: str
    """`parallel` or `command`."""
    status: str
    """`running`, `completed`, `failed`, `interrupted`, `lost`, `skipped`."""
    reason: str = ""
    counts: Counts = field(default_factory=Counts)
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    exit_code: int | None = None
    """Of a command."""
    started: float | None = None
    ended: float | None = None
    seconds: float = 0.0
    """Time spent on the step, those of earlier driver processes included."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output name -> path."""
    rows: str = ""
    """Where the rows of a completed step were put together: path or URL; empty where nothing is aggregated
    (append_row_to).
    """
    extra: Mapping[str, object] = field(default_factory=dict)
    """Anything else that should be there after a resume; JSON values."""

    @property
    def completed(self) -> bool:
        """Whether nothing is left to do."""
        return self.status == "completed"


class StepFolder(StepPaths):
    """The folder of one step, and what is kept in it from one process of the run to the next."""

    def state(self) -> StepState | None:
        """What step.json says; None before the step's first start."""
        value = _read_json(self.path / "step.json")
        if value is None:
            return None
        known = {name: value[name] for name in (f.name for f in fields(StepState)) if name in value}
        numbers = {f.name for f in fields(Counts)}
        known["counts"] = Counts(
            **{name: n for name, n in value.get("counts", {}).items() if name in numbers}
        )
        return StepState(**known)

    def rows_gone(self, output: str) -> str:
        """What to say where the completed step's rows were put at `output`, or in it, and are no longer
        there; empty where they are.

        Raises what the store of a URL raises.
        """
        state = self.state()
        if (
            state is None
            or not state.rows
            or not (state.rows == output or state.rows.startswith(f"{output.rstrip('/')}/"))
        ):
            return ""
        if _exists(state.rows):
            return ""
        what = "it is" if state.rows == output else f"{state.rows} is"
        if self.parts.is_dir():  # kept where some mini-batches failed
            run = self.path.parent.parent
            return f"{what} no longer there; `python -m daskpar export {run} --partial FILE --step {self.name}` writes its rows again"
        return f"{what} no longer there, and its rows are gone with it: start a new run"

    def keep_before(self, there: Mapping[str, str]) -> None:
        """Remember what lay in the places of the step's outputs before it first began
        (`folders.there_before`).
        """
        if there:
            self.path.mkdir(parents=True, exist_ok=True)
            atomic.replace_json(self.path / "outputs-before.json", there)

    def before(self) -> dict[str, str]:
        """What `keep_before` was told."""
        return _read_json(self.path / "outputs-before.json") or {}

    def forget_plan(self) -> None:
        """Nothing of the plan is committed yet: it is to be made anew, from the input as it is now."""
        with atomic.explained(f"The plan {self.plan} can't be removed"):
            self.journal.unlink(missing_ok=True)
            if self.plan.exists():
                shutil.rmtree(self.plan)

    def save(self, state: StepState) -> None:
        """Write step.json, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        atomic.replace_json(self.path / "step.json", asdict(state))


class RunDirectory:
    """One run's folder. Made by `create` or `open`; a driver holds its lock until `close`."""

    def __init__(self, path: Path, identity: RunIdentity, lock: Lock | None) -> None:
        self.path = path
        self.identity = identity
        self._lock = lock

    @classmethod
    def create(cls, path: Path | str | None, job_name: str, spec: Path | str) -> RunDirectory:
        """A new, locked run directory at `path`, or at `runs/NAME-TIME` below the working directory.

        Raises UsageError for a URL, RunDirectoryError for a folder that holds anything else, is in use, or
        can't be written.
        """
        if path is None:
            folder = _make_default(job_name)
        else:
            _refuse_url(path)
            folder = Path(os.path.abspath(path))
            with atomic.explained(f"The run directory {folder} can't be made", _ELSEWHERE):
                folder.mkdir(parents=True, exist_ok=True)
            _refuse_used(folder)
        lock = Lock.take(folder, _ELSEWHERE)
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
            run._save()
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def open(cls, path: Path | str, *, lock: bool = True) -> RunDirectory:
        """The run directory at `path`, locked unless `lock` is false (to look at it only).

        Raises RunDirectoryError when it is none of ours, of a newer version, damaged or in use.
        """
        _refuse_url(path)
        folder = Path(os.path.abspath(path))
        identity = _read_identity(folder)
        held = Lock.take(folder) if lock else None
        return cls(folder, _read_identity(folder) if lock else identity, held)

    def step(self, name: str) -> StepFolder:
        """The folder of the step `name`."""
        return StepFolder(step_path(self.path, name))

    def steps(self) -> list[StepFolder]:
        """The folders of the steps that have started, in the order of their start."""
        folders = [StepFolder(path.parent) for path in (self.path / "steps").glob("*/step.json")]
        starts = {folder: state.started or 0.0 for folder in folders if (state := folder.state())}
        return sorted(starts, key=lambda folder: (starts[folder], folder.name))

    def set_aside(self, name: str) -> Path:
        """Take the step `name` out of the run, in one rename, as if it had never started; where it is now."""
        earlier = self.path / "steps" / ".earlier"
        with atomic.explained(f"The step {name} can't be set aside in {earlier}"):
            earlier.mkdir(exist_ok=True)
            target = next(path for n in itertools.count(1) if not (path := earlier / f"{name}-{n}").exists())
            self.step(name).path.rename(target)
        return target

    @property
    def effective_spec(self) -> Path:
        """The whole job with nothing left to resolve."""
        return self.path / "effective-spec.yml"

    @property
    def datastores(self) -> Path:
        """The default datastore lies in its folder `default`."""
        return self.path / "datastores"

    @property
    def outputs(self) -> Path:
        """Pipeline outputs without a path of their own."""
        return self.path / "outputs"

    @property
    def logs(self) -> Path:
        """Copies of the steps' logs, where `--copy_logs_to_parent` asks for them."""
        return self.path / "logs"

    def holder(self) -> str | None:
        """Who runs it now, readable; None when nobody does."""
        return holder(self.path)

    def update(self, **changes: Any) -> None:
        """Change fields of run.json (`status`, `reason`, `exit_code`, `ended`), whole or not at all."""
        self.identity = replace(self.identity, **changes)
        self._save()

    def resumed(self) -> None:
        """Mark the run as running again, by this daskpar in this boot of the machine."""
        self.update(
            status="running",
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

    def _save(self) -> None:
        atomic.replace_json(
            self.path / "run.json", {"kind": _OURS, "format": FORMAT, **asdict(self.identity)}
        )


def is_run_directory(path: Path | str) -> bool:
    """Whether `path` is a run directory of ours, of any version; quick, for walks that leave them out."""
    return os.path.isfile(os.path.join(path, "run.json")) and os.path.exists(os.path.join(path, "lock"))


def _exists(place: str) -> bool:
    if not _URL.match(place):
        return os.path.exists(place)
    from daskpar.locations import filesystem

    files, inner = filesystem(place)
    return bool(files.exists(inner))


def _make_default(job_name: str) -> Path:
    name = re.sub(r"[^\w.-]+", "-", job_name).strip("-.")[:60] or "job"
    base = Path.cwd() / "runs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    with atomic.explained(
        f"The run directory {base} can't be made (--run-dir FOLDER chooses another place)", _ELSEWHERE
    ):
        base.parent.mkdir(parents=True, exist_ok=True)
        for n in itertools.count(1):
            folder = base if n == 1 else base.with_name(f"{base.name}-{n}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    raise AssertionError("there is always another number")


def _refuse_url(path: Path | str) -> None:
    if _URL.match(str(path)):
        raise UsageError(f"A run directory must be a local folder that every node reaches, not a URL: {path}")


def _refuse_used(folder: Path) -> None:
    names = set(os.listdir(folder)) - {"lock", ".run.json.tmp"}
    if "run.json" in names:
        raise RunDirectoryError(
            f"{folder} already holds a run. `python -m daskpar resume {folder}` goes on with it; a new run needs another --run-dir."
        )
    if names:
        raise RunDirectoryError(
            f"{folder} is not empty ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''}) and no run directory: "
            "choose a new or empty folder as --run-dir."
        )


def _read_identity(folder: Path) -> RunIdentity:
    if not folder.is_dir():
        what = "is a file, not a run directory" if folder.exists() else "does not exist"
        raise RunDirectoryError(f"{folder} {what}. Give the folder that the run printed at its start.")
    value = _read_json(folder / "run.json")
    if value is None or value.get("kind") != _OURS:
        raise RunDirectoryError(f"{folder} is not a run directory of daskpar: it has no run.json of ours.")
    number = value.get("format")
    if not isinstance(number, int) or number > FORMAT:
        raise RunDirectoryError(
            f"{folder} was written by a newer daskpar ({value.get('version', '?')}, format {number}); "
            f"this one ({_version.__version__}) knows formats up to {FORMAT}. Update daskpar to use it."
        )
    try:
        return RunIdentity(**{f.name: value[f.name] for f in fields(RunIdentity) if f.name in value})
    except TypeError as error:
        raise RunDirectoryError(f"{folder / 'run.json'} is damaged: {error}.") from error


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunDirectoryError(f"{path} is damaged and can't be read: {error}.") from error
    except OSError as error:
        raise atomic.in_words(error, f"{path} can't be read") from error
    return value if isinstance(value, dict) else None
