"""Jobs whose rows are CSV, Parquet or JSON lines: the same bytes whatever happens on the way, and read again with their types."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import daskpar
import warm_python
from daskpar.errors import RunDirectoryError, UsageError
from daskpar.outputs.commits import Commits
from daskpar.outputs.export import export_partial
from daskpar.outputs.journal_reader import read_journal
from waiting import until

pytestmark = pytest.mark.servers_with_pandas

SCRIPT = """
import argparse, os, pathlib, time
import pandas as pd

parser = argparse.ArgumentParser()
parser.add_argument("--world", type=pathlib.Path)
WORLD = parser.parse_known_args()[0].world

def run(mini_batch):
    number = int(pathlib.Path(mini_batch[0]).stem)
    harm = WORLD / f"harm {number}"
    if harm.exists():
        how = harm.read_text()
        if how != "always":
            harm.unlink()
        if how == "die":
            os._exit(3)
        raise ValueError("no such luck")
    while number >= 12 and (WORLD / "hold").exists():
        time.sleep(0.005)
    return frame(number)

def frame(number):
    rows = 1 + number % 3
    made = pd.DataFrame({
        "n": [number] * rows,
        "text": [f"é {number},\\n{row}" for row in range(rows)],
        "when": pd.to_datetime([f"2024-03-{number + 1:02} 01:30"] * rows).tz_localize("Europe/Berlin"),
        "maybe": pd.array([None if number % 2 else 2**60 + number] * rows, "Int64"),
    })
    return made.drop(columns="text") if number == 7 and (WORLD / "other columns").exists() else made
"""
FORMATS = ["text", "csv", "parquet", "jsonl"]
ROWS = sum(1 + number % 3 for number in range(20))


class Script:
    """A job over twenty files; each run of it has a folder of its own."""

    def __init__(self, work: Any, row_format: str, arguments: str = "", **more: Any) -> None:
        work.files(20)
        self.work, self.name = work, f"rows.{row_format}"
        self.step = work.parallel(
            SCRIPT,
            arguments=f"--world {work.folder} --append_row_format {row_format} {arguments}",
            outputs={"rows": {"type": "uri_file", "path": f"./{self.name}"}},
            max_concurrency_per_instance=2,
            **{"retry_settings": {"max_retries": 2, "timeout": 10}, **more},
        )

    def run(self, name: str = "run", **options: Any) -> Any:
        return self.work.run({"work": self.step}, run_dir=self.work.folder / name, **options)

    def harm(self, **what: str) -> None:
        for number, how in what.items():
            (self.work.folder / f"harm {number[1:]}").write_text(how)

    @property
    def output(self) -> bytes:
        return (self.work.folder / self.name).read_bytes()


UNDISTURBED: dict[str, bytes] = {}


def undisturbed_output(work: Any, row_format: str) -> bytes:
    """The bytes of a run to which nothing happens: one run for all tests."""
    if row_format not in UNDISTURBED:
        job = Script(work, row_format)
        job.run("undisturbed").check()
        UNDISTURBED[row_format] = job.output
        (work.folder / job.name).unlink()
    return UNDISTURBED[row_format]


@pytest.mark.parametrize("row_format", FORMATS)
def test_failed_tries_and_dying_processors_change_no_byte(work: Any, row_format: str) -> None:
    undisturbed = undisturbed_output(work, row_format)
    job = Script(work, row_format)
    job.harm(_3="die", _4="raise", _11="die", _19="raise")
    ended = job.run("disturbed").check()
    assert ended.counts["work"].succeeded == 20 and ended.counts["work"].tries_failed == 4
    assert job.output == undisturbed


@pytest.mark.parametrize("row_format", FORMATS)
def test_a_run_whose_driver_was_killed_ends_in_the_same_bytes(work: Any, row_format: str) -> None:
    undisturbed = undisturbed_output(work, row_format)
    job = Script(work, row_format)
    (work.folder / "hold").touch()
    job.harm(_2="raise")
    run = work.folder / "killed"
    spec = work.spec({"work": job.step})
    driver = work.start(
        "run", str(spec), "--run-dir", str(run), "--dashboard", "none", start_new_session=True
    )

    def committed() -> bool:
        journal = run / "steps" / "work" / "journal"
        if not journal.exists():
            return False
        commits = Commits.load(20, read_journal(journal))
        return commits.is_final(0) and commits.is_final(1)

    # A failed try is reported at once, and with it what was done before: 0 and 1.
    until(committed, "the first commits", process=driver)
    early_copy = run / "steps" / "work" / "output.early"
    until(early_copy.exists, "the start of the output", process=driver)
    partial = work.folder / f"partial.{row_format}"
    export_partial(run, str(partial))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    (work.folder / "hold").unlink()
    until(lambda: not work.processes(), "the end of the processors")
    assert early_copy.exists() and not (work.folder / job.name).exists()
    daskpar.resume(run, dashboard=None, display=False).check()
    assert job.output == undisturbed and not early_copy.exists()
    early, all_rows = numbers_in(partial), numbers_in(work.folder / job.name)
    assert {0, 1} <= set(early)
    assert early == [number for number in all_rows if number in set(early)]


def numbers_in(path: Path) -> list[int]:
    """The first column."""
    match path.suffix:
        case ".parquet":
            rows = pd.read_parquet(path)
        case ".jsonl":
            rows = pd.read_json(path, lines=True)
        case ".csv":
            rows = pd.read_csv(path)
        case _:
            rows = pd.read_csv(path, sep=" ", header=None)
    return rows.iloc[:, 0].tolist()


@pytest.mark.parametrize("row_format", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("processors", [1, 2])
def test_columns_that_differ_end_the_step_and_name_both(work: Any, row_format: str, processors: int) -> None:
    (work.folder / "other columns").touch()
    job = Script(work, row_format)
    job.step["max_concurrency_per_instance"] = processors
    ended = job.run()
    assert ended.status == "failed"
    told = ended.reason
    assert (
        "mini-batch 7 returned rows with the columns ['n', 'when', 'maybe']" in told
        or "mini-batch 7 with" in told
    )
    assert len(set(re.findall(r"mini-batch \d+", told))) == 2 and "--append_row_columns union" in told
    assert not (work.folder / job.name).exists()


@pytest.mark.parametrize("row_format", ["csv", "parquet", "jsonl"])
def test_a_union_of_columns_has_nulls(work: Any, row_format: str) -> None:
    (work.folder / "other columns").touch()
    job = Script(work, row_format, "--append_row_columns union")
    ended = job.run().check()
    rows = ended.to_pandas()
    assert list(rows.columns) == ["n", "text", "when", "maybe"]
    assert rows[rows["text"].isna()]["n"].tolist() == [7, 7]
    first = job.output
    job.harm(_1="die", _7="raise", _8="raise")
    job.run("again").check()
    assert job.output == first


@pytest.mark.parametrize("row_format", FORMATS)
def test_the_rows_are_read_into_pandas_and_dask(work: Any, row_format: str) -> None:
    ended = (
        Script(work, row_format, "--append_row_dataframe_header" if row_format == "text" else "")
        .run()
        .check()
    )
    rows, lazily = ended.to_pandas(), ended.to_dask().compute()
    assert len(rows) == len(lazily) == ROWS
    for found in (rows, lazily):
        assert list(found.columns) == ["n", "text", "when", "maybe"]
        assert found["n"].is_monotonic_increasing and found["n"].dtype == "int64"
        assert found["text"].iloc[-1] == "é 19,\n1"
        assert str(found["maybe"].dtype) == "Int64" and found["maybe"].iloc[-3:].tolist() == [
            2**60 + 18,
            pd.NA,
            pd.NA,
        ]
    if row_format == "parquet":
        assert str(rows["when"].dt.tz) == "Europe/Berlin"


def test_text_without_header_is_one_column_of_lines(work: Any) -> None:
    work.files(3)
    ended = work.run({"work": work.parallel()}).check()
    assert ended.to_pandas()["line"].tolist() == ["0000.txt", "0001.txt", "0002.txt"]


def test_rows_of_several_steps_are_chosen_by_name(work: Any) -> None:
    work.files(2)
    steps = {
        name: work.parallel(
            f"def run(mini_batch): return [{{'step': '{name}'}}]",
            code=f"./{name}",
            arguments="--append_row_format jsonl",
            outputs={"rows": {"type": "uri_file", "path": f"./{name}.jsonl"}},
        )
        for name in ("one", "two")
    }
    ended = work.run({**steps, "none": work.parallel(append=False, outputs=None)}).check()
    assert ended.to_pandas("two")["step"].tolist() == ["two", "two"]
    with pytest.raises(UsageError, match=r"Several steps .*: one, two\. Say which one: step='one'"):
        ended.to_pandas()
    with pytest.raises(UsageError, match="The step none has no rows to read"):
        ended.to_dask("none")
    with pytest.raises(UsageError, match="has no step 'three': its steps are one, two, none"):
        ended.to_pandas("three")
    (work.folder / "two.jsonl").unlink()
    with pytest.raises(RunDirectoryError, match="The rows are gone"):
        ended.to_pandas("two")


def test_a_name_that_ends_in_parquet_is_enough(work: Any) -> None:
    work.files(3)
    step = work.parallel(
        "def run(mini_batch): return [{'n': len(mini_batch)}]",
        outputs={"rows": {"type": "uri_file", "path": "./rows.parquet"}},
    )
    work.run({"work": step}).check()
    assert pq.read_table(work.folder / "rows.parquet").to_pylist() == [{"n": 1}] * 3


@pytest.mark.parametrize("row_format", ["csv", "parquet", "jsonl"])
def test_the_driver_does_without_pandas(work: Any, row_format: str) -> None:
    job = Script(work, row_format, "--append_row_columns union")
    (work.folder / "other columns").touch()
    program = work.write(
        "program.py",
        f"""
        import sys, daskpar
        run = {str(work.folder / "run")!r}
        daskpar.run({str(work.spec({"work": job.step}))!r}, run_dir=run, dashboard=None, display=False).check()
        print("pandas" in sys.modules)
        """,
    )
    ended = warm_python.run(str(program), cwd=work.folder)
    assert ended.stdout.strip() == "False", ended.stderr


def test_rows_without_names_fail_their_mini_batches_and_say_what_to_return(work: Any) -> None:
    work.files(1)
    ended = work.run({"work": work.parallel(arguments="--append_row_format csv")})
    assert ended.status == "failed"
    assert "is a str, and rows in the format csv have names" in ended.steps["work"].first_failure.message
    assert "list of mappings" in ended.steps["work"].first_failure.message


def test_another_format_is_a_change_that_resume_refuses(work: Any) -> None:
    job = Script(work, "csv", mini_batch_error_threshold=0, retry_settings={"max_retries": 0, "timeout": 10})
    job.harm(_9="always")
    assert job.run().status == "failed"
    (work.folder / "harm 9").unlink()
    spec = Path(work.folder / "job.yml")
    spec.write_text(
        spec.read_text()
        .replace("--append_row_format csv", "--append_row_format jsonl")
        .replace("rows.csv", "r.jsonl")
    )
    with pytest.raises(RunDirectoryError, match="append_row_format was 'csv', is 'jsonl'"):
        daskpar.resume(work.folder / "run", dashboard=None, display=False)
    again = daskpar.resume(work.folder / "run", allow_changes=True, dashboard=None, display=False)
    assert again.status != "completed" and "Start a new run" in again.reason


@pytest.mark.parametrize("row_format", ["csv", "parquet", "jsonl"])
def test_an_object_store_gets_every_format(work: Any, row_format: str) -> None:
    undisturbed = undisturbed_output(work, row_format)
    job = Script(work, row_format)
    # A file system of fsspec's that is no folder of the run.
    place = f"local://{work.folder}/store/rows.{row_format}"
    job.step["outputs"]["rows"]["path"] = place
    (work.folder / "store").mkdir()
    ended = job.run("remote")
    assert ended.status == "completed", ended.reason
    assert (work.folder / "store" / f"rows.{row_format}").read_bytes() == undisturbed


def part_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("row_format", ["csv", "parquet"])
def test_a_folder_gets_part_files_whatever_happens_on_the_way(work: Any, row_format: str) -> None:
    job = Script(work, row_format, "--append_row_part_size 1kb")
    job.step["outputs"]["rows"] = {"type": "uri_folder", "path": "./parts"}
    job.run("undisturbed").check()
    undisturbed = part_files(work.folder / "parts")
    assert sorted(undisturbed) == [f"part-{n:05}.{row_format}" for n in range(len(undisturbed))]
    (work.folder / "parts" / "part-00099.csv").write_text("of an earlier run")
    job.harm(_3="die", _4="raise")
    ended = job.run("disturbed").check()
    assert part_files(work.folder / "parts") == undisturbed and len(undisturbed) > 1
    assert Path(ended.outputs["work.rows"]) == work.folder / "parts"
    rows, lazily = ended.to_pandas(), ended.to_dask().compute()
    assert len(rows) == len(lazily) == ROWS and rows["n"].is_monotonic_increasing
    assert str(rows["maybe"].dtype) == "Int64" and rows["text"].iloc[-1] == "é 19,\n1"
    for path in (work.folder / "parts").iterdir():
        path.unlink()
    with pytest.raises(RunDirectoryError, match=r"there are no part files in .*parts/ any more"):
        ended.to_pandas()


def test_rows_have_columns_of_their_items_and_are_the_next_steps_table(work: Any) -> None:
    lines = "".join(f"{2**53 + n if n % 3 else ''},name {n},{n}\n" for n in range(60))
    work.write("table/t.csv", f"id,name,price\n{lines}")
    read = "  - read_delimited: {delimiter: ',', encoding: utf8, header: all_files_same_headers}\n"
    work.write("table/MLTable", f"type: mltable\npaths:\n  - file: ./t.csv\ntransformations:\n{read}")
    score = """
    import pandas as pd
    def run(mini_batch):
        score = pd.DataFrame({"score": mini_batch["price"].to_numpy() * 2})
        mini_batch["id"] = 0
        return score
    """
    table = {"type": "mltable", "path": "./table", "mode": "direct"}
    first = work.parallel(
        score,
        inputs={"rows": table},
        input_data="${{inputs.rows}}",
        mini_batch_size="200",
        arguments="--append_row_format parquet --append_row_join id,name --append_row_index",
        outputs={"scores": {"type": "mltable", "path": "./scores"}},
    )
    first["task"]["append_row_to"] = "${{outputs.scores}}"
    second = work.parallel(
        "def run(mini_batch): return mini_batch[mini_batch['score'] >= 0]",
        code="./second",
        inputs={
            "scores": {"type": "mltable", "path": "${{parent.jobs.first.outputs.scores}}", "mode": "direct"}
        },
        input_data="${{inputs.scores}}",
        mini_batch_size="1mb",
        arguments="--append_row_format csv",
        outputs={"rows": {"type": "uri_file", "path": "./rows.csv"}},
    )
    ended = work.run({"first": first, "second": second}).check()
    rows = ended.to_pandas("first")
    assert list(rows.columns) == ["minibatch_index", "id", "name", "score"]
    assert rows["id"].fillna(0).tolist() == [2**53 + n if n % 3 else 0 for n in range(60)]
    assert rows["name"].tolist() == [f"name {n}" for n in range(60)]
    assert rows["score"].tolist() == [2 * n for n in range(60)]
    assert rows["minibatch_index"].nunique() == ended.counts["first"].planned > 2
    assert ended.to_pandas("second")["score"].tolist() == rows["score"].tolist()


@pytest.mark.parametrize("row_format", ["text", "parquet"])
def test_a_name_that_is_there_twice_ends_the_step_at_its_first_row(work: Any, row_format: str) -> None:
    script = "import pandas as pd\ndef run(mini_batch): return pd.DataFrame({'path': mini_batch})"
    work.files(30)
    step = work.parallel(
        script,
        arguments=f"--append_row_format {row_format} --append_row_join path",
        outputs={"rows": {"type": "uri_file", "path": "./rows"}},
    )
    ended = work.run({"work": step})
    assert ended.status == "failed" and ended.counts["work"].done < 30
    assert "returned rows with the columns ['path']" in ended.reason and "--append_row_join" in ended.reason
