"""`sys/job_report`: the table that Azure's tools read, and its sums."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from daskpar.batches.plan_writer import write_plan
from daskpar.events import TriesEnded
from daskpar.paths import LogPaths
from daskpar.reports import job_report
from daskpar.reports.job_report import NAME_COLUMNS, SUM_COLUMNS, TRY_COLUMNS, JobReport, cut_torn_line
from daskpar.results import Reason, TryStatus

from .conftest import START, Try, ended, failure, records_of, tries_ended


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_azures_in_their_order() -> None:
    assert TRY_COLUMNS == (
        "Mini-batch Id", "Picked Count", "Process", "Process Start Time", "Total", "Succeeded", "Failed", "Elapsed Seconds",
        "Process Seconds", "Run Method Seconds", "Status", "Error Category", "Error Message", "Mini-batch Detail",
    )  # fmt: skip


def test_one_row_for_each_try(logs: LogPaths) -> None:
    report = JobReport(logs)
    tries: list[Try] = [(0, None), (1, Reason.EXCEPTION), (2, Reason.LOAD_TIMEOUT)]
    report.handle(tries_ended(tries, (failure(1), failure(2, Reason.LOAD_TIMEOUT, number=2))))
    report.handle(ended())
    first, second, third = rows(logs.processed)
    assert list(first) == [*TRY_COLUMNS, *NAME_COLUMNS]
    assert list(first.values())[:14] == [
        "0", "1", "0/process000", "2026-11-23T13:20:00.000000Z", "10", "10", "0", "0.250000", "0.062500", "0.125000", "RUN_DONE",
        "N/A", "N/A", '{"index": 0}',
    ]  # fmt: skip
    assert list(second.values())[4:13] == [
        "10", "0", "10", "0.250000", "0.062500", "0.125000", "RUN_EXCEPTION", "EXCEPTION", 'ValueError: bad, "value" 1',
    ]  # fmt: skip
    assert json.loads(second["Mini-batch Detail"]) == {"index": 1, "items": "data/1.csv"}
    assert (third["Run Method Seconds"], third["Status"], third["Error Category"]) == (
        "N/A",
        "LOAD_TIMEOUT",
        "LOAD_TIMEOUT",
    )


def test_each_row_has_the_name_of_its_mini_batch(logs: LogPaths, tmp_path: Path) -> None:
    plain = [f"/in/{folder}/x.txt" for folder in "ab"]
    odd = [
        '/in/comma, "quote".txt',
        "/in/line\nbreak.txt",
        "/in/ blank",
        os.fsdecode(b"/in/\xff"),
        "/in/\x1b[2J",
    ]
    write_plan(tmp_path / "plan", kind="files", paths=[*plain, *odd], origin="/in")
    report = JobReport(logs, tmp_path / "plan")
    report.handle(tries_ended([(1, None), (0, None), (1, None)]))
    report.close()
    assert [row["Files"] for row in rows(logs.processed)] == ["b/x.txt", "a/x.txt", "b/x.txt"]
    assert [row["Partition Keys"] for row in rows(logs.processed)] == ["N/A"] * 3
    report = JobReport(logs, tmp_path / "plan")
    report.handle(tries_ended([(i, None) for i in range(7)]))
    report.close()
    names = [row["Files"] for row in rows(logs.processed)][3:]
    assert names == [
        "a/x.txt",
        "b/x.txt",
        'comma, "quote".txt',
        "line break.txt",
        " blank",
        "\ufffd",
        "\ufffd[2J",
    ]
    assert pd.read_csv(logs.processed)["Files"].tolist()[3:] == names


def test_a_table_of_an_earlier_version_keeps_its_columns(logs: LogPaths, tmp_path: Path) -> None:
    write_plan(tmp_path / "plan", kind="files", paths=["/in/a"], origin="/in")
    logs.processed.parent.mkdir(parents=True)
    logs.processed.write_text(",".join(TRY_COLUMNS) + "\n")
    report = JobReport(logs, tmp_path / "plan")
    report.handle(tries_ended([(0, None)]))
    report.close()
    (row,) = rows(logs.processed)
    assert None not in row and row["Mini-batch Detail"] == '{"index": 0}'
    (tmp_path / "plan" / "plan.json").write_text("{")  # a damaged plan costs the names alone
    logs.processed.unlink()
    report = JobReport(logs, tmp_path / "plan")
    report.handle(tries_ended([(0, None)]))
    report.close()
    assert rows(logs.processed)[0]["Files"] == "N/A"


def test_an_empty_mini_batch_and_a_retry(logs: LogPaths) -> None:
    records = records_of([(0, None), (1, None)])
    records["status"][0] = TryStatus.EMPTY
    records["tries"][1] = 2
    report = JobReport(logs)
    report.handle(TriesEnded(time=START, step="score", records=records))
    report.close()
    empty, again = rows(logs.processed)
    assert (empty["Status"], empty["Run Method Seconds"]) == ("LOAD_DONE", "N/A")
    assert (again["Status"], again["Picked Count"]) == ("RUN_DONE", "3")


def test_pandas_reads_it_with_the_right_types(logs: LogPaths) -> None:
    report = JobReport(logs)
    report.handle(tries_ended([(i, None) for i in range(30)]))
    report.close()
    frame = pd.read_csv(logs.processed)
    assert frame["Mini-batch Id"].tolist() == list(range(30))
    assert frame["Elapsed Seconds"].sum() == pytest.approx(7.5)
    assert (
        pd.to_datetime(frame["Process Start Time"]).iloc[29].isoformat() == "2026-11-23T13:20:02.900000+00:00"
    )


def test_rows_wait_for_more_but_not_for_long(logs: LogPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_report, "WAITING_RECORDS", 5)
    report = JobReport(logs)
    report.handle(tries_ended([(0, None)], time=START))
    assert not logs.processed.exists()
    report.handle(tries_ended([(1, None)], time=START + 2))
    assert len(rows(logs.processed)) == 2
    report.handle(tries_ended([(i, None) for i in range(2, 7)], time=START + 2))
    assert [row["Mini-batch Id"] for row in rows(logs.processed)] == list("0123456")


def test_long_bulks_are_written_in_pieces_with_each_failure_in_its_row(
    logs: LogPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_report, "CHUNK", 7)
    tries: list[Try] = [(i, Reason.EXCEPTION if i % 5 == 3 else None) for i in range(50)]
    report = JobReport(logs)
    report.handle(tries_ended(tries, tuple(failure(i, number=i) for i in range(50) if i % 5 == 3)))
    report.close()
    written = rows(logs.processed)
    assert [row["Mini-batch Id"] for row in written] == [str(i) for i in range(50)]
    for i, row in enumerate(written):
        assert row["Error Message"] == (f'ValueError: bad, "value" {i}' if i % 5 == 3 else "N/A")


def test_sums_of_processors_and_nodes(logs: LogPaths) -> None:
    report = JobReport(logs)
    records = records_of([(0, None), (1, Reason.SHORT), (2, None), (3, None)])
    records["node"][3] = 1
    records["status"][2] = TryStatus.EMPTY
    report.handle(TriesEnded(time=START, step="score", records=records))
    report.handle(ended())
    processors = rows(logs.job_report / "process_summary.csv")
    assert list(processors[0]) == ["Node", "Process", *SUM_COLUMNS]
    assert [list(row.values())[:7] for row in processors] == [
        ["0", "process000", "1", "1", "0", "20", "0"],
        ["0", "process001", "0", "0", "1", "0", "10"],
        ["1", "process001", "1", "0", "0", "10", "0"],
    ]
    assert processors[0]["Elapsed Seconds"] == "0.500000"
    assert processors[0]["First Start Time"] == "2026-11-23T13:20:00.000000Z"
    assert processors[0]["Last End Time"] == "2026-11-23T13:20:00.450000Z"
    nodes = rows(logs.job_report / "node_summary.csv")
    assert [list(row.values())[:7] for row in nodes] == [
        ["0", "2", "1", "1", "1", "20", "10"],
        ["1", "1", "1", "0", "0", "10", "0"],
    ]


@pytest.mark.parametrize(
    "torn", [b"", b"7,1,0/process0", b'7,1,0/process000,2026-11-23T13:20:00.000000Z,10,10,0,0.25,"']
)
def test_a_resumed_step_goes_on_with_its_table_and_its_sums(logs: LogPaths, torn: bytes) -> None:
    first = JobReport(logs)
    first.handle(tries_ended([(0, None), (1, Reason.LOAD_ERROR)], (failure(1, Reason.LOAD_ERROR),)))
    first.close()
    with logs.processed.open("ab") as file:
        file.write(torn)
    second = JobReport(logs)
    second.handle(tries_ended([(1, None)]))
    second.close()
    assert [(row["Mini-batch Id"], row["Status"]) for row in rows(logs.processed)] == [
        ("0", "RUN_DONE"), ("1", "LOAD_EXCEPTION"), ("1", "RUN_DONE"),
    ]  # fmt: skip
    assert [list(row.values())[2:5] for row in rows(logs.job_report / "process_summary.csv")] == [
        ["2", "0", "0"],
        ["0", "0", "1"],
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"", b""), (b"abc", b""), (b"a\n", b"a\n"), (b"a\nbc", b"a\n"), (b"a\n" + b"x" * 200_000, b"a\n")],
)
def test_cut_torn_line(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(before)
    cut_torn_line(path)
    assert path.read_bytes() == after


def test_a_step_without_tries_leaves_no_table(logs: LogPaths) -> None:
    report = JobReport(logs)
    report.handle(ended("failed", "nothing to do"))
    report.close()
    assert not logs.job_report.exists()


def test_a_lost_try_without_times_says_so(logs: LogPaths) -> None:
    records = records_of([(0, Reason.LOST)])
    for name in ("started", "elapsed", "run", "cpu"):
        records[name] = 0
    report = JobReport(logs)
    report.handle(TriesEnded(time=START, step="score", records=records))
    report.close()
    (row,) = rows(logs.processed)
    assert (row["Process Start Time"], row["Run Method Seconds"], row["Error Category"]) == (
        "N/A",
        "N/A",
        "LOST",
    )
    assert rows(logs.job_report / "process_summary.csv")[0]["First Start Time"] == "N/A"


def test_a_resumed_step_whose_table_has_no_rows_yet(logs: LogPaths) -> None:
    logs.job_report.mkdir(parents=True)
    logs.processed.write_text(",".join(TRY_COLUMNS) + "\n")
    report = JobReport(logs)
    report.handle(tries_ended([(1, None)]))
    report.close()
    assert len(rows(logs.processed)) == 1
    assert len(rows(logs.job_report / "process_summary.csv")) == 1


def test_many_tries_keep_their_order_and_number(logs: LogPaths) -> None:
    report = JobReport(logs)
    records = records_of([(0, None)]).repeat(25_000)
    records["index"] = np.arange(25_000)
    for start in range(0, 25_000, 500):
        report.handle(TriesEnded(time=START, step="score", records=records[start : start + 500]))
    report.close()
    assert pd.read_csv(logs.processed, usecols=["Mini-batch Id"])["Mini-batch Id"].tolist() == list(
        range(25_000)
    )
