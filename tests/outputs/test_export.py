"""Exporting what an unfinished run has: committed rows in order, while the run may still be running."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daskpar import atomic
from daskpar.errors import InfrastructureLost, RunDirectoryError, UsageError
from daskpar.outputs.export import export_partial
from daskpar.outputs.ledger import Ledger
from daskpar.rows.csv_format import CsvFormat
from daskpar.rows.json_lines_format import JsonLinesFormat
from daskpar.rows.parquet_format import ParquetFormat
from daskpar.rows.registry import store_of
from daskpar.rows.row_format import RowFormat
from daskpar.rows.text_format import TextFormat
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "run", "job", "s")
    for n, name in enumerate(("a", "b")):
        run.step(name).save(
            StepState(
                step=name, kind="parallel", status="running", started=float(n), outputs={"rows": "/out"}
            )
        )
    return run


def test_committed_rows_come_in_order_while_it_runs(
    run: RunDirectory, processors_in: Any, tmp_path: Path
) -> None:
    processors = processors_in(run.step("b").path)
    ledger = Ledger.open(run.step("b").path, 5, step="b", row_format=TextFormat(header=True))
    ledger.commit(processors.flush({3: b"3\n", 4: b"4\n"}, part="y", schema=("n",)))
    ledger.commit(processors.flush({1: b"1\n"}, part="x", failed=[1]))
    done = export_partial(run.path, str(tmp_path / "partial.txt"))
    assert (tmp_path / "partial.txt").read_bytes() == b"n\n1\n3\n4\n"
    assert (done.step, done.mini_batches, done.committed, done.failed, done.lost) == ("b", 5, 3, 1, 0)
    assert "rows of 2 of 5 mini-batches of step b (2 missing); 1 failed" in str(done)
    ledger.commit(processors.flush({0: b"0\n", 2: b"2\n"}))
    ledger.close()
    run.close()
    assert "rows of 4 of 5 mini-batches of step b; 1 failed" in str(
        export_partial(run.path, str(tmp_path / "partial.txt"), "b")
    )


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_gets_part_files(run: RunDirectory, processors_in: Any, tmp_path: Path, there: bool) -> None:
    row_format = CsvFormat()
    encoder = row_format.encoder()
    encoder.add([{"n": 5}], 1)
    data, _ = encoder.take()
    ledger = Ledger.open(run.step("a").path, 3, row_format=row_format)
    ledger.commit(processors_in(run.step("a").path).flush({1: data}, schema=encoder.schema))
    ledger.close()
    if there:
        (tmp_path / "parts").mkdir()
    done = export_partial(run, str(tmp_path / "parts") + ("" if there else "/"))
    assert {path.name: path.read_text() for path in (tmp_path / "parts").iterdir()} == {
        "part-00000.csv": "n\n5\n"
    }
    assert done.path == str(tmp_path / "parts") and done.committed == 1


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_place_that_takes_nothing_is_no_matter_of_the_run(
    run: RunDirectory, processors_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    ledger = Ledger.open(run.step("a").path, 1)
    ledger.commit(processors_in(run.step("a").path).flush({0: b"0\n"}))
    ledger.close()
    if trouble == "full":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    else:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(atomic, "open_new", refuse)
    with pytest.raises(InfrastructureLost, match="export to another place") as raised:
        export_partial(run, str(tmp_path / "rows.txt"))
    assert "resume" not in str(raised.value)


def test_a_pipe_is_no_place_for_an_export(run: RunDirectory, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is a pipe or a device"):
        export_partial(run, str(tmp_path / "pipe"))


def test_rows_that_are_gone_are_counted(run: RunDirectory, processors_in: Any, tmp_path: Path) -> None:
    ledger = Ledger.open(run.step("a").path, 2)
    ledger.commit(processors_in(run.step("a").path).flush({0: b"0\n"}, part="x"))
    ledger.commit(processors_in(run.step("a").path).flush({1: b"1\n"}, part="y"))
    ledger.close()
    (run.step("a").parts / "x").unlink()
    assert export_partial(run, str(tmp_path / "out")).lost == 1
    assert (tmp_path / "out").read_bytes() == b"1\n"


def test_when_there_is_nothing_to_export_it_says_why(
    run: RunDirectory, processors_in: Any, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(RunDirectoryError, match="Steps that have started: a, b"):
        export_partial(run, out)
    with pytest.raises(RunDirectoryError, match="of the step 'z'"):
        export_partial(run, out, "z")
    for name in ("a", "b"):
        Ledger.open(run.step(name).path, 1).close()
    with pytest.raises(RunDirectoryError, match="no committed rows"):
        export_partial(run, out)
    for name in ("a", "b"):
        ledger = Ledger.open(run.step(name).path, 1)
        ledger.commit(processors_in(run.step(name).path).flush({0: b"0\n"}))
        ledger.close()
    with pytest.raises(RunDirectoryError, match=r"a, b\. Say which one with --step"):
        export_partial(run, out)
    for name in ("a", "b"):
        store_of(run.step(name)).remove()
    with pytest.raises(
        RunDirectoryError, match=r"step a is complete: .*\(rows: /out\); .* --step NAME chooses"
    ):
        export_partial(run, out)
    with pytest.raises(
        RunDirectoryError, match=r"step a is complete: its rows are in its output already \(rows: /out\)\.$"
    ):
        export_partial(run, out, "a")
    assert not (tmp_path / "out").exists()


def test_a_complete_step_is_left_out_and_its_output_that_is_gone_is_said(
    run: RunDirectory, processors_in: Any, tmp_path: Path
) -> None:
    out, rows = str(tmp_path / "out"), str(tmp_path / "rows.txt")
    ledger = Ledger.open(run.step("a").path, 1)
    ledger.commit(processors_in(run.step("a").path).flush({0: b"0\n"}))
    ledger.close()
    run.step("a").save(
        StepState(step="a", kind="parallel", status="completed", outputs={"rows": rows}, rows=rows)
    )
    assert export_partial(run, out).step == "a"
    store_of(run.step("a")).remove()
    gone = (
        "step a is complete .*rows.txt: it is no longer there, and its rows are gone with it: start a new run"
    )
    with pytest.raises(RunDirectoryError, match=f"{gone}.*; the step b has none yet. --step NAME"):
        export_partial(run, out)
    ledger = Ledger.open(run.step("b").path, 1)
    ledger.commit(processors_in(run.step("b").path).flush({0: b"1\n"}))
    ledger.close()
    assert export_partial(run, out).step == "b"
    with pytest.raises(RunDirectoryError, match=gone):
        export_partial(run, out, "a")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("x.parquet", "is text"),
        ("x.csv.GZ", "is text"),
        ("s3://bucket/x.Parquet", "is text"),
        ("run", "lies in the run directory"),
        ("run/new.txt", "lies in the run directory"),
        ("run/steps/a/journal", "lies in the run directory"),
        ("link", "lies in the run directory"),
    ],
)
def test_where_it_may_not_go(
    run: RunDirectory, processors_in: Any, tmp_path: Path, target: str, says: str
) -> None:
    ledger = Ledger.open(run.step("a").path, 1)
    ledger.commit(processors_in(run.step("a").path).flush({0: b"0\n"}))
    ledger.close()
    (tmp_path / "link").symlink_to(run.step("a").journal)
    journal = run.step("a").journal.read_bytes()
    with pytest.raises(UsageError, match=says):
        export_partial(run, target if "://" in target else str(tmp_path / target))
    assert run.step("a").journal.read_bytes() == journal
    assert export_partial(run, str(tmp_path / "run.txt")).committed == 1


@pytest.mark.parametrize(
    ("row_format", "target"),
    [(CsvFormat(), "x.parquet"), (JsonLinesFormat(), "x.csv"), (ParquetFormat(), "x.csv")],
)
def test_the_name_confirms_the_format(
    run: RunDirectory, processors_in: Any, tmp_path: Path, row_format: RowFormat, target: str
) -> None:
    ledger = Ledger.open(run.step("a").path, 2, row_format=row_format)
    encoder = row_format.encoder()
    encoder.add([{"n": 1}], 1)
    data, _ = encoder.take()
    ledger.commit(processors_in(run.step("a").path).flush({1: data}, schema=encoder.schema))
    ledger.close()
    with pytest.raises(UsageError, match=f"What is exported is {row_format.name}, as the output of the step"):
        export_partial(run, str(tmp_path / target))
    assert export_partial(run, str(tmp_path / "without-ending")).size_bytes > 0
