"""The first line of a file against the columns that the table gives it."""

from __future__ import annotations

import pytest

from daskpar.data.formats.headers import count_letter_cases, doubt_of_header
from daskpar.data.notices import (
    EXCEL,
    HEADER_ROW,
    LETTER_CASE,
    OTHER_HEADER,
    OTHER_ORDER,
    RETURNS,
    LostValues,
)

KNOWN = ("id", "price", "name")


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        (("id", "price", "name"), ""),
        (("ID", " Price ", "name"), ""),
        (("id", "price"), ""),  # its records are short, and counted as such
        (("id", "price", "name", "more"), ""),  # its last field is counted as a late column
        (("price", "id", "name"), OTHER_ORDER),
        (("price", "ID"), OTHER_ORDER),
        (("id", "cost", "name"), OTHER_HEADER),
        (("5", "9.5", "x"), OTHER_HEADER),
        (("name",), OTHER_HEADER),
        (("sep=,",), EXCEL),
        (("sep=", ""), EXCEL),
        (("SEP=;",), EXCEL),
        (("separator", "price", "name"), OTHER_HEADER),
        (("id", "price\r5", "6"), RETURNS),
        (("id", "price", "name\r"), ""),
    ],
)
def test_a_line_that_is_taken_for_the_header(names: tuple[str, ...], doubt: str) -> None:
    assert doubt_of_header(names, KNOWN, is_header=True, others_have_one=True, delimiter=",") == doubt


@pytest.mark.parametrize(
    ("names", "others_have_one", "doubt"),
    [
        (("id", "price", "name"), True, HEADER_ROW),
        (("Id", "Price", "name"), True, HEADER_ROW),
        (("id", "price"), True, HEADER_ROW),
        (("5", "9.5", "x"), True, ""),
        (("id", "price", "name"), False, ""),  # `no_header`: nobody says what a header would be
        (("sep=,",), False, EXCEL),
    ],
)
def test_a_line_that_is_taken_for_data(names: tuple[str, ...], others_have_one: bool, doubt: str) -> None:
    assert (
        doubt_of_header(names, KNOWN, is_header=False, others_have_one=others_have_one, delimiter=",")
        == doubt
    )


def test_an_unnamed_column_is_the_one_that_was_made_up_for_it() -> None:
    assert (
        doubt_of_header(("a", ""), ("a", "Column2"), is_header=True, others_have_one=True, delimiter=",")
        == ""
    )


def test_excels_line_by_another_delimiter() -> None:
    assert doubt_of_header(("sep=", ""), KNOWN, is_header=True, others_have_one=True, delimiter=";") == EXCEL


@pytest.mark.parametrize(
    ("layouts", "count"),
    [
        ([["a", "b"], ["b", "a"]], 0),
        ([["a", "b"], ["A", "b"]], 1),
        ([["a", "b"], ["A", "B "], [" a", "b"]], 3),
        ([["a", "A"], ["a"], ["A"]], 0),  # one file has both: they are two columns
    ],
)
def test_columns_that_differ_in_case_alone(layouts: list[list[str]], count: int) -> None:
    found = count_letter_cases(layouts).found
    assert found.get(("", LETTER_CASE), LostValues(0, "")).count == count
