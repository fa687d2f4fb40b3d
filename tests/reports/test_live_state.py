"""What other processes see of a step that is running: `ls`, `status --json`, `logs --mini-batch`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daskpar import masking
from daskpar.events import LongCall, LongCallsChanged, StepKind, StepStarted
from daskpar.paths import LogPaths
from daskpar.reports import one_mini_batch
from daskpar.reports.live_state import read_live
from daskpar.reports.log_tree import LogTree
from daskpar.reports.one_mini_batch import mini_batch_text, traces_of
from daskpar.reports.run_list import list_json, list_text, looked_at
from daskpar.reports.status_json import status_json
from daskpar.results import Reason, Status
from daskpar.rundir.find_runs import find_runs
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState

from .conftest import START, failure, planned, progress, tries_ended


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory.create(tmp_path / "run", "iris", tmp_path / "pipeline.yml")
    made.step("score").save(
        StepState(step="score", kind="parallel", status=Status.RUNNING, started=START - 1)
    )
    return made


@pytest.fixture
def tree(run: RunDirectory) -> LogTree:
    folder = str(run.step("score").path)
    tree = LogTree(run.path)
    tree.handle(StepStarted(time=START, step="score", kind=StepKind.PARALLEL, folder=folder))
    return tree


def step_of(run: RunDirectory) -> dict[str, Any]:
    (step,) = status_json(run)["steps"]  # type: ignore[misc]
    return dict(step)


def test_a_running_step_has_progress_from_its_first_second(run: RunDirectory, tree: LogTree) -> None:
    first = step_of(run)["progress"]
    assert (first["doing"], first["per_second"], first["seconds_left"]) == ("starting", 0.0, None)
    tree.handle(planned(20))
    step = step_of(run)
    assert step["mini_batches"]["planned"] == step["mini_batches"]["waiting"] == 20
    assert step["progress"].keys() == first.keys()
    run.close()
    assert step_of(run)["progress"] is None


def test_ls_shows_how_far_running_and_crashed_runs_are(run: RunDirectory, tree: LogTree) -> None:
    tree.handle(planned(20))
    tree.handle(progress(5, 4, failed=1))
    for status in ("running", "crashed"):
        (found,) = find_runs(run.path.parent)
        listed = looked_at(found)
        assert listed.status.startswith(status)
        assert "5 of 20 done, 1 failed" in list_text([listed], None)
        (shown,) = list_json(run.path.parent, [listed])["runs"]  # type: ignore[misc]
        assert shown["mini_batches"] == {"planned": 20, "done": 5, "failed": 1}
        run.close()


def test_a_mini_batch_that_runs_says_since_when_and_a_failure_what_was_printed(
    run: RunDirectory, tree: LogTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_mini_batch, "planned", lambda _: 20)
    run.step("score").plan.mkdir()
    calls = tuple(
        LongCall(processor=n, doing="run", index=n, since=START + n, limit=60.0, tries=n) for n in (0, 1)
    )
    tree.handle(LongCallsChanged(time=START + 41, step="score", node=0, calls=calls))
    tree.handle(tries_ended([(1, Reason.EXCEPTION)], (replace(failure(1), printed="log\nrow 7 is odd"),)))
    tree.close()
    text = mini_batch_text(run.path, 1)
    assert "it has been running for 40.0 s, since " in text and ", try 2" in text
    assert "the script printed last:" in text and "row 7 is odd" in text
    assert "no try of it has ended yet" in mini_batch_text(run.path, 0)
    assert "has been running" not in mini_batch_text(run.path, 2)
    run.close()
    assert "has been running" not in mini_batch_text(run.path, 1)


def test_a_secret_is_hidden_before_it_is_escaped(
    run: RunDirectory, tree: LogTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "_known", {'pass"wörd\\1'})
    call = LongCall(processor=0, doing="run", index=7, since=START, limit=None, name='of pass"wörd\\1')
    tree.handle(LongCallsChanged(time=START + 41, step="score", node=0, calls=(call,)))
    written = run.step("score").progress.read_text()
    assert json.loads(written)["long_calls"][0]["name"] == "of ***"
    (kept,) = read_live(run.step("score"), run.step("score").state()).long_calls  # type: ignore[arg-type, union-attr]
    assert kept == replace(call, name="of ***")


def test_the_traces_of_a_mini_batch_are_found_among_others(tmp_path: Path) -> None:
    path = LogPaths(tmp_path).trace(0, 0)
    path.parent.mkdir(parents=True)
    stamp = "2026-11-23T13:20:10.000000Z"
    entries = [f"{stamp} {what}\n    text of {what}\n\n" for what in ("mini-batch 7, try 1: X", "import: X")]
    path.write_text("".join([*entries, entries[0].replace("try 1", "try 2"), entries[0].replace("7", "77")]))
    assert [one.splitlines()[0][28:] for one in traces_of(path, 7)] == [
        "mini-batch 7, try 1: X",
        "mini-batch 7, try 2: X",
    ]
    assert traces_of(tmp_path / "none", 7) == []
