"""Lost values: counted by column and cause, and reported without a flood."""

from __future__ import annotations

import pytest

from daskpar.data.columns.text_values import LostValues
from daskpar.data.notices import LossCounter, loss_message
from daskpar.data.tables.lost_values import LossReporter


@pytest.mark.parametrize(
    ("cause", "count", "message"),
    [
        (
            "convert",
            1,
            "1 value of column 'a' became null because they are no values of its kind, e.g. 'x': mend them, or give "
            "it another kind (`column_type_overrides`, `convert_column_types`)",
        ),
        (
            "late",
            1200,
            "1,200 values of 'a', a column that the inference sample did not have, are left out, e.g. 'x': "
            "declare it in `columns:`",
        ),
        ("invalid", 2, "2 invalid lines are left out, e.g. 'x'"),
    ],
)
def test_a_message_says_what_was_lost(cause: str, count: int, message: str) -> None:
    assert loss_message("a", cause, LostValues(count, "x")) == message


def test_messages_are_taken_once_and_the_largest_count_comes_first() -> None:
    losses, others = LossCounter(), LossCounter()
    losses.add("a", "convert", LostValues(2, "first"))
    losses.add("b", "convert", None)
    others.add("a", "convert", LostValues(1, "second"))
    others.add("c", "convert", LostValues(9, "z"))
    losses.merge(others)
    assert losses.found == {("a", "convert"): LostValues(3, "first"), ("c", "convert"): LostValues(9, "z")}
    assert [text.partition(" became")[0] for text in losses.take_messages()] == [
        "9 values of column 'c'",
        "3 values of column 'a'",
    ]
    assert losses.take_messages() == []


def test_counts_are_reported_when_new_when_ten_times_as_large_and_at_the_end() -> None:
    reporter = LossReporter(20)
    one = LossCounter()
    one.add("a", "convert", LostValues(1, "x"))
    reported = [number for number in range(20) if reporter.add(number, one)]
    assert reported == [0, 9, 19]
    assert reporter.complete
    assert reporter.add(3, one) == []  # read again: it counts once
