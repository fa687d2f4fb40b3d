"""The pool with real processors: what a script does costs its own mini-batch, all is accounted for, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

from daskpar.processor import memory_watchdog, prestart, timeout_watchdog, timeouts
from daskpar.processor.protocol import BlockEnded, Flushed, LogMessage, NodeFailed, ProcessorChanged
from daskpar.processor.shared_page import Phase
from daskpar.results import InitFailed, Reason, TryStatus
from waiting import until

LONG = 60.0

FAULTS = {
    "raise": (Reason.EXCEPTION, "says no"),
    "unspeakable": (Reason.EXCEPTION, "Unspeakable"),
    "short": (Reason.SHORT, "0 elements for 1"),
    "none": (Reason.BAD_RETURN, "None"),
    "text": (Reason.BAD_RETURN, "str"),
    "mapping": (Reason.BAD_RETURN, "dict"),
    "unlengthy": (Reason.BAD_RETURN, "no length"),
    "memory error": (Reason.MEMORY, "MemoryError"),
    "exit": (Reason.DIED, "exit code 7"),
    "segfault": (Reason.DIED, "SIGSEGV"),
    "kill": (Reason.DIED, "SIGKILL"),
    "hang": (Reason.TIMEOUT, "timeout"),
    "hang in C": (Reason.TIMEOUT, "timeout"),
    "endless": (Reason.TIMEOUT, "timeout"),
}
SHORT = 1.0
"""Timeout of what hangs; anything else gets the long one, since a busy machine may stop it for a while."""
FINE = (
    "ok", "generator", "fork + exit", "fork + return", "fork + exception", "thread", "stdin", "close streams", "close descriptors",
    "move",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_its_mini_batch_and_no_neighbour(zoo, fault):
    at = zoo({2: fault}, count=5, run_timeout=SHORT if FAULTS[fault][0] == Reason.TIMEOUT else LONG)
    at.submit(0, 5)
    at.wait_ended()
    assert at.accounted(0, 5)
    again = [(low, high) for low, high, _ in at.released]
    for block, (low, high) in enumerate(again, 2):
        at.submit(low, high, block=block)
        at.wait_ended(block)
    reason, words = FAULTS[fault]
    assert {index: failure.reason for index, failure in at.failures.items()} == {2: reason}
    assert words in at.failures[2].message
    assert at.failures[2].final
    assert at.rows == {index: f"row {index}\n" for index in (0, 1, 3, 4)}
    assert at.calls.count(2) == 1


@pytest.mark.parametrize("habit", FINE)
def test_a_harmless_habit_costs_nothing(zoo, habit):
    at = zoo({1: habit}, count=4)
    at.submit(0, 4)
    at.wait_ended()
    assert at.rows == {index: f"row {index}\n" for index in range(4)}
    assert at.calls == [0, 1, 2, 3]
    at.pool.finish()
    assert not at.of(InitFailed)


def test_who_watches_sees_what_a_processor_does(zoo):
    at = zoo({3: "hang"}, count=5, run_timeout=LONG)
    at.submit(3, 4)
    until(lambda: [row[4:6] for row in at.pool.look()] == [(Phase.RUN, 3)], "the call that hangs")
    ((_, node, number, pid, _, _, age, memory, used),) = at.pool.look()
    assert (node, number) == (0, 0) and pid > 0
    assert 0 <= age < LONG and memory > 1 << 20 and used >= 0
    at.pool.close()
    assert at.pool.look() == []


def test_prints_without_end_go_to_the_log_file(zoo):
    at = zoo({0: "print much"}, count=1)
    at.submit(0, 1)
    at.wait_ended()
    assert at.rows == {0: "row 0\n"}
    assert (at.folder / "logs/user/stdout/0/process000.stdout.txt").stat().st_size > 100 << 20


@pytest.mark.parametrize("fault", ["hang", "hang in C", "segfault"])
def test_the_stacks_of_what_was_killed_or_crashed_show_the_users_line(zoo, fault):
    at = zoo({0: fault}, count=1, run_timeout=LONG if fault == "segfault" else SHORT)
    at.submit(0, 1)
    at.wait_ended()
    trace = at.failures[0].trace
    assert f"in {fault.replace(' ', '_').lower()}" in trace
    assert "fault_table.py" in trace
    assert "block_runner.py" not in trace and "host.py" not in trace


def test_a_processor_that_the_machine_keeps_waiting_still_writes_its_stacks(zoo, monkeypatch):
    monkeypatch.setattr(timeout_watchdog, "STACK_PATIENCE", LONG)
    at = zoo({0: "hang"}, count=1, run_timeout=SHORT)
    at.submit(0, 1)
    until(lambda: at.calls == [0], "the call")
    processor = at.pool.processors.find(1)
    os.kill(processor.pid, signal.SIGSTOP)
    until(lambda: processor.killed_for, "the end of its time")
    time.sleep(5 * timeout_watchdog.STACK_SECONDS)
    os.kill(processor.pid, signal.SIGCONT)
    at.wait_ended()
    assert "faulty_script.py" in at.failures[0].trace


def test_what_a_killed_script_has_started_ends_with_it_whatever_session_it_is_in(zoo):
    at = zoo({0: "family"}, count=1, run_timeout=SHORT)
    at.submit(0, 1)
    at.wait_ended()
    zoo.wait_gone(*map(int, (at.folder / "code/pids").read_text().split()))


def test_a_daemon_ends_with_its_step(zoo):
    at = zoo({0: "daemon"}, count=1)
    at.submit(0, 1)
    at.wait_ended()
    zoo.wait_for((at.folder / "code/pids").exists)
    pid = int((at.folder / "code/pids").read_text())
    assert not zoo.gone(pid)
    at.pool.finish()
    assert zoo.gone(pid)


@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_a_try_that_is_not_the_last_is_not_final(zoo, fault):
    at = zoo({0: fault}, count=1, max_retries=1)
    at.submit(0, 1)
    at.wait_ended()
    at.submit(0, 1, block=2, tries=1)
    at.wait_ended(2)
    assert [(int(r["tries"]), int(r["final"])) for r in at.records] == [(0, 0), (1, 1)]


@pytest.mark.parametrize("what", ["raise", "exit", "hang"])
def test_a_failing_init_charges_nothing_and_ends_after_three_times(zoo, what):
    at = zoo({"init": what}, count=3, init_timeout=1.0 if what == "hang" else LONG)
    at.submit(0, 3)
    at.wait_ended()
    failures = at.of(InitFailed)
    assert [failure.fatal for failure in failures] == [False, False, True]
    assert at.released == [(0, 3, "stopped")]
    assert not at.of(Flushed)
    words = {"raise": "the script says no", "exit": "exit code 7", "hang": "init_timeout"}[what]
    assert all(words in failure.message for failure in failures)
    if what == "hang":
        assert "in init" in failures[-1].trace


@pytest.mark.parametrize("what", ["raise", "hang"])
def test_a_failing_shutdown_is_a_warning(zoo, what):
    at = zoo({"shutdown": what}, count=2, run_timeout=SHORT if what == "hang" else LONG)
    at.submit(0, 2)
    at.wait_ended()
    at.pool.finish()
    assert [m.level for m in at.of(LogMessage)] == ["warning"]
    assert "shutdown()" in at.of(LogMessage)[0].text
    assert not at.failures


def test_finish_shuts_down_each_processor_once(zoo):
    at = zoo({}, count=4, processors=2)
    at.submit(0, 4)
    at.wait(lambda said: sum(isinstance(m, ProcessorChanged) and m.state == "ready" for m in said) == 2)
    at.pool.finish()
    assert at.accounted(0, 4)
    processors = (at.folder / "code/shutdowns").read_text().split()
    assert len(processors) == len(set(processors)) == 2


def test_finish_runs_what_is_queued_and_does_not_wait_for_an_init_that_nobody_needs(zoo):
    at = zoo({"init": "hang"}, count=1)
    zoo.wait_for((at.folder / "code/inits").exists)
    at.pool.finish()
    assert not at.of(InitFailed)


def test_blocks_that_wait_when_finish_is_called_are_run(zoo):
    at = zoo({}, count=6)
    for block in range(3):
        at.submit(2 * block, 2 * block + 2, block=block)
    at.pool.finish()
    assert sorted(at.rows) == list(range(6))


def test_stop_in_init_gives_everything_back(zoo):
    at = zoo({"init": "hang"}, count=4)
    at.submit(0, 4)
    zoo.wait_for((at.folder / "code/inits").exists)
    at.pool.stop()
    at.wait_ended()
    assert at.released == [(0, 4, "stopped")]
    at.wait(lambda said: any(isinstance(m, ProcessorChanged) and m.state == "ended" for m in said))
    assert not at.of(InitFailed)


def test_stop_in_run_kills_after_a_while_and_charges_nobody(zoo):
    at = zoo({2: "hang"}, count=6)
    at.submit(0, 6)
    zoo.wait_for(lambda: at.calls == [0, 1, 2])
    at.pool.stop()
    at.wait_ended()
    assert at.accounted(0, 6)
    assert not at.failures
    at.submit(0, 6, block=2)
    at.wait_ended(2)
    assert at.released[-1] == (0, 6, "stopped")


def test_blocks_submitted_when_all_is_over_are_given_back(zoo):
    at = zoo({}, count=2)
    at.pool.close()
    at.submit(0, 2)
    at.wait_ended()
    assert at.released == [(0, 2, "stopped")]
    at.pool.stop()
    at.pool.finish()
    at.pool.close()


def test_close_ends_everything_at_once(zoo):
    at = zoo({0: "hang", 1: "hang"}, count=8, processors=2)
    at.submit(0, 1, block=1)
    at.submit(1, 4, block=2)
    at.submit(4, 8, block=3)
    zoo.wait_for(lambda: len(at.calls) == 2)
    pids = [m.pid for m in at.of(ProcessorChanged) if m.state == "started"]
    at.pool.close()
    assert all(zoo.gone(pid) for pid in pids)
    assert {m.block for m in at.of(BlockEnded)} == {1, 2, 3}
    assert at.accounted(0, 8)


def test_a_block_whose_mini_batch_is_slow_gives_the_rest_back(zoo):
    at = zoo({0: "hang"}, count=5, run_timeout=1.5, slow_seconds=timeouts.SLOW_SECONDS)
    at.submit(0, 5)
    at.wait_ended()
    assert at.released == [(1, 5, "slow")]
    assert at.failures[0].reason == Reason.TIMEOUT


def test_a_fork_server_that_is_killed_is_started_again(zoo):
    at = zoo({}, count=3)
    at.submit(0, 1)
    at.wait_ended()
    os.kill(at.pool.processors.server.process.pid, signal.SIGKILL)
    at.wait(lambda said: sum(isinstance(m, ProcessorChanged) and m.state == "ready" for m in said) == 2)
    at.submit(1, 3, block=2)
    at.wait_ended(2)
    assert sorted(at.rows) == [0, 1, 2]


def test_an_interpreter_that_is_none_is_said_and_nothing_hangs(zoo):
    at = zoo({}, count=2, python="/nowhere/python")
    at.submit(0, 2)
    at.wait_ended()
    at.wait(lambda said: any(isinstance(m, NodeFailed) for m in said))
    assert "/nowhere/python" in at.of(NodeFailed)[0].message
    at.pool.finish()


def test_loading_that_fails_touches_no_neighbour(zoo):
    """The plan ends early: what lies behind can't be loaded."""
    at = zoo({}, count=2)
    at.submit(0, 3)
    at.wait_ended()
    assert {index: failure.reason for index, failure in at.failures.items()} == {2: Reason.LOAD_ERROR}
    assert sorted(at.rows) == [0, 1]


def test_rows_that_cannot_be_written_end_the_node_and_charge_nobody(zoo):
    at = zoo({}, count=3)
    at.wait(lambda said: any(isinstance(m, ProcessorChanged) and m.state == "ready" for m in said))
    (at.folder / "parts").rmdir()
    at.submit(0, 3)
    at.wait_ended()
    at.wait(lambda said: any(isinstance(m, NodeFailed) for m in said))
    assert at.of(NodeFailed)[0].disk
    assert at.accounted(0, 3)
    assert all(record["status"] != TryStatus.FAILED for record in at.records)


def test_returns_that_nobody_asks_for_are_not_measured_but_generators_run(zoo):
    at = zoo(
        {0: "none", 1: "short", 2: "generator", 3: "raise"}, count=4, append_row=False, returns_measured=False
    )
    at.submit(0, 4)
    at.wait_ended()
    assert [int(r["status"]) for r in at.records] == [TryStatus.SUCCEEDED] * 3 + [TryStatus.FAILED]
    assert at.calls == [0, 1, 2, 3]


def test_where_memory_runs_out_the_largest_goes_with_all_that_it_started_and_others_go_on(
    zoo, monkeypatch, tmp_path
):
    code = tmp_path / "code"

    def short() -> bool:
        return (code / "swollen").exists() and (code / "heavy").exists() and not (code / "ended").exists()

    monkeypatch.setattr(memory_watchdog, "free_memory", lambda: (1 if short() else 50, 100))
    at = zoo({0: "swell", 1: "heavy"}, count=2, processors=2)
    at.submit(0, 1, block=1)
    at.submit(1, 2, block=2)
    at.wait_ended(1)
    (code / "ended").touch()
    at.wait_ended(2)
    assert {index: failure.reason for index, failure in at.failures.items()} == {0: Reason.MEMORY}
    assert "running out of memory" in at.failures[0].message
    assert at.rows == {1: "row 1\n"}


def test_a_fork_server_that_only_ran_our_own_code_is_left_to_the_next_step(zoo):
    first = zoo({}, count=1, spare_server=True)
    first.submit(0, 1)
    first.wait_ended()
    first.pool.finish()
    server = prestart.take_server(first.settings)
    assert server is not None and server.process.poll() is None
    prestart.keep_server(first.settings, server)
    again = zoo({}, count=1, server=prestart.take_server(first.settings))
    again.submit(0, 1)
    again.wait_ended()
    assert again.pool.processors.server is server
    again.pool.finish()
    assert again.rows == {0: "row 0\n"}
    assert server.process.poll() is not None


@pytest.mark.parametrize("settings", [{}, {"spare_server": True}])
def test_a_step_that_is_closed_leaves_no_fork_server(zoo, settings):
    at = zoo({}, count=1, **settings)
    at.submit(0, 1)
    at.wait_ended()
    server = at.pool.processors.server
    at.pool.close()
    assert prestart.take_server(at.settings) is None
    assert server.process.poll() is not None
