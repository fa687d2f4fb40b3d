"""File systems that refuse new files or renames, while a run plans, groups, runs or joins: words, exit 3, and a resume."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import few_inodes
import warm_python
from daskpar.engine.plan_phase import PlanPhase


class Renames:
    """Behind os.replace: refuses with `number` the `after`th rename to a name that ends so."""

    def __init__(self, monkeypatch, name: str, number: int, after: int) -> None:
        self.name, self.number, self.left, self.works = name, number, after, False
        self.replace = os.replace
        monkeypatch.setattr(os, "replace", self)

    def __call__(self, source, target) -> None:
        if not self.works and os.fspath(target).endswith(self.name):
            self.left -= 1
            if self.left <= 0:
                raise OSError(self.number, os.strerror(self.number), source, None, target)
        self.replace(source, target)


@pytest.mark.parametrize(
    ("name", "number", "after", "kind"),
    [
        ("work/plan", errno.EIO, 1, "files"),
        ("plan/plan.json", errno.EXDEV, 1, "grouped"),
        ("/step.json", errno.EPERM, 2, "files"),
        ("/rows.txt", errno.EXDEV, 1, "table"),
    ],
)
def test_a_rename_that_fails_ends_in_words(chaos, monkeypatch, name, number, after, kind):
    job = chaos(kind=kind, mini_batches=20)
    renames = Renames(monkeypatch, name, number, after)
    ended = job.run()
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.reason
    assert name in ended.reason and os.strerror(number) in ended.reason and "resume" in ended.reason
    assert "report this" not in ended.reason
    renames.works = True
    again = job.resume()
    assert again.status == "completed", again.reason
    job.check_output()
    job.check_leftovers()


def test_a_rename_that_fails_in_a_processor_that_groups_rows(chaos, monkeypatch):
    """A folder that is not empty, in the place of a file, lets nobody rename to its name."""
    job = chaos(kind="grouped", mini_batches=20)
    group = PlanPhase._group

    def in_the_way(self, *arguments) -> None:
        (self.folder.plan / "groups-00000.arrow" / "full").mkdir(parents=True)
        group(self, *arguments)

    monkeypatch.setattr(PlanPhase, "_group", in_the_way)
    ended = job.run()
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.reason
    assert "groups-00000.arrow" in ended.reason and "resume" in ended.reason
    monkeypatch.undo()
    plan = job.run_dir / "steps" / "work" / "plan"
    (plan / "groups-00000.arrow" / "full").rmdir()
    (plan / "groups-00000.arrow").rmdir()
    again = job.resume()
    assert again.status == "completed", again.reason
    job.check_output()
    job.check_leftovers()


def test_a_disk_that_has_no_room_for_another_file(tmp_path: Path) -> None:
    """While it groups (with 10, while it plans), and while the groups are merged; a resume finishes the run."""
    done = warm_python.run(
        "few_inodes", str(tmp_path), "grouped", "30", "44", cwd=Path(few_inodes.__file__).parent
    )
    said = done.stdout
    if done.returncode == few_inodes.NOT_ALLOWED:
        pytest.skip(said)
    assert done.returncode == 0, said
    assert "Traceback" not in said and "report this" not in said, said
