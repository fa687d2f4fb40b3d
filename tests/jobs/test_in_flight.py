"""Many calls in flight: whatever one does costs its own mini-batch, rows are in order, exactly once, and limits hold."""

from __future__ import annotations

import json
import signal

import pytest

from daskpar.driver.debug import debug
from waiting import until

FAULTS = """
import asyncio, collections, os, pathlib, signal, time
seen = collections.Counter()
place = pathlib.Path(os.environ["PLACE"])
session = None

class Busy(Exception):
    retry_after = "0.05"

async def init():
    global session
    session = asyncio.get_running_loop()

async def run(mini_batch, mini_batch_context):
    assert session is asyncio.get_running_loop()
    (item,) = mini_batch_context.items
    assert item.index == 0 and item.path == mini_batch[0] and item.row is None
    number = int(os.path.basename(item.path)[:4])
    seen[number] += 1
    await asyncio.sleep(0.01)
    if number == 3: await asyncio.sleep(1000)
    if number == 6: raise ValueError("six")
    if number == 9 and seen[number] < 3: raise Busy
    if number == 12: raise SystemExit(3)
    if number == 14: asyncio.current_task().cancel()  # nothing is awaited any more
    if number == 15:
        asyncio.current_task().cancel()
        await asyncio.sleep(1)
    if number == 18: asyncio.get_running_loop().create_task(stray())
    if number == 21: await deadly(signal.SIGSEGV)
    if number == 24:
        while True:
            try: await asyncio.sleep(1000)
            except asyncio.CancelledError: pass
    if number == 27 and not (place / "blocked").exists():
        (place / "blocked").touch()
        time.sleep(1000)
    return (f"row {number}" for _ in mini_batch)

async def deadly(number):
    await asyncio.gather(asyncio.sleep(0.05), asyncio.sleep(0.01))
    os.kill(os.getpid(), number)

async def stray():
    raise SystemExit(5)

async def shutdown():
    assert session is asyncio.get_running_loop()
    print("shut down")
"""
CHARGED = {3: "TIMEOUT", 6: "EXCEPTION", 12: "EXCEPTION", 15: "EXCEPTION", 21: "DIED", 24: "TIMEOUT"}


def in_flight(work, script, calls, **more):
    arguments = f"--concurrent_mini_batches {calls} {more.pop('arguments', '')}"
    return work.parallel(script, arguments=arguments, **more)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_one_call_does_costs_its_own_mini_batch(work):
    work.files(36)
    step = in_flight(
        work,
        FAULTS,
        6,
        max_concurrency_per_instance=2,
        environment_variables={"PLACE": str(work.folder)},
        retry_settings={"max_retries": 0, "timeout": 1.5},
    )
    run = work.run({"s": step})
    (result,) = run.steps.values()
    text = (run.path / "steps/s/failed_items.jsonl").read_text()
    failed = [json.loads(line) for line in text.splitlines()]
    reasons = {line["mini_batch"]: line["reason"] for line in failed}
    # The one that keeps the loop from going on is known by the step that it was in.
    assert reasons == {**CHARGED, 27: "TIMEOUT"}
    words = {line["mini_batch"]: line["error"] for line in failed}
    assert "it was cancelled" in words[3] and "went on after it was cancelled" in words[24]
    assert "kept the event loop" in words[27]
    assert work.rows() == [f"row {n}" for n in range(36) if n not in reasons]
    assert result.counts.repeats > 0 and result.counts.failed == len(reasons)


SHORT = """
import asyncio, os
class State: live = top = 0
async def run(mini_batch, mini_batch_context):
    State.live += 1
    State.top = max(State.top, State.live)
    await mini_batch_context.rate_limit.acquire()
    await asyncio.sleep(0.03 - 0.001 * (mini_batch_context.minibatch_index % 30))
    State.live -= 1
    for path in mini_batch:
        yield f"{os.path.basename(path)} {os.getpid()}"
def shutdown():
    print("in flight", State.top)
"""


def test_a_part_is_run_and_resumed_with_a_limit_that_two_processors_share(work):
    import daskpar

    work.files(60)
    step = in_flight(
        work, SHORT, 8, max_concurrency_per_instance=2, arguments="--rate_limit 6000/min", mini_batch_size="2"
    )
    first = work.run({"s": step}, limit=11)
    assert first.status == "partial"
    again = daskpar.resume(first.path, dashboard=None, display=False)
    assert again.status == "completed"
    rows = [row.split() for row in work.rows()]
    assert [name for name, _ in rows] == [f"{n:04}.txt" for n in range(60)]
    tops = [path.read_text() for path in (first.path / "steps/s/logs/user/stdout").rglob("*.txt")]
    assert "in flight 8" in "".join(tops)
    tried = debug(first.path, 3)
    assert tried.succeeded and tried.appended.startswith(b"0006.txt")


AZURE = """
import asyncio, copy, os, threading
loop, begun, ended, returned = asyncio.new_event_loop(), set(), {}, []
def init():
    threading.Thread(target=loop.run_forever, daemon=True).start()
async def work(batch, context):
    await asyncio.sleep(0.02)
    index = context.minibatch_index
    error = ValueError("four") if index == 4 else None
    ended[index] = {"ret": [os.path.basename(p) for p in batch], "mini_batch_context": context, "exception": error}
def enqueue(input_data, mini_batch_context):
    if mini_batch_context.minibatch_index in begun:
        return  # as in public scripts: one that has ended is never given back again
    begun.add(mini_batch_context.minibatch_index)
    asyncio.run_coroutine_threadsafe(work(input_data, mini_batch_context), loop)
def check_all_tasks_processed():
    return len(begun) == len(returned)
def get_finished_batch_result():
    found = copy.deepcopy(ended)
    for index in found:
        del ended[index]
    returned.extend(found)
    return found
def get_processing_batch_number():
    return len(begun) - len(returned)
"""


def test_azures_contract(work):
    work.files(12)
    step = work.parallel(
        AZURE, arguments="--amlbi_async_mode true", retry_settings={"max_retries": 1, "timeout": 20}
    )
    run = work.run({"s": step})
    assert work.rows() == [f"{n:04}.txt" for n in range(12) if n != 4]
    counts = run.steps["s"].counts
    assert (counts.failed, counts.tries_failed) == (1, 2)


def test_azures_contract_is_stopped_and_resumed(work):
    """Mini-batches that the script has begun, and will not give back, are not waited for, and run again later."""
    work.files(24)
    waits = """
    (place / f"begun-{context.minibatch_index}").touch()
    while context.minibatch_index >= 6 and not (place / "go").exists():
        await asyncio.sleep(0.01)
    index = context.minibatch_index
"""
    script = AZURE.replace("    index = context.minibatch_index\n", waits.lstrip("\n"), 1).replace(
        "index == 4", "False"
    )
    script += f"import pathlib\nplace = pathlib.Path({str(work.folder)!r})\n"
    step = work.parallel(
        script, arguments="--amlbi_async_mode true", retry_settings={"max_retries": 1, "timeout": 50}
    )
    process = work.start(str(work.spec({"s": step})), "--run-dir", "run", "--dashboard", "none")
    until(lambda: len(list(work.folder.glob("begun-*"))) >= 12, "calls in flight", process=process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert len(list(work.folder.glob("begun-*"))) < 24
    (work.folder / "go").touch()
    resumed = work.cli("resume", "run", "--dashboard", "none")
    assert resumed.returncode == 0, resumed.stderr
    assert work.rows() == [f"{n:04}.txt" for n in range(24)]


@pytest.mark.parametrize(
    ("script", "arguments", "says"),
    [
        ("def run(b): return b", "--concurrent_mini_batches 5", "needs async def run(mini_batch)"),
        ("async def run(b): return b", "--concurrent_mini_batches 0", "has to be 1 or more"),
        ("async def run(b): return b", "--concurrent_mini_batches 20000", "has to be at most 10,000"),
        ("async def run(b): return b", "--rate_limit none", "is no rate of calls"),
        ("async def run(b): return b", "--rate_limit 300", "300 of what?"),
        ("async def run(b): return b", "--rate_limit_patience soon", "has to be seconds"),
        ("async def run(b): return b", "--profiling_module cProfile", "measures ordinary functions"),
        ("def enqueue(b, c): pass", "--amlbi_async_mode true", "lacks check_all_tasks_processed"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(work, script, arguments, says):
    import daskpar

    work.files(1)
    with pytest.raises(daskpar.errors.SpecError) as refused:
        daskpar.validate(work.spec({"s": work.parallel(script, arguments=arguments)}))
    assert says in str(refused.value)
