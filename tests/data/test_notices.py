"""What is told of values that land wrong in silence: one sentence for each cause, with its total and the way out."""

from __future__ import annotations

import pytest

from daskpar.data.notices import (
    CAUSES,
    CONVERT,
    ONE_COLUMN,
    RETURNED_BREAKS,
    RETURNED_COLUMNS,
    SHORT,
    LossCounter,
    LostValues,
    loss_message,
    shortened,
)


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_a_sentence_with_count_and_example(cause: str) -> None:
    message = loss_message("col", cause, LostValues(1200, "EXAMPLE"))
    assert "EXAMPLE" in message and "{" not in message.replace("${{", "").replace("[{columns", "")
    assert cause in (RETURNED_COLUMNS, ONE_COLUMN) or "1,200" in message


def test_what_processors_count_is_added_up_by_cause() -> None:
    total = LossCounter()
    for number in range(3):
        one = LossCounter()
        one.add("", SHORT, LostValues(2, "" if number == 0 else f"file {number}"))
        one.add("a", CONVERT, LostValues(number, "x") if number else None)
        total.add_notices(one.take_notices())
        assert one.found == {}
    assert total.found == {("", SHORT): LostValues(6, "file 1"), ("a", CONVERT): LostValues(3, "x")}


def test_a_cause_is_told_once_however_many_columns_it_has_touched() -> None:
    losses = LossCounter()
    for number in range(9):
        losses.add(f"c{number}", CONVERT, LostValues(number + 1, "x"))
    (text,) = losses.take_totals("MLTable")
    assert text.startswith("MLTable: 9 values of column 'c8' became null")
    assert text.endswith("; likewise 'c7' 8, 'c6' 7, 'c5' 6, 'c4' 5, 'c3' 4 and 3 more columns")
    assert losses.take_totals() == []


def test_lists_of_columns_are_told_only_where_there_are_several() -> None:
    losses = LossCounter()
    losses.add("a, b", RETURNED_COLUMNS, LostValues(5, ""))
    assert losses.take_totals("MLTable") == []
    losses.add("a, b", RETURNED_COLUMNS, LostValues(5, ""))
    losses.add("b, a", RETURNED_COLUMNS, LostValues(1, ""))
    (text,) = losses.take_totals("MLTable")
    assert text.startswith("run() returned DataFrames with different columns (5 of a, b; 1 of b, a)")


def test_what_run_returned_does_not_name_the_table() -> None:
    losses = LossCounter()
    losses.add("", RETURNED_BREAKS, LostValues(1, "'a'"))
    assert losses.take_totals("MLTable")[0].startswith("1 line break inside rows")


def test_long_texts_are_shortened() -> None:
    assert shortened("ab\n") == "'ab\\n'"
    assert len(shortened("x" * 1000)) == 83
