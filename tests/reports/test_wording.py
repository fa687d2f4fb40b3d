"""Words for numbers, times and counts, as tables."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.reports import wording
from daskpar.results import Counts


@pytest.mark.parametrize(
    ("value", "noun", "text"),
    [
        (0, "item", "0 items"),
        (1, "item", "1 item"),
        (1204, "item", "1,204 items"),
        (2, "try", "2 tries"),
        (1, "mini-batch", "1 mini-batch"),
        (2, "mini-batch", "2 mini-batches"),
        (3, "processor", "3 processors"),
        (3, "day", "3 days"),
    ],
)
def test_some(value: int, noun: str, text: str) -> None:
    assert wording.counted(value, noun) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, ""), (0, 7, "0 %"), (1999, 2000, "99 %"), (2000, 2000, "100 %"), (3, 2, "100 %")],
)
def test_percent_says_100_only_of_all(part: int, whole: int, text: str) -> None:
    assert wording.percent(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (-1, "0:00:00"), (59.9, "0:00:59"), (61, "0:01:01"), (100_000, "27:46:40")],
)
def test_clock(seconds: float, text: str) -> None:
    assert wording.clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.004, "0.00 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.6, "1 h 0 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(0, ""), (0.01, "0.6/min"), (0.5, "0.5/s"), (12.34, "12.3/s"), (12_345.6, "12,346/s")],
)
def test_rate(per_second: float, text: str) -> None:
    assert wording.rate(per_second) == text


def test_times_are_utc_and_round_once() -> None:
    assert wording.iso(1_795_440_000.0000005) == "2026-11-23T13:20:00.000000Z" or wording.iso(
        1_795_440_000.0000005
    ).endswith("001Z")
    assert wording.iso(1_795_440_000.9999999) == "2026-11-23T13:20:01.000000Z"
    assert (
        wording.log_line(1_795_440_000.0424, "INFO", 7, 8, "two\nlines")
        == "2026-11-23 13:20:00,042|INFO|7|8|two lines\n"
    )
    assert wording.log_line(1_795_440_000.9999, "INFO", 7, 8, "x").startswith("2026-11-23 13:20:01,000|")


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (Counts(planned=2, succeeded=2, items=20), "2 of 2 mini-batches succeeded; 20 items"),
        (Counts(planned=1, succeeded=1, items=1), "1 of 1 mini-batch succeeded; 1 item"),
        (
            Counts(
                planned=2000,
                succeeded=1900,
                failed=3,
                empty=7,
                items=19000,
                failed_items=30,
                tries_failed=12,
                retried=9,
                repeats=1,
            ),
            "1,900 of 2,000 mini-batches succeeded, 3 failed, 7 empty, 90 not run; 19,000 items, 30 failed; "
            "12 failed tries, 9 retried, 1 repeat",
        ),
    ],
)
def test_counts_in_words(counts: Counts, text: str) -> None:
    assert wording.counts_in_words(counts) == text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=2))
def test_what_a_row_holds_comes_back_from_a_csv_reader(cells: list[str]) -> None:
    assert next(csv.reader(io.StringIO(wording.csv_row(cells)))) == cells


def test_a_row_is_one_line_and_says_what_is_missing() -> None:
    assert (
        wording.csv_row(["a\nb\r\nc", None, 1.5, as_json := wording.as_json({"ü": 'q"'})])
        == 'a b c,N/A,1.5,"{""ü"": ""q\\""""}"\n'
    )
    assert json.loads(as_json) == {"ü": 'q"'}


def test_a_long_traceback_keeps_its_start_and_above_all_its_end() -> None:
    text = "\n".join(str(i) for i in range(100))
    cut = wording.cut_lines(text, 10).split("\n")
    assert cut == ["0", "1", "2", "... 91 lines left out ...", "94", "95", "96", "97", "98", "99"]
    assert wording.cut_lines("a\nb\n", 10) == "a\nb"


def test_one_line_is_at_most_as_wide_as_asked() -> None:
    assert wording.one_line("a\n  b\tc") == "a b c"
    assert wording.one_line("x" * 400, 10) == "x" * 9 + "…"
