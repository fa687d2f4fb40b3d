import pyarrow as pa
import pytest

from daskpar.data.columns.kinds import BOOL, FLOAT, INT, STRING, ColumnKind
from daskpar.data.columns.text_values import LostValues, from_text, read_float, read_int


def test_plain_values_and_others_are_read_side_by_side() -> None:
    texts = pa.array(["5", "+6", None, " 7", "8.9", "x", "9" * 30, "0x1"])
    assert from_text(texts, INT)[0].to_pylist() == [5, 6, None, 7, 8, None, 2**63 - 1, None]
    assert from_text(texts.slice(1, 4), INT)[0].to_pylist() == [6, None, 7, 8]
    assert from_text(pa.chunked_array([texts, texts.slice(0, 1)]), FLOAT)[0].to_pylist() == [
        5.0,
        6.0,
        None,
        7.0,
        8.9,
        None,
        1e30,
        None,
        5.0,
    ]


def test_integers_at_the_ends_of_64_bits() -> None:
    texts = [
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "0" * 40 + "5",
    ]
    assert from_text(pa.array(texts), INT)[0].to_pylist() == [2**63 - 1, 2**63 - 1, -(2**63), -(2**63), 5]


def test_failures_are_counted_with_an_example() -> None:
    assert from_text(pa.array(["5", None, "x", "y"]), INT)[1] == LostValues(2, "x")
    assert from_text(pa.array(["5", None]), INT)[1] is None
    assert from_text(pa.array(["x"]), STRING)[1] is None
    assert LostValues(2, "x") + LostValues(1, "y") == LostValues(3, "x")


def test_booleans_are_trimmed_words() -> None:
    assert from_text(pa.array([" true", "N", "no", "1", ""]), BOOL)[0].to_pylist() == [
        True,
        False,
        None,
        True,
        None,
    ]


def test_kinds_without_values() -> None:
    got, lost = from_text(pa.array(["x", None]), ColumnKind("null"))
    assert got.type == pa.null()
    assert lost == LostValues(1, "x")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e3", 1000), ("-5.9", -5), ("nan", 0), ("-inf", -(2**63)), ("", None), ("1 2", None), ("5\n", None)],
)
def test_reading_an_integer(text: str, value: int | None) -> None:
    assert read_int(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("5.", 5.0), (".5", 0.5), (".", None), ("e5", None), ("1d", None), ("+Infinity", float("inf"))],
)
def test_reading_a_number(text: str, value: float | None) -> None:
    assert read_float(text) == value
