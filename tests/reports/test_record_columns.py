"""Records as text columns: a bulk says the same as each value by itself, value by value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from daskpar.batches.records import RECORD
from daskpar.reports import record_columns
from daskpar.reports.wording import iso, log_line
from daskpar.results import Reason, TryStatus

from .conftest import failure, records_of


def texts(column: object, count: int) -> list[str]:
    """A column's rows, of either kind."""
    return [column] * count if isinstance(column, str) else column  # type: ignore[return-value]


times = st.one_of(st.just(0.0), st.floats(1.7e9, 1.9e9), st.floats(1_795_440_000, 1_795_440_003))


@given(st.lists(times, max_size=30))
def test_times(seconds: list[float]) -> None:
    expected = [iso(value) if value else "N/A" for value in seconds]
    assert record_columns.iso_times(np.array(seconds)) == expected


@given(st.lists(st.floats(1.7e9, 1.9e9), min_size=1, max_size=5))
def test_log_times_cut_what_log_lines_round(seconds: list[float]) -> None:
    whole = np.round(np.array(seconds), 3)
    assert record_columns.log_times(whole + 1e-5) == [
        log_line(value, "INFO", 1, 1, "").split("|")[0] for value in whole
    ]


@given(arrays.arrays(np.float32, st.integers(0, 20), elements=st.floats(0, 1e6, width=32)))
def test_seconds_have_six_decimals(seconds: np.ndarray) -> None:
    assert texts(record_columns.seconds_text(seconds), len(seconds)) == [
        f"{round(float(value) * 1e6) / 1e6:.6f}" for value in seconds
    ]


@given(
    arrays.arrays(np.float32, (3, 4), elements=st.floats(-1, 12, width=32)),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_seconds_of_several_columns_are_those_of_each(columns: np.ndarray, known: list[bool]) -> None:
    made = record_columns.seconds_cells(list(columns), np.array(known))
    each = [record_columns.seconds_text(column) for column in columns[:2]]
    each.append(record_columns.seconds_text(columns[2], np.array(known)))
    rows = [",".join(row) for row in zip(*(texts(column, 4) for column in made), strict=True)]
    assert rows == [",".join(row) for row in zip(*(texts(column, 4) for column in each), strict=True)]


def test_seconds_that_are_not_known() -> None:
    known = np.array([True, False])
    assert texts(record_columns.seconds_text(np.array([1.5, 2.5]), known), 2) == ["1.500000", "N/A"]
    assert texts(record_columns.seconds_text(np.array([float("nan"), -1.0])), 2) == ["0.000000", "0.000000"]
    assert [record_columns.seconds_text(np.array([value])) for value in (-1.0, 0.1)] == [
        "0.000000",
        "0.100000",
    ]
    assert texts(record_columns.seconds_text(np.array([1.5, 1.5]), known), 2) == ["1.500000", "N/A"]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_status_and_a_category(reason: Reason) -> None:
    records = np.zeros(1, RECORD)
    records["reason"] = reason
    records["status"] = TryStatus.SUCCEEDED if reason is Reason.NONE else TryStatus.FAILED
    status, category = record_columns.try_status(records), record_columns.category(records)
    assert (status == "RUN_DONE") == (reason is Reason.NONE)
    assert category == ("N/A" if reason is Reason.NONE else reason.name)


def test_an_empty_mini_batch_was_loaded_only() -> None:
    records = np.zeros(1, RECORD)
    records["status"] = TryStatus.EMPTY
    assert record_columns.try_status(records) == "LOAD_DONE"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65535)), max_size=50))
def test_processors(pairs: list[tuple[int, int]]) -> None:
    records = np.zeros(len(pairs), RECORD)
    for row, (node, processor) in enumerate(pairs):
        records[row]["node"], records[row]["processor"] = node, processor
    who, where = record_columns.processors(records)
    assert who == sorted(set(pairs))
    assert [who[place] for place in where] == pairs
    assert texts(record_columns.process_names(who, where), len(pairs)) == [
        f"{node}/process{processor:03d}" for node, processor in pairs
    ]


@given(st.lists(st.tuples(st.integers(-5, 10**12), st.sampled_from([0, 0, 0, 7])), max_size=20))
def test_lines_are_the_pieces_of_each_row(rows: list[tuple[int, int]]) -> None:
    values = np.array(rows, np.int64).reshape(-1, 2)
    text = record_columns.join_rows(
        len(rows),
        "a",
        record_columns.whole_numbers(values[:, 0]),
        ",",
        "ü",
        record_columns.whole_numbers(values[:, 1]),
        "\n",
    )
    assert text.decode() == "".join(f"a{first},ü{second}\n" for first, second in rows)


def test_failures_find_the_row_of_their_try() -> None:
    records = records_of([(5, Reason.EXCEPTION), (6, None), (5, Reason.TIMEOUT), (7, Reason.DIED), (5, None)])
    first, second, third, stranger = (
        failure(5),
        failure(7, Reason.DIED),
        failure(5, Reason.TIMEOUT),
        failure(9),
    )
    assert record_columns.with_rows(records, (first, second, third, stranger, "text")) == [
        (0, first),
        (3, second),
        (2, third),
    ]


def test_a_reason_of_a_newer_version_stays_a_number() -> None:
    assert record_columns.reason_name(Reason.MEMORY) == "MEMORY"
    assert record_columns.reason_name(99) == "REASON_99"
