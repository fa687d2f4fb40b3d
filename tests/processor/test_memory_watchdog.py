"""Which processor goes when memory is short."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.processor import memory_watchdog
from daskpar.processor.exit_reasons import KillReason
from daskpar.processor.memory_watchdog import MemoryWatchdog, memory_victim
from daskpar.processor.resource_usage import proportional_bytes, resident_bytes


@given(
    st.dictionaries(st.integers(0, 50), st.integers(0, 10**12)),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
)
def test_the_largest_goes_when_memory_is_short_and_nobody_otherwise(sizes, available, total):
    victim = memory_victim(available, total, sizes)
    if not sizes or total == 0 or available >= 0.05 * total:
        assert victim is None
    else:
        assert sizes[victim] == max(sizes.values())


@pytest.mark.parametrize(
    ("limit", "resident", "proportional", "killed"),
    [
        (None, {1: 900, 2: 900}, {1: 900, 2: 900}, []),
        (1000, {1: 400, 2: 500}, {1: 400, 2: 500}, []),
        (1000, {1: 400, 2: 600}, {1: 400, 2: 600}, [2]),
        (1000, {1: 600, 2: 600}, {1: 450, 2: 450}, []),
    ],
    ids=["no limit", "below it", "above it", "above it only with shared pages counted twice"],
)
def test_the_memory_limit_of_a_worker_is_that_of_its_node(monkeypatch, limit, resident, proportional, killed):
    monkeypatch.setattr(memory_watchdog, "free_memory", lambda: (10**12, 10**12))
    monkeypatch.setattr(memory_watchdog, "resident_bytes", resident.__getitem__)
    monkeypatch.setattr(memory_watchdog, "proportional_bytes", proportional.__getitem__)
    ended: list[int] = []
    linux = SimpleNamespace(kill_tree=ended.append, descendants_of=lambda pid: [])
    monkeypatch.setattr(memory_watchdog, "linux", linux)
    processors = [SimpleNamespace(number=n, pid=n, killed_for=KillReason.NOT_KILLED) for n in resident]
    MemoryWatchdog(limit).check(processors, 1.0)
    assert ended == killed
    assert [p.number for p in processors if p.killed_for == KillReason.MEMORY] == killed


def test_shared_pages_are_counted_once():
    assert 0 < proportional_bytes(os.getpid()) <= resident_bytes(os.getpid()) * 1.5
    assert proportional_bytes(2**30) == 0
