"""Which processor goes when memory is short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daskpar.processor.memory_watchdog import memory_victim


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
