"""Block sizes follow measured run times, shrink towards the end and respect units that are dear to read twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.engine.rules.block_size import FIRST_SIZE, MAX_GROWTH, BlockSizer


def sizer(each: float | None = None, measured: int = 1000, **kwargs) -> BlockSizer:
    made = BlockSizer(**kwargs)
    if each is not None:
        made.measure(measured, each * measured)
    return made


def test_first_blocks_are_small_because_nothing_is_known():
    assert sizer().size(remaining=10_000, processors=2) == FIRST_SIZE


@pytest.mark.parametrize(
    ("each", "size"),
    [(0.01, 100), (0.1, 10), (1.0, 1), (30.0, 1), (0.0001, 10_000)],
)
def test_a_block_holds_about_a_second_of_work(each, size):
    assert sizer(each).size(remaining=10**7, processors=2) == size


def test_growth_is_bounded_by_what_was_measured():
    made = sizer(1e-6, measured=2)
    assert made.size(remaining=10**7, processors=2) == 2 * MAX_GROWTH


def test_towards_the_end_blocks_shrink_so_that_all_processors_end_together():
    made = sizer(0.01)
    assert [made.size(remaining=r, processors=4) for r in (1000, 100, 16, 8, 1)] == [100, 13, 2, 1, 1]


def test_one_slow_mini_batch_among_thousands_hardly_changes_the_size():
    made = sizer(0.001, measured=5000)
    made.measure(1, 5.0)
    assert made.size(remaining=10**7, processors=2) > 200


def test_blocks_end_at_row_groups_where_that_is_near():
    made = sizer(0.2, breaks=range(0, 501, 25))
    assert made.stop(0, 500, remaining=500, processors=2) == 25
    assert made.stop(30, 500, remaining=470, processors=2) == 50
    # A unit is only cut when little is left for the others.
    assert made.stop(475, 500, remaining=25, processors=2) < 500


@given(
    start=st.integers(0, 1000),
    length=st.integers(1, 1000),
    each=st.floats(0, 100),
    processors=st.integers(1, 64),
    breaks=st.lists(st.integers(0, 2000), max_size=20).map(sorted),
)
def test_a_block_is_never_empty_and_never_beyond_its_range(start, length, each, processors, breaks):
    made = sizer(each, breaks=breaks)
    stop = made.stop(start, start + length, remaining=length, processors=processors)
    assert start < stop <= start + length
