"""Two equal calls of `map_mini_batches` at once: neither takes anything of the other's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daskpar.driver.options import Options
from daskpar.errors import RunDirectoryError
from daskpar.jobspec.given_spec import GivenSpec
from daskpar.mapped import same_call
from daskpar.mapped.same_call import CALL, go_on
from daskpar.results import Status
from daskpar.rundir.lock import Lock
from daskpar.rundir.run_directory import RunDirectory

THE_CALL = {"function": {"name": "f", "digest": "d"}, "data": "t"}
QUIET = Options(display=False)


@pytest.fixture
def spec(tmp_path: Path) -> GivenSpec:
    return GivenSpec(label="f", folder=tmp_path, mapping={}, files={})


def test_a_run_that_completes_while_its_lock_is_waited_for_is_reused(
    tmp_path: Path, spec: GivenSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked as if it had not begun: its data was being written."""
    first = RunDirectory.create(tmp_path / "run", "f", "s")
    (first.path / CALL).write_text(json.dumps(THE_CALL))
    real = Lock.take

    def take(folder: Path) -> Lock:
        first.started_with.write_text("{}")
        (first.path / "rows").write_text("all rows")
        first.update(status=Status.COMPLETED)
        first.close()
        return real(folder)

    monkeypatch.setattr(Lock, "take", take)
    monkeypatch.setattr(same_call, "_changed_values", lambda *_: [])
    earlier = go_on(tmp_path / "run", spec, THE_CALL, QUIET)
    assert earlier is not None and earlier.status == Status.COMPLETED
    assert (tmp_path / "run" / "rows").read_text() == "all rows"


def test_a_run_that_has_not_said_yet_what_it_is_is_in_use(tmp_path: Path, spec: GivenSpec) -> None:
    begun = RunDirectory.create(tmp_path / "run", "f", "s")
    with pytest.raises(RunDirectoryError, match="is in use by process"):
        go_on(begun.path, spec, THE_CALL, QUIET)
    begun.close()
    with pytest.raises(RunDirectoryError, match="none of map_mini_batches"):
        go_on(tmp_path / "run", spec, THE_CALL, QUIET)
