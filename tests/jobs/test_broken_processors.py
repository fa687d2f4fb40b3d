"""A processor or node that fails at everything costs no good file; bad files and bad scripts stay what they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HEAD = """
import os, resource
def init():
    with open(os.environ["TALLY"] + "/inits", "a") as file:
        file.write(f"{os.getpid()}\\n")
def note(batch):
    with open(os.environ["TALLY"] + "/calls", "a") as file:
        file.write(os.path.basename(batch[0]) + "\\n")
def shutdown():
    with open(os.environ["TALLY"] + "/shutdowns", "a") as file:
        file.write(f"{os.getpid()}\\n")
"""
STATE = """
broken = False
def run(batch):
    global broken
    note(batch)
    if broken:
        raise RuntimeError("the GPU is lost")
    if os.path.basename(batch[0])[:4] in os.environ["BAD"].split():
        broken = True
        raise ValueError("a bad file")
    return [os.path.basename(batch[0])]
"""
HANDLES = """
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
def run(batch):
    held.append(open(batch[0]))
    return [os.path.basename(batch[0])]
"""
SESSION = """
left = 7
def run(batch):
    global left
    left -= 1
    if left < 0:
        raise ConnectionError("the session that init() opened has ended")
    return [os.path.basename(batch[0])]
"""
FOLDER = """
def run(batch):
    os.mkdir("scratch")
    if os.path.basename(batch[0])[:4] in os.environ["BAD"].split():
        raise ValueError("a bad file")
    os.rmdir("scratch")
    return [os.path.basename(batch[0])]
"""
BAD_FILES = """
def run(batch):
    note(batch)
    if os.path.basename(batch[0])[:4] in os.environ["BAD"].split():
        raise ValueError("a bad file")
    return [os.path.basename(batch[0])]
"""
CLAIM = """
import time
def on_broken_node():
    broken = os.environ["TALLY"] + "/broken"
    try:
        os.close(os.open(broken + ".claimed", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        with open(broken + ".new", "w") as file:
            file.write(str(os.getppid()))
        os.rename(broken + ".new", broken)
    except FileExistsError:
        pass
    while not os.path.exists(broken):
        time.sleep(0.001)
    return open(broken).read() == str(os.getppid())
"""
"""The node of the first processor that asks is the broken one; a node's processors share their parent."""
NODE = f"""{CLAIM}
def run(batch):
    if on_broken_node():
        raise OSError("no such device")
    return [os.path.basename(batch[0])]
"""
NODE_AT_INIT = f"""{CLAIM}
def init():
    if on_broken_node():
        with open(os.environ["TALLY"] + "/failed", "a") as file:
            file.write("1")
        raise OSError("no such device")
def run(batch):
    failed = os.environ["TALLY"] + "/failed"
    while not os.path.exists(failed) or os.path.getsize(failed) < 3:
        time.sleep(0.01)
    return [os.path.basename(batch[0])]
"""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def job(work):
    def run(script, *, files=40, bad=(), retries=2, display=False, **more):
        work.files(files)
        (work.folder / "tally").mkdir()
        step = work.parallel(
            HEAD + script,
            retry_settings={"max_retries": retries, "timeout": 30},
            environment_variables={
                "TALLY": str(work.folder / "tally"),
                "BAD": " ".join(f"{number:04}" for number in bad),
            },
            **more,
        )
        return work.run({"s": step}, display=display)

    run.tally = lambda name: lines(work.folder / "tally" / name)  # type: ignore[attr-defined]
    run.rows = lambda: [int(row[:4]) for row in work.rows()]  # type: ignore[attr-defined]
    run.logs = work.folder / "run/steps/s/logs"  # type: ignore[attr-defined]
    return run


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("processors", [1, 2])
@pytest.mark.parametrize("bad", [(0,), (7,), (3, 14, 15, 39)], ids=["the first", "one", "some"])
def test_a_bad_file_that_breaks_its_process_costs_itself_alone(job, bad, processors, retries):
    run = job(STATE, bad=bad, retries=retries, max_concurrency_per_instance=processors)
    assert job.rows() == [number for number in range(40) if number not in bad]
    assert run.counts["s"].failed == len(bad)


@pytest.mark.parametrize("processors", [1, 2])
def test_so_do_many_of_them(job, processors):
    bad = range(0, 40, 3)
    job(STATE, bad=bad, max_concurrency_per_instance=processors)
    assert job.rows() == [number for number in range(40) if number not in bad]


@pytest.mark.parametrize("processors", [1, 2])
@pytest.mark.parametrize("script", [HANDLES, SESSION], ids=["handles run out", "a session ends"])
def test_a_process_that_wears_out_costs_nothing(job, script, processors):
    run = job(script, files=100, max_concurrency_per_instance=processors)
    assert job.rows() == list(range(100))
    assert run.counts["s"].failed == 0


def test_what_a_failed_call_leaves_in_the_folder_ends_with_a_fresh_process(job):
    job(FOLDER, bad=(5,))
    assert job.rows() == [number for number in range(40) if number != 5]


@pytest.mark.parametrize("retries", [0, 2])
def test_a_script_that_always_fails_comes_to_its_end(job, retries):
    run = job(BAD_FILES, bad=range(40), retries=retries)
    assert run.counts["s"].failed == 40
    each = [job.tally("calls").count(f"{number:04}.txt") for number in range(40)]
    assert max(each) <= retries + 2, "one repeat that is not charged at most"
    assert len(job.tally("inits")) < 25


def test_bad_files_side_by_side_cost_few_processes(job):
    job(BAD_FILES, files=200, bad=range(50, 150))
    assert len(job.rows()) == 100
    assert len(job.tally("inits")) < 40


def test_single_bad_files_are_counted_as_ever(job):
    run = job(BAD_FILES, bad=(3, 10, 20), retries=0)
    assert len(job.tally("calls")) == 40
    assert len(job.tally("inits")) == 1
    counts = run.counts["s"]
    assert (counts.failed, counts.tries_failed, counts.retried) == (3, 3, 0)


def test_a_node_on_which_all_fails_is_left_out(job):
    run = job(NODE, files=60, resources={"instance_count": 2})
    assert job.rows() == list(range(60))
    assert run.counts["s"].failed == 0


def test_a_node_on_which_init_always_fails_is_left_out_while_another_one_works(job):
    run = job(NODE_AT_INIT, files=20, resources={"instance_count": 2})
    assert run.status == "completed"
    assert job.rows() == list(range(20))


def test_the_end_says_where_failures_gathered(job):
    job(NODE, files=200, resources={"instance_count": 2})
    result = (job.logs / "job_result.txt").read_text()
    master = (job.logs / "sys/master_role.txt").read_text()
    assert "failures gather on " in result or "succeed elsewhere; the node is left out" in master


@pytest.mark.parametrize("processors", [1, 2])
def test_a_processor_may_be_replaced_after_so_many_mini_batches(job, processors):
    job(
        BAD_FILES,
        arguments="--max_mini_batches_per_processor 7",
        max_concurrency_per_instance=processors,
    )
    assert job.rows() == list(range(40))
    inits = job.tally("inits")
    assert len(set(inits)) >= 6
    # One that is still in init() when all is done is ended there, and another processor has the rest.
    ended = job.tally("shutdowns")
    assert len(ended) == len(set(ended)) and set(ended) <= set(inits)
    assert len(inits) - len(ended) <= processors - 1
    assert sorted(job.tally("calls")) == [f"{number:04}.txt" for number in range(40)]
    assert "it has run 7 mini-batches" in (job.logs / "sys/node/0/_main.txt").read_text()


LEAK = """
held = []
def run(batch):
    note(batch)
    held.append(bytearray(os.urandom(1 << 20) * 30))
    return [os.path.basename(batch[0])]
"""


def test_a_processor_that_grows_too_much_is_replaced_at_no_charge(job):
    run = job(LEAK, files=20, arguments="--max-processor-growth 50mb")
    assert job.rows() == list(range(20))
    assert run.counts["s"].tries_failed == 0
    assert len(job.tally("calls")) == 20
    assert len(job.tally("inits")) > 1
    assert sorted(job.tally("shutdowns")) == sorted(job.tally("inits"))


def test_replacing_keeps_the_folder_of_a_processor_that_ended_in_order(job):
    job(
        """
def run(batch):
    open(os.path.basename(batch[0]), "w").close()
    return [len(os.listdir("."))]
""",
        files=10,
        arguments="--max_mini_batches_per_processor 3",
    )
    folder = job.logs.parent / "work/0/process000"
    assert len(os.listdir(folder)) == 10
