import pytest

from daskpar.data.formats.dialect import Dialect
from daskpar.data.formats.tokenizer import rows

LINES = Dialect()
MULTI = Dialect(support_multi_line=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5,x\n6,y\n", [["5", "x"], ["6", "y"]]),
        (",\n5,6", [[None, None], ["5", "6"]]),
        ('"",5\n', [["", "5"]]),
        ('"a"b,5\n', [["ab", "5"]]),
        ('a"b",5\n', [['a"b"', "5"]]),
        (' "a",5\n', [[' "a"', "5"]]),
        ('"x\\"y",5\n', [['x\\y"', "5"]]),
        ('"d""e","b,c"\n', [['d"e', "b,c"]]),
        ('"a"b"c,d"\n', [['ab"c', 'd"']]),
        ("\n\r\n5\r\n\n", [["5"]]),
        ("   \n", [["   "]]),
        ("5\r6\n", [["5\r6"]]),
        ("#5\n", [["#5"]]),
        ("5,\n", [["5", None]]),
        ('5,""', [["5", ""]]),
    ],
)
def test_records_without_line_breaks_in_quotes(text: str, expected: list[list[str | None]]) -> None:
    assert list(rows(text, LINES)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"x,5\n6,7\n', [['"x', "5"], ["6", "7"]]),
        ('"x,"",5\n', [['"x', "", "5"]]),
        ('5,"x\ny",z\n', [["5", '"x'], ['y"', "z"]]),
        ('"a\r\n', [['"a']]),
    ],
)
def test_an_unclosed_quote_is_kept_when_lines_are_records(
    text: str, expected: list[list[str | None]]
) -> None:
    assert list(rows(text, LINES)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('5,"x\ny",z\r\n6,p,q\n', [["5", "x\ny", "z"], ["6", "p", "q"]]),
        ('"x\r\ny"\n', [["x\r\ny"]]),
        ('"x,5\n6,7\n', [['"x', "5\n6", "7\n"]]),
        ('",""\na', [['"', "\na"]]),
        ("5,6\n\n7,8\n", [["5", "6"], ["\n7", "8"]]),
        ("x,6\r\n\r\ny,8\r\n", [["x", "6"], ["y", "8"]]),
        ('5\n\n"a\nb"\n', [["5"], ["a\nb"]]),
        ("5\n\n,6\n", [["5"], ["\n", "6"]]),
        ("5\n\n\n", [["5"]]),
    ],
)
def test_line_breaks_in_quotes(text: str, expected: list[list[str | None]]) -> None:
    assert list(rows(text, MULTI)) == expected


def test_empty_fields_are_texts_when_asked_for() -> None:
    assert list(rows('a,,""\n', Dialect(empty_as_string=True))) == [["a", "", ""]]
    assert list(rows('a,"b"\n,""\n', Dialect(empty_as_string=True))) == [["a", "b"], ["", ""]]
