"""Returned values whose text says less than they do: counted, and written as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from daskpar.data.notices import RETURNED_ARRAYS, RETURNED_BREAKS, RETURNED_BYTES, RETURNED_COLUMNS
from daskpar.rows.odd_values import names_text
from daskpar.rows.text_format import TextEncoder


def told(*returns: Any, header: bool = False) -> tuple[dict[str, int], str]:
    """Counts by cause, and the text of all returns together."""
    encoder = TextEncoder(header=header)
    for returned in returns:
        encoder.add(returned)
    text, _ = encoder.take()
    found: dict[str, int] = {}
    for notice in encoder.take_notices():
        found[notice.cause] = found.get(notice.cause, 0) + notice.count
    assert encoder.take_notices() == ()
    return found, bytes(text).decode()


@pytest.mark.parametrize(
    "returned",
    [
        [],
        ["a", "b c", 5, 1.5, None, True],
        [np.float64(0.1), np.float32(0.1), np.int64(5), np.str_("a")],
        np.array([0.123456789012, 5.0]),
        pd.Series([0.123456789012, 5.0]),
        [np.array([5, 6]), np.array([0.5, np.nan])],
        [(5, "a", 0.123456789012)],
        [{"a": 0.123456789012}],
        [pd.Timestamp("2026-01-01")],
    ],
    ids=repr,
)
def test_ordinary_returns_are_told_nothing_of(returned: Any) -> None:
    assert told(returned)[0] == {}


@pytest.mark.parametrize(
    ("returned", "causes", "text"),
    [
        (["a\nb", "c", "d\ne\nf"], {RETURNED_BREAKS: 3}, "a\nb\nc\nd\ne\nf\n"),
        (["a\rb", "c\r\nd"], {RETURNED_BREAKS: 2}, "a\rb\nc\r\nd\n"),
        ([b"a", bytearray(b"b")], {RETURNED_BYTES: 2}, "b'a'\nbytearray(b'b')\n"),
        ([None, b"a"], {RETURNED_BYTES: 1}, "None\nb'a'\n"),
        (np.array([[0.123456789012, 5.0]]), {RETURNED_ARRAYS: 1}, "[0.12345679 5.        ]\n"),
        ([np.zeros(1001)], {RETURNED_ARRAYS: 1}, "[0. 0. 0. ... 0. 0. 0.]\n"),
        ([(np.float64(0.5), 5)], {RETURNED_ARRAYS: 1}, None),
        ([{"a": np.array([0.5])}], {RETURNED_ARRAYS: 1}, None),
        ([np.arange(100)], {RETURNED_BREAKS: 4}, None),
        (pd.DataFrame({"a": [b"x", None]}), {RETURNED_BYTES: 1, RETURNED_COLUMNS: 1}, "b'x'\n\"\"\n"),
        (
            pd.DataFrame({"a": ["x\ny", "z"], "b": [5, 6]}),
            {RETURNED_BREAKS: 1, RETURNED_COLUMNS: 1},
            '"x\ny" 5\nz 6\n',
        ),
    ],
)
def test_what_a_text_does_not_say_is_counted(returned: Any, causes: dict[str, int], text: str | None) -> None:
    found, written = told(returned)
    assert found == causes
    assert text is None or written == text


def test_line_breaks_of_a_large_frame_and_of_many_small_ones() -> None:
    frame = pd.DataFrame({"a": ["x\ny", "z"] * 800, "b": 5})
    assert told(frame)[0][RETURNED_BREAKS] == 800
    assert told(*[frame.iloc[:2]] * 30)[0][RETURNED_BREAKS] == 30


def test_lists_of_columns_are_counted_each() -> None:
    frame = pd.DataFrame({"a": [5], "b": [6]})
    encoder = TextEncoder()
    for returned in (frame, frame[["b", "a"]], frame, frame.iloc[:0][["a"]], frame.iloc[:, :0]):
        encoder.add(returned)
    counts = {notice.column: notice.count for notice in encoder.take_notices()}
    assert counts == {"a, b": 2, "b, a": 1}


def test_with_a_header_other_columns_are_an_error_and_not_counted() -> None:
    frame = pd.DataFrame({"a": [5], "b": [6]})
    assert told(frame, header=True)[0] == {}


def test_long_lists_of_columns_stay_apart() -> None:
    names = tuple(f"column {number}" for number in range(500))
    assert names_text(names) != names_text((*names[:-1], "other"))
    assert len(names_text(names)) < 240
