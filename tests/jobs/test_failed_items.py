"""One bad item costs one item: what is called, what is written, what failed, and what a resume runs again."""

from __future__ import annotations

import decimal
import json
import random
import textwrap
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import daskpar
from daskpar.cli import main
from daskpar.engine.rules.division import most_calls

FILES = """
import os, time
from pathlib import Path
world = Path(os.environ["WORLD"])
KINDS = {int(n): kind for n, _, kind in (word.partition(":") for word in os.environ["BAD"].split())}

def run(batch):
    numbers = [int(os.path.basename(path)[:-4]) for path in batch]
    fd = os.open(world / "calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (" ".join(map(str, numbers)) + "\\n").encode())
    os.close(fd)
    kinds = {} if (world / "mended").exists() else KINDS
    rows = []
    for number in numbers:
        kind = kinds.get(number)
        if kind == "raise":
            raise ValueError(f"{number} is corrupt")
        if kind == "crash":
            os.abort()
        if kind == "hang":
            time.sleep(60)
        if kind != "short":
            rows.append({"number": number, "half": number / 2} if os.environ["NAMED"] else f"row {number}")
    return rows
"""
REASONS = {"raise": "EXCEPTION", "crash": "DIED", "hang": "TIMEOUT", "short": "SHORT"}


def failed_items(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "failed_items.jsonl").read_text().splitlines()]


def calls(work) -> list[list[int]]:
    return [[int(n) for n in line.split()] for line in (work.folder / "calls").read_text().splitlines()]


@pytest.mark.servers_with_pandas
@pytest.mark.parametrize(("processors", "row_format"), [(1, "csv"), (3, "parquet"), (2, "text")])
def test_random_bad_files(work, processors, row_format):
    """Exactly the good files have rows, in order; exactly the bad ones are named; few calls; then these alone again."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    items, size = draw.randint(20, 80), draw.randint(5, 40)
    kinds = ["raise", "crash", "short"]
    bad = {n: draw.choice(kinds) for n in draw.sample(range(items), draw.randint(1, 4))}
    if row_format == "text":
        bad[max(bad)] = "hang"
    work.files(items)
    named = "" if row_format == "text" else "named"
    step = work.parallel(
        FILES,
        mini_batch_size=str(size),
        max_concurrency_per_instance=processors,
        retry_settings={"max_retries": 0, "timeout": 1.5 if "hang" in bad.values() else 30},
        environment_variables={
            "WORLD": str(work.folder),
            "NAMED": named,
            "BAD": " ".join(f"{n}:{kind}" for n, kind in bad.items()),
        },
        outputs={
            "rows": {"type": "uri_file", "path": f"./rows.{row_format}"},
            "bad": {"type": "mltable", "path": "./bad"},
        },
        arguments=f"--append_row_format {row_format} --isolate_failed_items "
        "--failed_items_to ${{outputs.bad}} --error_threshold " + str(len(bad)),
    )
    ended = work.run({"work": step})
    assert ended.status == "completed", ended.summary

    def numbers() -> list[int]:
        if row_format == "text":
            return [int(line.split()[1]) for line in work.rows("rows.text")]
        return ended.to_pandas()["number"].tolist()

    assert numbers() == [n for n in range(items) if n not in bad]
    found = failed_items(work.folder / "bad")
    assert [(v["mini_batch"], v["position"]) for v in found] == [divmod(n, size) for n in sorted(bad)]
    assert [(int(Path(v["path"]).stem), v["reason"]) for v in found] == [
        (n, REASONS[kind]) for n, kind in sorted(bad.items())
    ]
    assert found == failed_items(ended.failed_items["work"].parent)
    counts = ended.counts["work"]
    alone = sum(1 for n in bad if len(range(n // size * size, min(items, n // size * size + size))) == 1)
    assert (counts.failed_items, counts.items, counts.failed) == (len(bad), items, alone)
    of_batch = Counter(n // size for n in bad)
    bound = sum(1 + most_calls(size, k) for k in of_batch.values()) + len(range(0, items, size))
    # A process that may be broken is not believed when an item fails alone: that one is asked once more.
    assert len(calls(work)) <= bound + len(bad)

    assert "failed_items.jsonl" in ended.summary
    (work.folder / "mended").touch()
    (work.folder / "calls").unlink()
    ended = daskpar.resume(work.folder / "run", retry_failed=True, dashboard=None, display=False)
    assert ended.status == "completed", ended.summary
    assert numbers() == list(range(items))
    assert sorted(n for call in calls(work) for n in call) == sorted(bad)
    assert failed_items(work.folder / "bad") == []
    assert not (work.folder / "run" / "steps" / "work" / "parts").exists()


def test_a_bad_file_that_breaks_its_process_costs_itself_alone(work):
    """With one processor too: an item is believed to be bad only where its process was sound."""
    work.files(60)
    script = """
import os
broken = False
def run(batch):
    global broken
    if broken:
        raise RuntimeError("the GPU is lost")
    names = [os.path.basename(path) for path in batch]
    if "0007.txt" in names:
        broken = True
        raise ValueError("a bad file")
    return names
"""
    retries = {"max_retries": 0, "timeout": 30}
    step = work.parallel(
        script, mini_batch_size="30", retry_settings=retries, arguments="--isolate_failed_items"
    )
    ended = work.run({"work": step})
    assert [v["position"] for v in failed_items(ended.failed_items["work"].parent)] == [7]
    assert work.rows() == [f"{n:04}.txt" for n in range(60) if n != 7]


def test_files_that_are_gone_cost_themselves_alone(work):
    """And the list of failed files is the input of the next run, as it stands."""
    work.files(12)
    gone = {"0002.txt", "0009.txt"}
    script = f"""
import os
def init():
    for name in {gone}:
        path = os.path.join({str(work.folder / "data")!r}, name)
        if os.path.exists(path):
            os.remove(path)
def run(batch):
    return [os.path.basename(path) for path in batch]
"""
    step = work.parallel(
        script,
        mini_batch_size="6",
        inputs={"files": {"type": "uri_folder", "mode": "direct", "path": "./data"}},
        outputs={
            "rows": {"type": "uri_file", "path": "./rows.txt"},
            "bad": {"type": "uri_folder", "path": "./bad"},
        },
        arguments="--isolate_failed_items True --failed_items_to ${{outputs.bad}}",
    )
    ended = work.run({"work": step})
    assert ended.counts["work"].failed_items == 2, ended.summary
    assert work.rows() == [f"{n:04}.txt" for n in range(12) if f"{n:04}.txt" not in gone]
    assert [v["reason"] for v in failed_items(work.folder / "bad")] == ["INPUT_CHANGED"] * 2
    for name in gone:
        (work.folder / "data" / name).touch()
    again = work.parallel(
        mini_batch_size="6", inputs={"files": {"type": "mltable", "mode": "eval_mount", "path": "./bad"}}
    )
    assert work.run({"work": again}, run_dir=work.folder / "second").status == "completed"
    assert work.rows() == sorted(gone)


ROWS = """
import os
def run(frame):
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    with open(os.environ["WORLD"] + "/types", "a") as file:
        file.write(f"{types}\\n")
    assert list(frame.index) == list(range(len(frame)))
    if set(frame["id"]) & set(map(int, os.environ["BAD"].split())):
        raise ValueError("bad rows")
    return frame[["id"]]
"""


def table(work, count: int = 60) -> None:
    moments = pd.date_range("2024-03-01", periods=count, freq="h", tz="Europe/Berlin")
    rows = pa.table(
        {
            "id": range(count),
            "key": [n % 3 for n in range(count)],
            "moment": pa.array(moments),
            "price": [None if n % 7 == 0 else decimal.Decimal(n) / 4 for n in range(count)],
            "text": [f"ä\n{n}" for n in range(count)],
            # Arrow can't guess this kind from the values of a frame.
            "pairs": pa.array([[("k", n)] for n in range(count)], pa.map_(pa.string(), pa.int64())),
        }
    )
    data = work.folder / "data"
    data.mkdir()
    pq.write_table(rows, data / "rows.parquet", row_group_size=30)
    (data / "MLTable").write_text(
        "paths: [{file: ./rows.parquet}]\ntransformations: [{read_parquet: {include_path_column: false}}]\n"
    )


def table_step(work, bad: str, arguments: str, path: str = "./data", **more):
    return work.parallel(
        ROWS,
        inputs={"files": {"type": "mltable", "mode": "direct", "path": path}},
        outputs={
            "rows": {"type": "uri_file", "path": "./rows.txt"},
            "bad": {"type": "mltable", "path": "./bad"},
        },
        environment_variables={"WORLD": str(work.folder), "BAD": bad},
        arguments=arguments,
        **more,
    )


def test_bad_rows_are_the_input_of_the_next_run(work):
    """With the types that they had, although the job failed."""
    table(work)
    arguments = "--isolate_failed_items True --failed_items_to ${{outputs.bad}}"
    step = table_step(work, "4 31 59", f"{arguments} --error_threshold 2", mini_batch_size="1gb")
    ended = work.run({"work": step})
    assert ended.status == "failed" and "3 items failed" in ended.reason
    found = failed_items(work.folder / "bad")
    assert [(v["row_number"], v["row"]["text"]) for v in found] == [(n, f"ä\n{n}") for n in (4, 31, 59)]
    assert {v["path"] for v in found} == {str(work.folder / "data" / "rows.parquet")}
    assert found[0]["row"]["moment"] == "2024-03-01T04:00:00+01:00"
    assert found[0]["traceback"].endswith("in run") and found[0]["error"] == "ValueError: bad rows"
    types = (work.folder / "types").read_text().splitlines()
    (work.folder / "types").unlink()
    again = table_step(work, "", arguments.replace("bad}", "worse}"), path="./bad", mini_batch_size="1gb")
    again["outputs"] = {"rows": again["outputs"]["rows"], "worse": {"type": "mltable", "path": "./worse"}}
    assert work.run({"work": again}, run_dir=work.folder / "second").status == "completed"
    assert work.rows() == ["4", "31", "59"]
    assert set((work.folder / "types").read_text().splitlines()) == set(types)


@pytest.mark.parametrize(("how", "failed"), [("True", [20, 20]), ("groups", [1, 2])])
def test_groups_are_divided_on_request(work, how, failed):
    table(work)
    step = table_step(work, "4 5 59", f"--isolate_failed_items {how}")
    step |= {"partition_keys": ["key"]}
    del step["mini_batch_size"]
    ended = work.run({"work": step})
    found = Counter(v["mini_batch"] for v in failed_items(work.folder / "run" / "steps" / "work"))
    assert found == {1: failed[0], 2: failed[1]}, ended.summary
    assert ended.counts["work"].failed == (2 if how == "True" else 0)


def test_what_has_too_many_bad_items_is_given_up(work):
    """As if nothing had been divided: rows of a short return stay, and all its items have failed."""
    work.files(40)
    bad = " ".join(f"{n}:short" for n in range(0, 40, 3))
    step = work.parallel(
        FILES,
        mini_batch_size="20",
        environment_variables={"WORLD": str(work.folder), "NAMED": "", "BAD": bad},
        arguments="--isolate_failed_items True --isolate_at_most 3",
    )
    ended = work.run({"work": step})
    counts = ended.counts["work"]
    assert (ended.status, counts.failed, counts.failed_items) == ("failed", 2, 14)
    assert len(calls(work)) <= 2 * (2 + most_calls(20, 4))
    folder = work.folder / "run" / "steps" / "work"
    assert len(failed_items(folder)) == 40
    assert not any(v["alone"] for v in failed_items(folder))
    assert "--isolate_at_most" in failed_items(folder)[0]["error"]
    assert main(["export", str(work.folder / "run"), "--partial", str(work.folder / "part.txt")]) == 0
    assert work.rows("part.txt") == [f"row {n}" for n in range(40) if n % 3]


def test_a_step_ends_in_time(work):
    """Not as an interruption of the user's; a resume goes on."""
    work.files(6)
    script = """
import os, time
def run(batch):
    if not os.path.exists(os.environ["WORLD"] + "/mended") and batch[0].endswith("0003.txt"):
        time.sleep(60)
    return [os.path.basename(batch[0])]
"""
    step = work.parallel(
        script,
        environment_variables={"WORLD": str(work.folder)},
        retry_settings={"timeout": 60},
        limits={"timeout": 1},
    )
    ended = work.run({"work": step})
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert "ran for 1 s" in ended.reason and "--job_timeout" in ended.reason
    assert ended.counts["work"].failed == 0
    (work.folder / "mended").touch()
    longer = {"jobs.work.job_timeout": "100"}
    ended = daskpar.resume(work.folder / "run", overrides=longer, dashboard=None, display=False)
    assert (ended.status, work.rows()) == ("completed", [f"{n:04}.txt" for n in range(6)])


BAD_ARGUMENTS = [
    ("--isolate_failed_items maybe", "has to be True, False or groups, not 'maybe'"),
    ("--isolate_failed_items True --isolate_at_most 0", "isolate_at_most"),
    ("--isolate_at_most 3", "--isolate_failed_items True"),
    ("--job_timeout 0", "has to be seconds, more than 0"),
    ("--failed_items_to ${{outputs.rows}}", "is the step's append_row_to too"),
    ("--failed_items_to https://host/bad", "can't be written"),
    ("--failed_items_to ${{inputs.files}}", "is the step's input too"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD_ARGUMENTS)
def test_bad_input_is_refused_before_anything_runs(work, arguments, said):
    work.files(2)
    with pytest.raises(daskpar.SpecError, match=said.replace("(", r"\(")):
        daskpar.validate(work.spec({"work": work.parallel(arguments=arguments)}))


@pytest.mark.parametrize("tabular", [True, False])
def test_what_is_joined_to_rows_is_that_of_their_own_items(work, tabular):
    """Also where a mini-batch was divided: each piece has the columns, or paths, of its items alone."""
    if tabular:
        work.write("data/MLTable", "paths:\n  - file: ./rows.csv\ntransformations:\n  - read_delimited\n")
        work.write("data/rows.csv", "id,bad\n" + "".join(f"{n},{int(n == 5)}\n" for n in range(20)))
        script = """
        def run(frame):
            if frame["bad"].any():
                raise ValueError("bad")
            return [{"double": 2 * n} for n in frame["id"]]
        """
    else:
        work.files(20)
        script = """
        def run(batch):
            numbers = [int(path[-8:-4]) for path in map(str, batch)]
            if 5 in numbers:
                raise ValueError("bad")
            return [{"double": 2 * n} for n in numbers]
        """
    step = work.parallel(
        textwrap.dedent(script),
        mini_batch_size="1kb" if tabular else "20",
        inputs={"files": {"type": "mltable" if tabular else "uri_folder", "path": "./data"}},
        retry_settings={"max_retries": 0, "timeout": 30},
        outputs={"rows": {"type": "uri_file", "path": "./rows.csv"}},
        arguments="--append_row_format csv --isolate_failed_items True --append_row_index "
        f"--append_row_join {'id' if tabular else 'path'}",
    )
    work.run({"work": step}).check()
    rows = pd.read_csv(work.folder / "rows.csv")
    good = [n for n in range(20) if n != 5]
    assert rows["double"].tolist() == [2 * n for n in good]
    ids = rows["id"].tolist() if tabular else [int(path[-8:-4]) for path in rows["path"]]
    assert ids == good and set(rows["minibatch_index"]) == {0}
