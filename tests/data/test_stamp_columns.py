"""Stamps in two arrays are the stamps that they were made of."""

from __future__ import annotations

import pytest

from daskpar.data.stamp_columns import StampColumns
from daskpar.data.stamps import Stamp

STAMPS = [Stamp(5, -7), Stamp(2**40, 2**62), Stamp(0, 3)]


def test_they_are_a_sequence_of_the_same_stamps() -> None:
    columns = StampColumns.of(STAMPS)
    assert StampColumns.of(columns) is columns
    assert (len(columns), list(columns), columns[1], columns[-1]) == (3, STAMPS, STAMPS[1], STAMPS[2])
    assert isinstance(columns[1], Stamp) and isinstance(columns[:2], StampColumns)
    assert [list(columns[at]) for at in (slice(1, 3), slice(5, 9), slice(None, None, 2))] == [
        STAMPS[1:],
        [],
        STAMPS[::2],
    ]


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        (StampColumns.of(list(STAMPS)), True),
        (STAMPS, True),
        (tuple(STAMPS), True),
        (StampColumns.of([*STAMPS[:2], Stamp(0, 4)]), False),  # another time alone
        (StampColumns.of([*STAMPS[:2], Stamp(1, 3)]), False),  # another size alone
        (STAMPS[:2], False),
        (STAMPS[::-1], False),
        (None, False),
        (3, False),
    ],
)
def test_they_equal_what_says_the_same(other: object, equal: bool) -> None:
    assert (StampColumns.of(STAMPS) == other) is equal
