"""Tables of a run: what its directory says of each mini-batch, while it runs, and however it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from daskpar.batches.plan_writer import write_plan
from daskpar.errors import RunDirectoryError
from daskpar.outputs.journal import Journal
from daskpar.outputs.journal_reader import read_journal
from daskpar.processor.protocol import Flushed
from daskpar.reports.failed_mini_batches import FailedMiniBatches
from daskpar.reports.run_tables import FAILURE_COLUMNS, MINI_BATCH_COLUMNS, RunTables
from daskpar.results import Failure, Reason, Status, TryStatus
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepFolder, StepState

from .conftest import START, Try, ended, records_of

FILES = ["/in/a/x.txt", "/in/b/x.txt", "/in/c.txt", "/in/d.txt"]


def flushed(tries: list[Try], final: Sequence[bool], failures: tuple[Failure, ...] = ()) -> Flushed:
    records = records_of(tries)
    records["final"] = final
    return Flushed(
        block=1, token="", part="", offset=0, length=0, crc=0, records=records.tobytes(), failures=failures
    )


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    with RunDirectory.create(tmp_path / "run", "score-all", "/x/pipeline.yml") as directory:
        yield directory


@pytest.fixture
def step(directory: RunDirectory) -> StepFolder:
    folder = directory.step("score")
    folder.save(StepState(step="score", kind="parallel", status=Status.RUNNING, started=START))
    return folder


@pytest.fixture
def journal(step: StepFolder) -> Iterator[Journal]:
    write_plan(step.plan, kind="files", paths=FILES, origin="/in")
    journal = Journal.create(step.journal, step="score", mini_batches=4)
    yield journal
    journal.close()


def test_a_running_step(directory: RunDirectory, journal: Journal) -> None:
    why = Failure(
        index=1, reason=1, message="ValueError: <b>", trace="Traceback\nValueError: <b>", log="/l", final=True
    )
    journal.append(flushed([(1, Reason.TIMEOUT), (0, None)], [False, True]))
    journal.append(flushed([(1, Reason.EXCEPTION), (2, Reason.LOAD_ERROR)], [True, False], (why,)))
    run = RunTables(directory.path)
    assert run.status == "running" and run.holder is not None and run.steps[0].status == "running"
    frame = run.mini_batches()
    assert tuple(frame.columns) == MINI_BATCH_COLUMNS
    assert frame["name"].tolist() == ["a/x.txt", "b/x.txt", "c.txt", "d.txt"]
    assert frame["outcome"].tolist() == ["succeeded", "failed", "unfinished", "unfinished"]
    assert frame["tries"].tolist() == [1, 2, 1, 0] and frame["step"].unique().tolist() == ["score"]
    assert frame["reason"].astype(object).where(frame["reason"].notna(), None).tolist() == [None, "EXCEPTION", "LOAD_ERROR", None]  # fmt: skip
    assert frame["seconds_loading"].tolist()[:3] == [0.125, 0.125, 0.25]  # the third was not loaded
    assert frame["seconds_running"].tolist()[:2] == [0.125, 0.125]
    never = ["items", "seconds_loading", "seconds_running", "started", "node", "processor"]
    assert frame.loc[3, never].isna().all() and frame["seconds_running"].isna().tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert frame["started"][0] == pd.Timestamp("2026-11-23T13:20:00.1Z")
    assert frame["processor"].tolist()[:2] == [1, 0]

    failures = run.failures()
    assert tuple(failures.columns) == FAILURE_COLUMNS
    (row,) = failures.to_dict("records")
    assert (row["index"], row["name"], row["items"], row["reason"], row["tries"]) == (
        1,
        "b/x.txt",
        10,
        "EXCEPTION",
        2,
    )
    assert (row["message"], row["traceback"], row["log"]) == (
        "ValueError: <b>",
        "Traceback\nValueError: <b>",
        "/l",
    )

    tries = run.steps[0].tries()
    assert tries["index"].tolist() == [1, 0, 1, 2]
    assert tries["outcome"].tolist() == ["failed", "succeeded", "failed", "failed"]
    assert tries["final"].tolist() == [False, True, True, False]


def test_an_ended_run_with_several_steps(directory: RunDirectory, step: StepFolder, journal: Journal) -> None:
    records = records_of([(0, None), (1, None), (2, None), (3, None)])
    records["final"], records["status"][2] = 1, TryStatus.EMPTY
    journal.append(Flushed(block=1, token="", part="", offset=0, length=0, crc=0, records=records.tobytes()))
    step.save(StepState(step="score", kind="parallel", status=Status.COMPLETED, number=1, started=START))
    other = directory.step("more")
    other.save(StepState(step="more", kind="parallel", status=Status.FAILED, number=2, started=START))
    write_plan(other.plan, kind="files", paths=FILES[:2], origin="/in")
    directory.step("report").save(StepState(step="report", kind="command", status=Status.COMPLETED))
    directory.update(status=Status.FAILED)
    directory.close()
    run = RunTables(directory.path)
    assert run.status == "failed" and [step.name for step in run.steps] == ["report", "score", "more"]
    frame = run.mini_batches()
    assert frame["step"].tolist() == ["score"] * 4 + ["more"] * 2
    assert frame["outcome"].tolist() == [
        "succeeded",
        "succeeded",
        "empty",
        "succeeded",
        "unfinished",
        "unfinished",
    ]
    assert pd.isna(frame["seconds_running"][2])
    assert run.mini_batches("more")["name"].tolist() == ["a/x.txt", "b/x.txt"]
    assert len(run.failures()) == 0 and tuple(run.failures().columns) == FAILURE_COLUMNS


def test_rows_that_are_gone_are_unfinished_again(directory: RunDirectory, journal: Journal) -> None:
    journal.append(flushed([(0, None), (1, None)], [True, True]))
    journal.revoke([(1, 2)])
    assert RunTables(directory.path).mini_batches()["outcome"].tolist()[:2] == ["succeeded", "unfinished"]
    journal.append(flushed([(1, None)], [True]))
    frame = RunTables(directory.path).mini_batches()
    assert frame["outcome"].tolist()[:2] == ["succeeded", "succeeded"] and frame["tries"].tolist()[:2] == [
        1,
        2,
    ]


def test_a_step_before_its_plan_and_a_run_before_its_steps(directory: RunDirectory) -> None:
    run = RunTables(directory.path)
    assert run.steps == () and tuple(run.mini_batches().columns) == MINI_BATCH_COLUMNS
    directory.step("score").save(StepState(step="score", kind="parallel", status=Status.RUNNING))
    run = RunTables(directory.path)
    assert len(run.mini_batches()) == len(run.failures()) == run.steps[0].planned == 0
    directory.close()
    assert "driver is gone" in RunTables(directory.path).status


def test_what_is_damaged_leaves_the_rest(directory: RunDirectory, step: StepFolder, journal: Journal) -> None:
    journal.append(flushed([(0, None)], [True]))
    journal.append(flushed([(1, None)], [True]))
    journal.append(flushed([(2, None)], [True]))
    data = bytearray(step.journal.read_bytes())
    data[int(read_journal(step.journal).places[1]) + 5] ^= 0xFF
    step.journal.write_bytes(bytes(data[:-1]))
    frame = RunTables(directory.path).mini_batches()
    assert frame["outcome"].tolist() == ["succeeded", "unfinished", "unfinished", "unfinished"]
    (step.plan / "paths").unlink()
    frame = RunTables(directory.path).mini_batches()
    assert frame["name"].tolist() == [f"mini-batch {index}" for index in range(4)]
    assert frame["outcome"].tolist()[0] == "succeeded"
    (step.path / "step.json").write_text("{")
    with pytest.raises(RunDirectoryError, match=r"step\.json"):
        RunTables(directory.path)


def test_a_folder_of_others(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        RunTables(tmp_path)


def test_what_nobody_can_say(directory: RunDirectory, journal: Journal) -> None:
    """A mini-batch that took its node down has no processor; a reason of a newer version stays a number."""
    records = records_of([(0, Reason.LOST), (1, Reason.EXCEPTION)])
    records["final"], records["started"][0], records["reason"][1] = 1, 0.0, 77
    journal.append(Flushed(block=1, token="", part="", offset=0, length=0, crc=0, records=records.tobytes()))
    first, second = RunTables(directory.path).failures().to_dict("records")
    assert pd.isna(first["processor"]) and pd.isna(first["started"]) and first["reason"] == "LOST"
    assert second["reason"] == "REASON_77" and pd.isna(second["message"])


def test_texts_that_are_no_unicode() -> None:
    from daskpar.reports import frame_columns

    assert list(frame_columns.texts(["a\udcff", "b"], 2)) == ["a\ufffd", "b"]
    assert pd.isna(frame_columns.texts(["", "b"], 2)[0])
    assert np.isnan(frame_columns.seconds(np.array([1.0]), np.array([False]))[0])


def test_every_item_of_failed_mini_batches_is_a_row(directory: RunDirectory, step: StepFolder) -> None:
    paths = [f"/in/{folder}/{number}, é.txt" for folder in "ab" for number in range(3)]
    write_plan(step.plan, kind="files", paths=paths, origin="/in", per_batch=3)
    journal = Journal.create(step.journal, step="score", mini_batches=2)
    why = Failure(index=1, reason=2, message="took longer\nthan 2 s", final=True)
    journal.append(flushed([(0, None), (1, Reason.TIMEOUT)], [True, True], (why,)))
    journal.close()
    path = step.logs.failed_mini_batches
    FailedMiniBatches(step).step_ended(ended("failed", planned=2, failed=1))
    table = pd.read_csv(path)
    assert table["Item"].tolist() == [f"b/{number}, é.txt" for number in range(3)]
    assert table["Path"].tolist() == paths[3:]
    assert set(table["Mini-batch Id"]) == {1} and set(table["Error Category"]) == {"TIMEOUT"}
    assert set(table["Error Message"]) == {"took longer than 2 s"}
    FailedMiniBatches(step).step_ended(ended(planned=2, succeeded=2))
    assert not path.exists(), "a resume has mended them"
