"""Rates of calls as people write them."""

from __future__ import annotations

import pytest

from daskpar.jobspec.call_rate import calls_per_second


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("300/min", 5.0),
        ("5/s", 5.0),
        (" 5 / sec ", 5.0),
        ("1,800/hour", 0.5),
        ("86_400/day", 1.0),
        ("0.5/s", 0.5),
        ("100/10s", 10.0),
        ("60 per minute", 1.0),
        ("300/MIN", 5.0),
    ],
)
def test_a_rate(text, expected):
    assert calls_per_second(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("300", "of what"),
        ("", "no rate"),
        ("fast", "no rate"),
        ("-5/s", "no rate"),
        ("0/min", "rate of 0"),
        ("5/0s", "rate of 0"),
        ("5/fortnight", "no unit"),
        ("nan/s", "no rate"),
        ("5/s/s", "no rate"),
    ],
)
def test_what_is_no_rate(text, says):
    with pytest.raises(ValueError, match=says):
        calls_per_second(text)
