"""When a node gives up starting processors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daskpar.processor import start_failures


@given(st.integers(1, 100))
def test_three_failures_of_each_processor_in_a_row_are_too_many(processors):
    assert not start_failures.too_many_init_failures(3 * processors - 1, processors)
    assert start_failures.too_many_init_failures(3 * processors, processors)
