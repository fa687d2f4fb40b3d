"""What `retry_after` of an exception says, and for how long a mini-batch is put off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from daskpar.processor.throttling import LEAST_WAIT, Patience, seconds_to_wait


class Odd(Exception):
    @property
    def retry_after(self):
        raise RuntimeError


def busy(after):
    error = RuntimeError("429")
    error.retry_after = after
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("no"), None),
        (busy(2), 2.0),
        (busy("1.5"), 1.5),
        (busy(timedelta(minutes=1)), 60.0),
        (busy(0), LEAST_WAIT),
        (busy(-5), LEAST_WAIT),
        (busy(None), None),
        (busy(True), None),
        (busy("soon"), None),
        (busy(float("nan")), None),
        (busy(float("inf")), None),
        (Odd(), None),
        (ExceptionGroup("of a TaskGroup", [busy(2), busy(3)]), 3.0),
        (ExceptionGroup("", [ExceptionGroup("", [busy(2)])]), 2.0),
        (ExceptionGroup("", [busy(2), ValueError("a mistake")]), None),
        (busy("Wed, 21 Oct 2015 07:28:00 GMT"), LEAST_WAIT),
    ],
)
def test_an_exception_says_how_long_to_wait(error, expected):
    assert seconds_to_wait(error) == expected


@pytest.mark.parametrize("as_written", [lambda at: at, format_datetime], ids=["datetime", "header"])
def test_a_date_is_waited_for(as_written):
    at = datetime.now(UTC) + timedelta(seconds=100)
    assert 90 < seconds_to_wait(busy(as_written(at))) <= 100


def test_patience_ends():
    patience, now = Patience(10.0), 100.0
    assert patience.spent(now) == ""
    assert patience.wait_for(ValueError(), now) is None
    assert patience.wait_for(busy(4), now) == 4
    assert patience.wait_for(busy(4), now + 5) == 4
    assert patience.wait_for(busy(1), now + 9.5) is None  # it would end after 10.5 s
    assert "put off 2 times in 10 s" in patience.spent(now + 9.5)
    assert Patience(0.0).wait_for(busy(1), now) is None
    assert Patience(0.0).spent(now) == ""


def test_a_service_that_says_at_once_each_time_is_not_asked_for_ever():
    patience, now, times = Patience(1.0), 0.0, 0
    while (wait := patience.wait_for(busy(0), now)) is not None:
        now, times = now + wait, times + 1
    assert 15 <= times <= 20
