"""What is an expression of a filter, and which columns it looks at."""

from __future__ import annotations

from datetime import datetime

import pytest

from daskpar.data.tables.filter_parser import BadExpression, columns_of, parse_filter, simple_terms


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(" * 90 + "i > 5" + ")" * 90, "nested too deep"),
        ("not " * 400 + "b", "nested too deep"),
        ("not " * 4000 + "b", "nested too deep"),
        (" + ".join(["i"] * 500) + " > 1", "nested too deep"),
        ("(" * 41 + "i > 5" + ")" * 41, "nested too deep"),
        ("", "empty"),
        ("i &  b", "use `and`"),
        ("i = 5", "use `==`"),
        ("i in (5, 6)", "'in' is not understood"),
        ("g > .5", "write numbers as 0.5"),
        ('s == ""', "empty text"),
        ('s == "" and b', "an empty text can't be written"),
        ('s == "\\xg"', "escape"),
        ("datetime(2020, 1, 1, 1, 1, 1, 1) == d", "takes 1 to 6 values"),
        ("len(s) == 1", "no function 'len'"),
        ('s.endswith("x")', "no function 'endswith'"),
        ("4 or(i > 2)", "blanks around 'or'"),
        ("i == 0_5", "not understood"),
        ("i >", "a value is missing"),
        ("(i > 4", "')' is missing"),
        ('s == "\\u00e9"', "escape"),
        ("datetime(2020, 13, 1) == d", "no date"),
        ("col(i) == 1", "as a text"),
        ("__import__('os')", "no function"),
        ("# i", "not understood"),
        ("startswith(s)", "character 14: 'startswith' takes 2 values"),
        ('s.startswith("a", "b")', "takes 1 values"),
        ("datetime(2020.5) == d", "whole numbers"),
        ("datetime(i) == d", "whole numbers"),
        ('col("a", "b") == 1', "takes 1 values"),
        ("i + s.upper( ) == 1", "character 7: there is no function 'upper'"),
        ("s. == 1", "the name of a field is missing"),
    ],
)
def test_what_is_no_expression(text: str, why: str) -> None:
    with pytest.raises(BadExpression, match=why.replace("(", r"\(").replace(")", r"\)")):
        parse_filter(text)


def test_columns_and_terms_of_a_filter() -> None:
    node = parse_filter('a > 5 and (b == "x" or c == 1) and 3 <= d')
    assert columns_of(node) == {"a", "b", "c", "d"}
    assert simple_terms(node) == [("a", ">", 5), ("d", ">=", 3)]


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ('col("sp ace")', ("column", "sp ace")),
        ('startswith(s, "a")', ("startswith", ("column", "s"), ("value", "a"))),
        ('s.startswith("a")', ("startswith", ("column", "s"), ("value", "a"))),
        ("datetime(2020)", ("value", datetime(2020, 1, 1))),
        ("datetime(2020, 5)", ("value", datetime(2020, 5, 1))),
        ("datetime(2020, 5, 6, 7, 8, 9)", ("value", datetime(2020, 5, 6, 7, 8, 9))),
        ('"\\x41\\tx"', ("value", "A\tx")),
        ('r"\\x41"', ("value", "\\x41")),
        ("-5", ("value", -5)),
        ("- i", ("negative", ("column", "i"))),
        ("-True", ("negative", ("value", True))),
        ("0x1F", ("value", 31)),
        ("1_000.5", ("value", 1000.5)),
        ("(" * 40 + "5" + ")" * 40, ("value", 5)),
        ("[" + "(5), " * 50 + "]", ("list", [("value", 5)] * 50)),  # beside each other, not in each other
        ("(1, 2,)", ("list", [("value", 1), ("value", 2)])),
    ],
)
def test_what_a_text_means(text: str, node: object) -> None:
    assert parse_filter(text) == node
