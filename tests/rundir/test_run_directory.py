"""The run directory: who may use it, what it says of itself, and words for every folder that is none."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daskpar.errors import InfrastructureLost, RunDirectoryError, UsageError
from daskpar.results import Counts
from daskpar.rundir.identity import is_run_directory
from daskpar.rundir.lock import Lock, holder
from daskpar.rundir.new_path import PathTaken, new_path
from daskpar.rundir.probe import clear_probe, read_probe, write_probe
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState


def test_a_new_one_says_what_it_is(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "deep" / "run", "job", "/specs/job.yml") as run:
        assert (
            run.identity.status == "running"
            and run.identity.spec == "/specs/job.yml"
            and is_run_directory(run.path)
        )
        run.update(status="failed", reason="why", exit_code=1)
    with RunDirectory.open(tmp_path / "deep" / "run") as again:
        assert again.identity == run.identity and again.identity.reason == "why"
        again.resumed()
        assert again.identity.status == "running" and again.identity.id == run.identity.id


def test_names_that_are_chosen_never_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda *_: "20260102-030405")
    runs = [RunDirectory.create(new_path("../my job: ä"), "j", "s", new=True) for _ in range(3)]
    assert [run.path.name for run in runs] == [
        f"my-job-ä-20260102-030405{suffix}" for suffix in ("", "-2", "-3")
    ]
    assert all(run.path.parent == tmp_path / "runs" for run in runs)
    assert len({run.identity.id for run in runs}) == 3


def test_a_path_that_was_taken_meanwhile_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(PathTaken, match="made by another process"):
        RunDirectory.create(tmp_path / "run", "job", "s", new=True)
    RunDirectory.create(tmp_path / "run", "job", "s").close()


def test_a_parent_that_another_run_takes_away_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that fails before its first step leaves nothing, an empty `runs/` neither."""
    real, taken = Path.mkdir, []

    def mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.name == "run" and not taken:
            taken.append(path)
            path.parent.rmdir()
        real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    RunDirectory.create(tmp_path / "runs" / "run", "job", "s", new=True).close()
    assert taken


def test_a_used_or_foreign_folder_is_refused(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", "job", "s").close()
    with pytest.raises(RunDirectoryError, match=r"already holds a run.*resume"):
        RunDirectory.create(tmp_path / "run", "job", "s")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(RunDirectoryError, match=r"not empty \(thesis.tex\)"):
        RunDirectory.create(tmp_path / "other", "job", "s")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunDirectoryError, match="can't be made"):
        RunDirectory.create(tmp_path / "file", "job", "s")
    for url in ("s3://bucket/run", "file:///tmp/x"):
        with pytest.raises(UsageError, match="not a URL"):
            RunDirectory.create(url, "job", "s")


def test_what_is_no_run_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="does not exist"):
        RunDirectory.open(tmp_path / "none")
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        RunDirectory.open(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "something else"}')
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        RunDirectory.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="damaged"):
        RunDirectory.open(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "daskpar run", "format": 1}')
    with pytest.raises(RunDirectoryError, match="damaged"):
        RunDirectory.open(tmp_path)
    (tmp_path / "run.json").unlink()
    assert list(tmp_path.iterdir()) == []  # looking left nothing behind


def test_one_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", "job", "s").close()
    value = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**value, "format": 2, "version": "9.9"}))
    with pytest.raises(RunDirectoryError, match=r"newer daskpar \(9.9"):
        RunDirectory.open(tmp_path / "run")


def test_one_in_use_is_refused_and_may_be_looked_at(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "job", "s")
    with pytest.raises(RunDirectoryError, match="in use by process"):
        RunDirectory.open(tmp_path / "run")
    seen = RunDirectory.open(tmp_path / "run", lock=False)
    assert "process" in (seen.holder() or "")
    run.close()
    run.close()
    assert seen.holder() is None
    RunDirectory.open(tmp_path / "run").close()


@contextmanager
def driver(run: Path) -> Iterator[subprocess.Popen[str]]:
    """A driver in a process of its own, with a child that lives on."""
    script = f"""
import subprocess, sys
from daskpar.rundir.run_directory import RunDirectory
run = RunDirectory.create({str(run)!r}, "job", "s")
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False)
print(child.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_one_whose_driver_was_killed_is_free_even_while_a_child_lives(tmp_path: Path) -> None:
    with driver(tmp_path / "run") as process:
        with pytest.raises(RunDirectoryError, match=f"in use by process {process.pid} "):
            RunDirectory.open(tmp_path / "run")
        process.kill()
        process.wait()
        with RunDirectory.open(tmp_path / "run") as run:
            assert run.identity.status == "running"  # nobody was left to say otherwise


def test_one_that_is_removed_while_its_lock_is_taken_is_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunDirectory.create(tmp_path / "run", "job", "s").close()
    real = Lock.take

    def take(folder: Path) -> Lock:
        held = real(folder)
        (tmp_path / "run" / "run.json").rename(tmp_path / "run.json")
        return held

    monkeypatch.setattr(Lock, "take", take)
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        RunDirectory.open(tmp_path / "run")
    assert holder(tmp_path / "run") is None

    def removed(folder: Path) -> Lock:
        shutil.rmtree(folder)
        return real(folder)

    (tmp_path / "run.json").rename(tmp_path / "run" / "run.json")
    monkeypatch.setattr(Lock, "take", removed)
    with pytest.raises(RunDirectoryError, match="does not exist"):
        RunDirectory.open(tmp_path / "run")


def test_the_state_of_a_step_is_kept(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", "job", "s") as run:
        assert run.step("a").state() is None
        state = StepState(
            step="a",
            kind="parallel",
            status="completed",
            counts=Counts(planned=3, succeeded=3),
            fingerprint={"values": {"x": [1, "y"]}},
            started=1.0,
            outputs={"o": "/p"},
        )
        run.step("b").save(StepState(step="b", kind="command", status="failed", exit_code=3, started=0.5))
        run.step("a").save(state)
        assert run.step("a").state() == state and state.completed
        assert [folder.name for folder in run.steps()] == ["b", "a"]


def test_steps_that_start_together_are_in_the_order_of_the_job(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", "job", "s") as run:
        for number, (name, started) in enumerate([("b", 2.0), ("c", 1.0), ("a", 1.0)]):
            run.step(name).save(
                StepState(step=name, kind="command", status="completed", number=number, started=started)
            )
        assert [folder.name for folder in run.steps()] == ["b", "c", "a"]


def test_a_state_is_replaced_whole_or_not_at_all(
    tmp_path: Path, failing_disk: Callable[[int, int], None]
) -> None:
    with RunDirectory.create(tmp_path / "run", "job", "s") as run:
        old = StepState(step="a", kind="parallel", status="running")
        run.step("a").save(old)
        failing_disk(10, errno.ENOSPC)
        with pytest.raises(InfrastructureLost, match="disk is full"):
            run.step("a").save(StepState(step="a", kind="parallel", status="completed"))
        assert run.step("a").state() == old
        assert [path.name for path in run.step("a").path.iterdir()] == ["step.json"]


def test_the_probe_finds_a_shared_folder_and_says_when_it_is_none(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", "job", "s") as run:
        folder = str(run.path)
        assert write_probe(folder, "tok") == "" and read_probe(folder, "tok", 0) == ""
        assert "does not see in" in read_probe(folder, "other", 0)
        clear_probe(folder, "tok")
        clear_probe(folder, "tok")
        assert "what another node has written" in read_probe(folder, "tok", 0)
        assert "does not see the run directory" in write_probe(str(tmp_path / "elsewhere"), "tok")
        assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("given", [True, False])
def test_a_read_only_disk_is_no_place_for_a_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        InfrastructureLost,
        match=r"read-only\. Nothing has run yet: choose another place with --run-dir FOLDER",
    ):
        RunDirectory.create(tmp_path / "run" if given else new_path("job"), "job", "s", new=not given)
