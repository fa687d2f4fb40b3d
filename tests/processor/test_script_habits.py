"""What scripts do in practice, with real processes: prints, forks, random numbers, lazy returns, exit handlers, limits."""

from __future__ import annotations

import sys
import threading

import pytest

from daskpar.batches.plan_writer import write_plan
from daskpar.batches.records import unpack
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.processor.pool import ProcessorPool
from daskpar.processor.protocol import BlockEnded, BlockOrder, Flushed, ProcessorSettings
from daskpar.results import Reason, TryStatus
from daskpar.rows.shared_folder import SharedFolder


@pytest.fixture
def drive(tmp_path):
    """Runs one block for each mini-batch of a file list (or of the given plan); records and failures by index, logs below `tmp_path`."""

    def go(script, mini_batches=2, plan=None, **settings):
        for folder in ("code", "parts", "logs", "work", "out"):
            (tmp_path / folder).mkdir()
        (tmp_path / "code" / "score.py").write_text(script)
        if plan is None:
            plan = tmp_path / "plan"
            write_plan(plan, kind="files", paths=[f"/data/{i}" for i in range(mini_batches)])
        known = {
            "run_id": "run", "step": "step", "node": 0, "python": sys.executable, "processors": 1, "append_row": True,
            "entry_script": str(tmp_path / "code" / "score.py"), "code": str(tmp_path / "code"), "plan": str(plan), "max_retries": 0,
            "store": SharedFolder(tmp_path / "parts"), "shared": str(tmp_path / "parts"), "logs": str(tmp_path / "logs"), "work": str(tmp_path / "work"),
            "working_dir": str(tmp_path), "output_dir": str(tmp_path / "out"),
        }  # fmt: skip
        left, over, messages = set(range(mini_batches)), threading.Event(), []

        def report(said):
            messages.extend(said)
            left.difference_update(m.block for m in said if isinstance(m, BlockEnded))
            if not left:
                over.set()

        pool = ProcessorPool(ProcessorSettings(**{**known, **settings}), report)
        try:
            for i in range(mini_batches):
                pool.submit(BlockOrder(block=i, token="t", start=i, stop=i + 1))
            assert over.wait(60)
            pool.finish()
        finally:
            pool.close()
        flushed = [m for m in messages if isinstance(m, Flushed)]
        records = {int(r["index"]): r for m in flushed for r in unpack(m.records)}
        return records, {f.index: f for m in flushed for f in m.failures}

    return go


def stdout(tmp_path):
    return "".join(path.read_text() for path in sorted((tmp_path / "logs/user/stdout/0").iterdir()))


def test_a_generator_runs_also_where_nobody_asks_for_returns(drive, tmp_path):
    records, _ = drive(
        "def run(batch):\n    print('ran', batch[0])\n    yield 1\n", append_row=False, returns_measured=False
    )
    assert {r["status"] for r in records.values()} == {TryStatus.SUCCEEDED}
    assert stdout(tmp_path) == "ran /data/0\nran /data/1\n"


def test_numbers_drawn_from_numpy_differ_between_processors(drive, tmp_path):
    script = "import os\nimport numpy as np\ndef init(): print(np.random.rand(), flush=True)\ndef run(batch): os._exit(1)\n"
    drive(script, mini_batches=3, tabular=True)
    drawn = stdout(tmp_path).split()
    assert len(drawn) >= 3 and len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 11)", "time.sleep(1000)"])
def test_what_was_printed_before_the_end_of_a_processor_is_in_its_log(drive, tmp_path, end):
    drive(
        f"import os, time\ndef run(batch):\n    print('last words')\n    {end}\n",
        mini_batches=1,
        run_timeout=1.0 if "sleep" in end else 60.0,
    )
    assert stdout(tmp_path) == "last words\n"


@pytest.mark.parametrize("end", ["sys.exit(0)", "return batch", "raise ValueError", "os._exit(0)"])
def test_what_was_printed_before_a_fork_is_printed_once(drive, tmp_path, end):
    script = f"""
import os, sys
def run(batch):
    print("before", end=" ")
    child = os.fork()
    if child == 0:
        {end}
    os.waitpid(child, 0)
    print("after")
    return batch
"""
    records, _ = drive(script)
    assert stdout(tmp_path) == "before after\n" * 2
    assert [int(r["returned"]) for r in records.values()] == [1, 1]


def test_exit_handlers_of_the_script_run_at_the_end(drive, tmp_path):
    drive(
        "import atexit\natexit.register(print, 'goodbye')\ndef run(batch): return batch\ndef shutdown(): print('shutdown')\n"
    )
    assert stdout(tmp_path) == "shutdown\ngoodbye\n"


def test_stacks_are_written_though_the_script_has_taken_the_usual_signals(drive):
    script = """
import signal, time
for number in (signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, signal.SIG_IGN)
def run(batch):
    here_it_hangs()
def here_it_hangs():
    time.sleep(1000)
"""
    _, failures = drive(script, mini_batches=1, run_timeout=1.0)
    assert failures[0].reason == Reason.TIMEOUT
    assert "here_it_hangs" in failures[0].trace


@pytest.fixture
def table_plan(tmp_path):
    """One mini-batch of 100 rows, whose number is only known by reading it."""
    from daskpar.data.mltable.open import open_mltable

    folder = tmp_path / "table"
    folder.mkdir()
    (folder / "a.csv").write_text("a,b\n" + "".join(f"{i},{i}\n" for i in range(100)))
    (folder / "MLTable").write_text(
        "paths:\n  - file: ./a.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n      header: all_files_same_headers\n"
    )
    table = open_mltable(str(folder))
    write_plan(tmp_path / "plan", kind="pieces", table=table, pieces=cut_into_pieces(table, 1 << 20))
    return tmp_path / "plan"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os._exit(1)", Reason.DIED),
        ("time.sleep(1000)", Reason.TIMEOUT),
        ("raise ValueError", Reason.EXCEPTION),
    ],
)
def test_all_rows_of_a_table_count_however_their_try_failed(drive, table_plan, body, reason):
    records, _ = drive(
        f"import os, time\ndef run(frame):\n    {body}\n",
        mini_batches=1,
        plan=table_plan,
        tabular=True,
        run_timeout=0.5 if reason == Reason.TIMEOUT else 60.0,
    )
    assert (records[0]["reason"], records[0]["items"], records[0]["failed_items"]) == (reason, 100, 100)


@pytest.mark.parametrize(("megabytes", "status"), [(100, TryStatus.SUCCEEDED), (600, TryStatus.FAILED)])
def test_a_memory_limit_counts_what_is_used_not_what_libraries_have_reserved(
    drive, table_plan, megabytes, status
):
    script = f"def run(frame):\n    held = [b'x' * 2**20 for _ in range({megabytes})]\n    return frame\n"
    records, failures = drive(script, mini_batches=1, plan=table_plan, tabular=True, memory_limit=400 << 20)
    assert records[0]["status"] == status
    assert [f.reason for f in failures.values()] == ([Reason.MEMORY] if status == TryStatus.FAILED else [])


def test_the_processor_time_of_a_mini_batch_that_waits_is_not_the_time_that_passed(drive):
    """In the first block, in later ones, and after mini-batches that are over at once."""
    script = "import time\n\ndef run(batch):\n    time.sleep(0.1 if batch[0][-1] in '025' else 0)\n    return batch\n"
    records, _ = drive(script, mini_batches=6)
    for index in (0, 2, 5):
        assert records[index]["cpu"] < records[index]["run"] / 2, index
