"""The node's decisions, fed with plain values."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.processor import policies
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Phase
from daskpar.results import Reason

SETTINGS = ProcessorSettings(
    run_id="r", step="s", node=0, python="", processors=1, entry_script="", code=None, plan="", parts="", logs="", work="",
    working_dir="", output_dir="", run_timeout=10.0, overhead_timeout=20.0, init_timeout=30.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "limit"),
    [
        (Phase.INIT, 30),
        (Phase.LOAD, 20),
        (Phase.RUN, 10),
        (Phase.SHUTDOWN, 10),
        (Phase.IDLE, None),
        (Phase.FLUSH, None),
    ],
)
def test_each_phase_has_its_limit_and_reaching_it_is_not_passing_it(phase, limit):
    assert policies.limit_of(phase, SETTINGS) == limit
    if limit is None:
        assert not policies.overdue(phase, 0, 1e9, SETTINGS)
    else:
        assert not policies.overdue(phase, 5, 5 + limit, SETTINGS)
        assert policies.overdue(phase, 5, 5 + limit + 0.001, SETTINGS)


@pytest.mark.parametrize(
    ("phase", "seconds", "expected", "slow"),
    [
        (Phase.RUN, 0.3, 0, True),
        (Phase.RUN, 0.1, 0, False),
        (Phase.RUN, 15, 10, False),
        (Phase.LOAD, 25, 10, True),
        (Phase.INIT, 99, 0, False),
    ],
)
def test_slow_is_what_takes_longer_than_others_do(phase, seconds, expected, slow):
    assert policies.is_slow(phase, 0.0, seconds, expected) is slow


@given(st.integers(1, 100))
def test_three_failures_of_each_processor_in_a_row_are_too_many(processors):
    assert not policies.too_many_init_failures(3 * processors - 1, processors)
    assert policies.too_many_init_failures(3 * processors, processors)


@given(
    st.dictionaries(st.integers(0, 50), st.integers(0, 10**12)),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
)
def test_the_largest_goes_when_memory_is_short_and_nobody_otherwise(sizes, available, total):
    victim = policies.memory_victim(available, total, sizes)
    if not sizes or total == 0 or available >= 0.05 * total:
        assert victim is None
    else:
        assert sizes[victim] == max(sizes.values())


@pytest.mark.parametrize(
    ("status", "killed_for", "phase", "kernel", "reason", "words"),
    [
        (signal.SIGKILL, "timeout", Phase.RUN, False, Reason.TIMEOUT, "10 s (retry_settings.timeout)"),
        (signal.SIGKILL, "timeout", Phase.LOAD, False, Reason.LOAD_TIMEOUT, "20 s (task_overhead_timeout)"),
        (signal.SIGUSR2, "timeout", Phase.RUN, False, Reason.TIMEOUT, "retry_settings.timeout"),
        (signal.SIGKILL, "memory", Phase.RUN, False, Reason.MEMORY, "largest"),
        (signal.SIGKILL, "", Phase.RUN, True, Reason.MEMORY, "by the kernel"),
        (signal.SIGKILL, "", Phase.RUN, False, Reason.DIED, "killed from outside"),
        (signal.SIGSEGV, "", Phase.RUN, True, Reason.DIED, "SIGSEGV"),
        (signal.SIGSEGV | 0x80, "", Phase.RUN, False, Reason.DIED, "SIGSEGV"),
        (7 << 8, "", Phase.RUN, False, Reason.DIED, "exit code 7 in the middle of run()"),
        (0, "", Phase.LOAD, False, Reason.DIED, "exit code 0 in the middle of loading"),
        (120, "", Phase.RUN, False, Reason.DIED, "signal 120"),
    ],
)
def test_an_end_is_told_by_its_status_and_by_who_wanted_it(status, killed_for, phase, kernel, reason, words):
    end = policies.ending(
        int(status),
        killed_for=killed_for,
        run_timeout=10,
        overhead_timeout=20,
        phase=phase,
        out_of_memory=kernel,
    )
    assert end.reason == reason
    assert words in end.text
