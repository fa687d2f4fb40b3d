"""A function over data, from Python: whole runs."""

from __future__ import annotations

import asyncio
import datetime
import os
import shutil
import time
from decimal import Decimal
from pathlib import Path

import dask.bag
import dask.dataframe
import pandas as pd
import pytest

import daskpar
from daskpar.rundir.run_directory import RunDirectory

QUIET = {"dashboard": None, "display": False}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def frame():
    return pd.DataFrame(
        {
            "store": pd.Categorical(["b", "a", "b", "c"]),
            "day": pd.date_range("2026-01-01", periods=4, tz="Europe/Berlin"),
            "sold": pd.array([1, None, 3, 4], "Int64"),
            "code": pd.array([2**53 + 1, None, None, 2**53 + 3], "Int64"),
            "open": pd.array([True, None, False, True], "boolean"),
            "price": [Decimal("1.50")] * 4,
            "note": pd.array(["x", None, "y", "z"], "string"),
            5: [1.5, 2.5, 3.5, 4.5],
        }
    )


class PerStore:
    """Made once in each processor; called with the rows of a store."""

    def __init__(self, dtypes, *, greeting):
        self.dtypes, self.greeting = dtypes, greeting

    def __call__(self, rows, context):
        assert rows.dtypes.equals(self.dtypes), rows.dtypes
        return {
            "store": rows["store"].iloc[0],
            "sold": rows["sold"].sum(),
            "codes": [str(code) for code in rows["code"]],
            "mean": rows[5].mean(),
            "greeting": self.greeting,
            "key": context.partition_key_value["store"],
        }

    def shutdown(self):
        Path("ended").touch()  # the working directory is that of the driver


def test_a_class_gets_the_rows_of_a_key_with_their_types():
    data = dask.dataframe.from_pandas(frame(), npartitions=3)
    run = daskpar.map_mini_batches(
        PerStore,
        data,
        partition_keys=["store"],
        init_args=(data.dtypes,),  # Dask makes texts of decimals
        init_kwargs={"greeting": "hello"},
        **QUIET,
    ).check()
    assert run.counts["PerStore"].items == 4 and Path("ended").exists()
    rows = run.to_dask().compute()
    rows["codes"] = [list(codes) for codes in rows["codes"]]
    assert rows.to_dict("list") == {
        "store": ["b", "a", "c"],
        "sold": [4, 0, 4],
        "codes": [[str(2**53 + 1), "<NA>"], ["<NA>"], [str(2**53 + 3)]],
        "mean": [2.5, 2.5, 4.5],
        "greeting": ["hello"] * 3,
        "key": ["b", "a", "c"],
    }
    assert run.outputs["rows"] == str(run.path / "outputs/rows.parquet")


def test_items_of_any_kind_come_by_count_and_rows_are_a_bag():
    items = [{"n": 1}, (2,), datetime.date(2026, 1, 31), None, 5]
    offset = 100

    def kinds(batch):
        yield from ({"kind": type(each).__name__, "of": len(batch) + offset} for each in batch)

    run = daskpar.map_mini_batches(
        kinds, dask.bag.from_sequence(items, npartitions=2), mini_batch_size=2, format="jsonl", **QUIET
    ).check()
    assert (run.counts["kinds"].planned, run.counts["kinds"].items) == (3, 5)
    assert run.to_bag().compute(scheduler="sync") == [
        {"kind": kind, "of": 102 - (kind == "int")} for kind in ("dict", "tuple", "date", "NoneType", "int")
    ]


def test_one_bad_element_of_a_list_costs_itself_alone():
    """A list is stored as groups of elements, which is no reason not to divide them."""

    def halves(batch):
        if 3 in batch:
            raise ValueError("3 is bad")
        return [{"half": each / 2} for each in batch]

    run = daskpar.map_mini_batches(
        halves,
        list(range(6)),
        mini_batch_size=6,
        max_retries=0,
        program_arguments="--isolate_failed_items",
        **QUIET,
    )
    assert (run.status, run.counts["halves"].failed_items) == ("completed", 1), run.summary
    assert run.to_pandas()["half"].tolist() == [n / 2 for n in range(6) if n != 3]


def test_the_same_call_goes_on_and_is_reused_and_another_is_refused(here, capsys):
    """A call that hangs is killed, one that crashes or raises takes nothing else with it."""
    for number in range(4):
        (here / f"{number}.txt").write_text(str(number))
    mended = here / "mended"

    def read(paths):
        number = int(Path(paths[0]).read_text())
        if not mended.exists():
            if number == 1:
                time.sleep(1000)
            if number == 2:
                os._exit(5)
            if number == 3:
                raise ValueError("three")
        return number * 10

    def call(**changes):
        options = {
            "name": "numbers",
            "environment_variables": {"MY_TOKEN": "sesame-open"},
            "timeout": 2,
            "max_retries": 0,
            "mini_batch_error_threshold": 2,
            "dashboard": None,
        }
        return daskpar.map_mini_batches(changes.pop("function", read), "*.txt", **{**options, **changes})

    first = call(max_concurrency_per_instance=1)
    assert (first.status, first.path) == ("failed", here / "runs/numbers")
    errors = daskpar_errors(first)
    assert "run() took longer than" in errors or "timeout" in errors.lower()
    assert "the processor ended with exit code 5" in errors
    assert f'File "{__file__}"' in errors and 'raise ValueError("three")' in errors
    assert "daskpar/processor" not in errors

    mended.touch()
    capsys.readouterr()
    second = call(timeout=50).check()
    assert second.to_pandas().value.tolist() == [0, 10, 20, 30]
    assert "numbers: goes on where it was" in capsys.readouterr().out
    third = call()
    assert third.to_pandas().value.tolist() == [0, 10, 20, 30]
    assert third.outputs == second.outputs and set(third.outputs) == {"read.rows", "rows"}
    assert "numbers: completed already, its rows are reused" in capsys.readouterr().out

    with pytest.raises(daskpar.RunDirectoryError, match="MY_TOKEN has another secret"):
        call(environment_variables={"MY_TOKEN": "sesame-shut"})
    files = [path for path in first.path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"sesame" in path.read_bytes()]
    with pytest.raises(
        daskpar.RunDirectoryError,
        match=r"run of another call:\n  - step read: mini_batch_size was '1', is '2'",
    ):
        call(mini_batch_size=2)
    (here / "0.txt").write_text("5")
    with pytest.raises(daskpar.RunDirectoryError, match="files of input data"):
        call()
    with pytest.raises(daskpar.RunDirectoryError, match="the function was read, is len"):
        call(function=len)


def daskpar_errors(run):
    """The errors in a run's log, with their traces."""
    return "\n".join(path.read_text() for path in run.path.glob("steps/*/logs/user/error/**/*.txt"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "xml"}, "format is one of text, csv, parquet, jsonl, or None; not 'xml'"),
        ({"name": "a/b"}, "name is letters, digits, _, - and dots, not 'a/b'; run_dir takes any folder"),
        ({"name": "a", "run_dir": "b"}, "give one of them"),
        ({"timeout": 0, "max_retries": -1}, "2 mistakes in the spec"),
        ({"function": "gone.py", "data": "."}, "there is no script gone.py"),
        ({"function": __file__, "init_args": (1,)}, "init_args and init_kwargs are for a class"),
        (
            {"function": __file__},
            "a script gets files or rows: for a list or bag of anything else give a function",
        ),
    ],
)
def test_mistakes_leave_nothing(here, options, said):
    arguments = {"function": len, "data": [1], **options}
    with pytest.raises(daskpar.DaskparError, match=said):
        daskpar.map_mini_batches(arguments.pop("function"), arguments.pop("data"), **arguments, **QUIET)
    assert not list(here.glob("runs/*"))


def test_a_run_of_something_else_is_left_alone(here):
    RunDirectory.create(here / "mine", "other", here / "job.yml").close()
    with pytest.raises(
        daskpar.RunDirectoryError, match="is a run, but none of map_mini_batches: choose another"
    ):
        daskpar.map_mini_batches(len, [1], run_dir="mine", **QUIET)


def test_a_file_where_runs_would_be_is_told(here):
    (here / "runs").touch()
    with pytest.raises(daskpar.RunDirectoryError, match=r"can't be made: File exists.*--run-dir"):
        daskpar.map_mini_batches(len, [1], **QUIET)


def test_what_was_not_begun_is_begun_anew(here):
    """A driver that was killed while it wrote the data leaves a folder that nobody could go on with."""
    run = daskpar.map_mini_batches(len, [1, 2], run_dir="mine", **QUIET).check()
    (run.path / "inputs/data/MLTable").unlink()
    shutil.rmtree(run.path / "steps")
    assert daskpar.map_mini_batches(
        len, [1, 2], run_dir="mine", **QUIET
    ).check().to_pandas().value.tolist() == [1, 1]


class Asks:
    """Async, with many calls in flight, in an event loop that its object was made in."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()

    async def __call__(self, numbers):
        await asyncio.sleep(0.01)
        return [self.loop is asyncio.get_running_loop() and number + 1 for number in numbers]

    async def shutdown(self):
        await asyncio.sleep(0)
        Path("ended").touch()


def test_an_async_class_has_many_calls_in_flight(here):
    arguments = "--concurrent_mini_batches 8"
    run = daskpar.map_mini_batches(Asks, list(range(40)), program_arguments=arguments, **QUIET)
    assert run.to_pandas()["value"].tolist() == list(range(1, 41))
    assert Path("ended").exists()


def test_a_script_does_as_well(here):
    (here / "double.py").write_text("def run(mini_batch):\n    return [len(mini_batch)] * len(mini_batch)\n")
    run = daskpar.map_mini_batches("double.py", "*.py", format="text", output="out.txt", **QUIET).check()
    assert (here / "out.txt").read_text() == "1\n" and run.to_bag().compute(scheduler="sync") == ["1"]
