"""Which mini-batches `--mini-batches` and `--limit` mean."""

from __future__ import annotations

import numpy as np
import pytest

from daskpar.batches.selection import Selection, common, selection, size, spread
from daskpar.errors import UsageError


@pytest.mark.parametrize(
    ("asked", "limit", "expected"),
    [
        ("0-2", None, [(0, 3)]),
        ("5", None, [(5, 6)]),
        ("0,5,7-9", None, [(0, 1), (5, 6), (7, 10)]),
        (" 7 - 9 , 0 ", None, [(0, 1), (7, 10)]),
        ("3,1-2,2-5", None, [(1, 6)]),
        ("0-9", None, [(0, 10)]),
        (None, 3, [(0, 3)]),
        (None, 30, [(0, 10)]),
        ("4-5,8", 2, [(4, 6)]),
        ("4,8", 1, [(4, 5)]),
        (7, None, [(7, 8)]),
        ([2, 0, 1], None, [(0, 3)]),
        (range(0, 10, 4), 2, [(0, 1), (4, 5)]),
        (np.arange(2), None, [(0, 2)]),
    ],
)
def test_what_is_asked_for(asked, limit, expected):
    assert selection(asked, limit).of(10, "work") == expected


def test_nothing_asked_for_is_all():
    assert selection(None, None) is None


@pytest.mark.parametrize(
    ("asked", "limit", "message"),
    [
        ("", None, "indices and ranges"),
        ("a.txt", None, "'a.txt' is none"),
        ("1,", None, "indices and ranges"),
        ("-3", None, "'-3' is none"),
        ("9-7", None, "ends before it begins"),
        ("1-2-3", None, "'1-2-3' is none"),
        ("²", None, "is none"),
        ([], None, "names no mini-batch"),
        ([1.5], None, "1.5 is no index"),
        ([True], None, "True is no index"),
        (-1, None, "-1 is no index"),
        (None, 0, "at least 1"),
        (None, True, "at least 1"),
        (None, "3", "at least 1"),
    ],
)
def test_what_is_no_selection(asked, limit, message):
    with pytest.raises(UsageError, match=message):
        selection(asked, limit)


@pytest.mark.parametrize(("count", "has"), [(3, "3: 0 to 2"), (0, "none")])
def test_a_mini_batch_that_the_plan_does_not_have(count, has):
    with pytest.raises(UsageError, match=f"mini-batch 9 is asked for .*step work has {has}"):
        Selection(((1, 2), (8, 10))).of(count, "work")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([(0, 10)], [(2, 3), (5, 12)], [(2, 3), (5, 10)]),
        ([(0, 2), (4, 6)], [(1, 5)], [(1, 2), (4, 5)]),
        ([], [(0, 1)], []),
        ([(3, 4)], [(0, 3)], []),
    ],
)
def test_what_is_in_both(one, other, expected):
    assert common(one, other) == common(other, one) == expected


@pytest.mark.parametrize("number", [1, 2, 5, 10, 11])
@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_evenly_spread(count, number):
    found = spread(count, number)
    assert size(found) == min(count, number)
    assert Selection(limit=number, evenly=True).of(count, "work") == found


def test_each_is_the_middle_of_its_share():
    assert spread(100, 5) == [(10, 11), (30, 31), (50, 51), (70, 71), (90, 91)]
