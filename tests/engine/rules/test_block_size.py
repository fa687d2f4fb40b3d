"""Block sizes follow measured run times, shrink towards the end and respect units that are dear to read twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.engine.rules.block_size import (
    FIRST_SIZE,
    MANY,
    MAX_GROWTH,
    MOST_UNITS,
    BlockSizer,
    block_seconds,
)


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
    made = sizer(0.02)
    assert [made.size(remaining=r, processors=4) for r in (1000, 100, 16, 8, 1)] == [50, 13, 2, 1, 1]


@pytest.mark.parametrize(
    ("each", "sizes"),
    [
        (0.02, [25, 5, 2, 1]),
        (0.01, [25, 5, 2, 2]),
        (0.002, [25, 10, 8, 4]),
        (0.0001, [100, 20, 8, 4]),  # all that is left
    ],
)
def test_the_last_blocks_are_of_a_fiftieth_of_a_second(each, sizes):
    assert [sizer(each).size(remaining=r, processors=2) for r in (100, 20, 8, 4)] == sizes
    few = [sizer(each, measured=MANY - 1).size(remaining=r, processors=2) for r in (100, 20, 8, 4)]
    assert few == [25, 5, 2, 1], "of a job with few mini-batches they are as small as can be"


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


@pytest.mark.parametrize(
    ("processors", "seconds"),
    [(1, 1.0), (100, 1.0), (101, 1.01), (500, 5.0), (1000, 10.0), (5000, 10.0)],
)
def test_a_larger_cluster_has_longer_blocks(processors, seconds):
    assert block_seconds(processors) == seconds


@pytest.mark.parametrize(
    ("first", "second", "mean"),
    [
        ((8, 8.0), (8, 16.0), 1.3),  # as many as an eighth of those before, or more: three tenths of the new
        ((8, 8.0), (1, 2.0), 1.3),
        ((16, 16.0), (1, 2.0), 1.15),  # half as many as an eighth: half of that weight
        ((80, 80.0), (1, 2.0), 1.03),
        ((1, 1.0), (100, 0.0), 0.7),
        ((4, 4.0), (0, 50.0), 1.0),  # nothing was measured
        ((4, 4.0), (-1, 50.0), 1.0),
        ((4, -4.0), (0, 0.0), 0.0),  # a clock that went back
        ((0, 5.0), (2, 4.0), 2.0),
    ],
)
def test_a_new_measurement_moves_the_mean_by_its_weight(first, second, mean):
    made = BlockSizer()
    made.measure(*first)
    made.measure(*second)
    assert made.seconds_per_mini_batch == pytest.approx(mean)


def test_growth_follows_all_that_was_measured():
    made = sizer(1e-6, measured=1)
    assert made.size(remaining=10**7, processors=2) == MAX_GROWTH
    made.measure(1, 1e-6)
    assert made.size(remaining=10**7, processors=2) == 2 * MAX_GROWTH


def test_work_of_no_time_makes_large_blocks_and_no_error():
    made = sizer(0.0, measured=10**7)
    assert made.size(remaining=10**9, processors=1) == 10**7


@pytest.mark.parametrize(("remaining", "size"), [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_a_block_is_at_most_half_of_what_is_a_processors_fair_share(remaining, size):
    assert sizer(0.1).size(remaining=remaining, processors=2) == size


@pytest.mark.parametrize(
    ("breaks", "stop"),
    [
        ([], 5),
        ([5], 5),  # it ends just there
        ([7], 7),  # later, but within the fair share of 10
        ([10], 10),
        ([11], 5),  # more than that, and no earlier one
        ([3, 11], 3),
        ([0, 11], 5),  # not at its own start: it would be empty
        ([0, 3], 3),
        ([3, 5, 7], 5),
    ],
)
def test_a_block_of_five_ends_at_a_break_that_is_near(breaks, stop):
    """20 are left for two processors."""
    assert sizer(0.1, breaks=breaks).stop(0, 100, remaining=20, processors=2) == stop


def test_a_fair_share_is_rounded_up():
    """7 for two processors: four are the share of one."""
    assert [sizer(0.5, breaks=[at]).stop(0, 100, remaining=7, processors=2) for at in (4, 5)] == [4, 2]


def test_a_break_beyond_the_range_is_none():
    made = sizer(0.1, breaks=[9])
    assert made.stop(0, 8, remaining=20, processors=2) == 5
    assert made.stop(0, 9, remaining=20, processors=2) == 9
    assert made.stop(0, 5, remaining=20, processors=2) == 5


@pytest.mark.parametrize(
    ("start", "stop", "units"),
    [
        (0, 5, (0,)),
        (3, 25, (0, 10, 20)),
        (10, 20, (10,)),
        (25, 1000, (20, 30)),
    ],
)
def test_the_units_of_a_block_begin_with_that_of_its_start(start, stop, units):
    assert sizer(breaks=[0, 10, 20, 30]).units(start, stop) == units


def test_units_that_are_many_or_begin_later_are_none():
    assert sizer(breaks=range(1000)).units(0, 1000) is None
    assert sizer(breaks=[5]).units(0, 10) is None


@pytest.mark.parametrize(
    ("load", "each", "stop"),
    [
        (0.0, 0.1, 5),  # what is left of the unit, in a quarter for each of two processors' two blocks
        (0.5, 0.1, 5),
        (1.25, 0.1, 12),  # no part takes less time than to read the unit again
        (9.0, 0.1, 20),
    ],
)
def test_a_unit_is_cut_only_where_its_parts_are_worth_another_reading(load, each, stop):
    made = sizer(each, measured=1000, breaks=[0, 20], target=0.2)
    made.measure_units(1000, each * 1000, load)
    assert made.stop(0, 40, remaining=20, processors=2) == stop


def test_a_unit_is_not_cut_into_crumbs_while_nothing_is_measured():
    assert sizer(breaks=[0, 20]).stop(0, 40, remaining=20, processors=2) == 5


def test_one_processor_alone_gets_half_of_what_is_left():
    assert sizer(0.01).size(remaining=10, processors=1) == 5
    assert sizer(0.2, breaks=[0, 100]).stop(0, 100, remaining=100, processors=1) == 100
    assert sizer(0.2, breaks=[0, 60]).stop(10, 60, remaining=20, processors=1) == 35


def test_so_many_units_are_named_and_no_more():
    made = sizer(breaks=range(0, 1000, 10))
    assert made.units(0, 10 * MOST_UNITS) == tuple(range(0, 10 * MOST_UNITS, 10))
    assert made.units(0, 10 * MOST_UNITS + 1) is None


def test_a_unit_is_as_costly_as_before_while_no_other_one_is_begun():
    """Reports of mini-batches that found theirs read already say nothing of it."""
    made = sizer(0.1, measured=1000, breaks=[0, 20, 40], target=0.2)
    made.measure_units(1, 0.1, 1.25, first=0)
    for index in range(1, 20):
        made.measure_units(1, 0.1, 0.0, first=index)
    assert made.stop(20, 60, remaining=20, processors=2) == 32
    for index in (20, 40) * 20:
        made.measure_units(1, 0.1, 0.0, first=index)
    assert made.stop(20, 60, remaining=20, processors=2) == 25
