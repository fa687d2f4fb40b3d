"""What a run that fails before its first step leaves: nothing, and nothing of another's is taken."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daskpar.driver import pipeline_run
from daskpar.driver.options import Options
from daskpar.driver.start_run import _run_new
from daskpar.errors import InputError, RunDirectoryError
from daskpar.rundir import removal
from daskpar.rundir.run_directory import RunDirectory


class Failing:
    """A run whose input is not there."""

    may_have_run_steps = False

    def __init__(self, *_: object, **__: object) -> None: ...

    def run(self) -> None:
        raise InputError("an input is not there")


def test_its_folder_is_removed_before_another_may_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resume of the same folder waits for the lock: what it gets then must not be removed under it."""
    place, refused = tmp_path / "run", []
    real = removal.take_away

    def while_another_asks(path: Path) -> None:
        with pytest.raises(RunDirectoryError, match="in use by process") as why:
            RunDirectory.open(path)
        refused.append(why)
        real(path)

    monkeypatch.setattr(removal, "take_away", while_another_asks)
    monkeypatch.setattr(pipeline_run, "PipelineRun", Failing)
    job: Any = SimpleNamespace(name="j", spec=tmp_path / "job.yml", warnings=())
    with pytest.raises(InputError):
        _run_new(job, place, {}, place, Options())
    assert refused and not place.exists()


def test_the_lock_of_a_run_is_the_last_of_it_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(tmp_path / "run", "j", "s")
    (run.path / "steps").mkdir()
    (run.path / "z").touch()
    gone: list[str] = []
    real = Path.unlink

    def unlink(path: Path, *args: Any, **kwargs: Any) -> None:
        gone.append(path.name)
        real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr("os.listdir", lambda _: ["lock", "run.json", "steps", "z"])
    removal.take_away(run.path)
    assert gone == ["z", "run.json", "lock"] and not run.path.exists()
    run.close()
