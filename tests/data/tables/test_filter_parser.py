"""What is an expression of a filter, and which columns it looks at."""

from __future__ import annotations

import pytest

from daskpar.data.tables.filter_parser import BadExpression, columns_of, parse_filter, simple_terms


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(" * 90 + "i > 5" + ")" * 90, "nested too deep"),
        ("not " * 400 + "b", "nested too deep"),
        ("not " * 4000 + "b", "nested too deep"),
        (" + ".join(["i"] * 500) + " > 1", "nested too deep"),
        ("", "empty"),
        ("i &  b", "use `and`"),
        ("i = 5", "use `==`"),
        ("i in (5, 6)", "'in' is not understood"),
        ("g > .5", "write numbers as 0.5"),
        ('s == ""', "empty text"),
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
    ],
)
def test_what_is_no_expression(text: str, why: str) -> None:
    with pytest.raises(BadExpression, match=why.replace("(", r"\(").replace(")", r"\)")):
        parse_filter(text)


def test_columns_and_terms_of_a_filter() -> None:
    node = parse_filter('a > 5 and (b == "x" or c == 1) and 3 <= d')
    assert columns_of(node) == {"a", "b", "c", "d"}
    assert simple_terms(node) == [("a", ">", 5), ("d", ">=", 3)]
