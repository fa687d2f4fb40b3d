"""Many columns together give what each of them gives alone: read from text, inferred, and as a data frame."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.data.columns import block_frames, column_texts, sample_kinds
from daskpar.data.columns.block_frames import block_frame
from daskpar.data.columns.column_texts import read_texts
from daskpar.data.columns.kinds import BOOL, FLOAT, INT, STRING, ColumnKind, infer_kind
from daskpar.data.columns.sample_kinds import infer_kinds, with_leading_zeros
from daskpar.data.columns.special_types import any_field, nullable_field, stream_field
from daskpar.data.columns.wide_integers import WideIntegers
from daskpar.data.tables.frame_slices import MOST_CHANGING, FrameSlices, to_frame

DATES = ColumnKind("datetime", formats=("%Y-%m-%d", "%d.%m.%Y"), inferred=True)
TEXTS = [
    "",
    "0",
    "1",
    "-0",
    "+1",
    "007",
    " 2",
    "2\t",
    "-",
    "1.",
    ".5",
    "1e5",
    "1e",
    "e5",
    "1-2",
    "1.5.2",
    "nan",
]
TEXTS += [
    "9223372036854775808",
    "9007199254740993",
    "1e400",
    "true",
    "T",
    "no",
    "x",
    "2024-02-30",
    "1.2.2024",
]
columns_of_texts = st.integers(0, 4).flatmap(
    lambda rows: st.lists(
        st.lists(st.one_of(st.none(), st.sampled_from(TEXTS)), min_size=rows, max_size=rows),
        min_size=1,
        max_size=6,
    )
)


@settings(max_examples=60)
@given(columns_of_texts, st.data(), st.sampled_from([0, 30, 1 << 20]))
def test_columns_read_together_are_those_read_alone(
    columns: list[list[str | None]], data: st.DataObject, most_bytes: int
) -> None:
    given_ = [
        (pa.array(texts, pa.string()), data.draw(st.sampled_from([FLOAT, INT, BOOL, STRING, DATES])))
        for texts in columns
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_texts, "MOST_BYTES", most_bytes)
        together = read_texts(given_)
    for one, found in zip(given_, together, strict=True):
        (alone,) = read_texts([one])
        assert repr(found.array.to_pylist()) == repr(alone.array.to_pylist())
        assert found.array.type == alone.array.type
        assert (found.lost, found.changed) == (alone.lost, alone.changed)


@settings(max_examples=100)
@given(columns_of_texts, st.sampled_from([0, 30, 1 << 20]))
def test_kinds_inferred_together_are_those_inferred_alone(
    columns: list[list[str | None]], most_bytes: int
) -> None:
    arrays = [pa.array(texts, pa.string()) for texts in columns]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_kinds, "MOST_BYTES", most_bytes)
        assert infer_kinds(arrays) == [infer_kind(texts) for texts in columns]
    assert infer_kinds([*arrays, columns[0]])[-1] == infer_kind(columns[0])


def test_columns_that_may_have_leading_zeros() -> None:
    columns = [["1", "10"], ["007", None], ["0", "-0"], [" +01", "1"], [None, None], ["2", "-05"]]
    assert with_leading_zeros([pa.array(texts, pa.string()) for texts in columns]) == [1, 3, 5]
    assert with_leading_zeros([]) == []


def mixed(rows: int, repeats: int) -> pa.Table:
    """Columns of many types in turn, with and without nulls."""
    random = np.random.default_rng(rows)
    columns: dict[str, pa.Array] = {}
    for number in range(repeats):
        numbers = random.integers(-9, 9, rows)
        nulls = random.random(rows) < 0.4
        for name, values in {
            "float": pa.array(random.normal(size=rows)),
            "holes": pa.array(random.normal(size=rows), mask=nulls),
            "small": pa.array(random.normal(size=rows).astype("f4"), mask=nulls),
            "int": pa.array(numbers),
            "gaps": pa.array(numbers, mask=nulls),
            "short": pa.array(numbers.astype("i2")),
            "unsigned": pa.array(numbers.astype("u8"), mask=nulls),
            "text": pa.array([None if null else "é" for null in nulls], pa.string()),
            "bool": pa.array(numbers > 0),
            "unsure": pa.array(numbers > 0, mask=nulls),
            "moment": pa.array([datetime(2024, 1, 1)] * rows, pa.timestamp("ns"), mask=nulls),
        }.items():
            columns[f"{name} {number}"] = values
    return pa.table(columns)


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("chunks", [1, 3])
def test_a_frame_of_blocks_is_that_of_arrow(rows: int, chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_frames, "MOST_OTHERS", 9.0)
    table = pa.concat_tables([mixed(rows, 30)] * chunks)
    frame = block_frame(table)
    assert frame is not None
    pd.testing.assert_frame_equal(frame, table.to_pandas(), check_flags=True)
    assert frame.columns.dtype == table.to_pandas().columns.dtype
    before = frame.copy()
    frame["float 0"] = 1.0
    frame.iloc[0, 1] = 5.0
    frame.loc[:, "text 3"] = "x"
    assert frame.iloc[0, 1] == 5.0 and not frame.equals(before)
    assert table.equals(
        pa.concat_tables([mixed(rows, 30)] * chunks)
    )  # its own memory, which a script may change


def test_other_tables_are_left_to_arrow() -> None:
    assert block_frame(mixed(3, 2)) is None  # narrow
    assert block_frame(pa.table({f"{n}": ["x"] for n in range(500)})) is None
    assert block_frame(pa.table({f"{n}": pa.array([], pa.float64()) for n in range(500)})) is None


def test_slices_of_a_wide_table_have_their_own_dtypes() -> None:
    table = mixed(12, MOST_CHANGING + 1)
    fields = [*table.schema, any_field("any"), stream_field("file")]
    fields[4] = nullable_field(fields[4])
    extra = [pa.array(["[1]", None] * 6), pa.array(["/a"] * 12)]
    table = pa.Table.from_arrays([*table.columns, *extra], schema=pa.schema(fields))
    starts, stops = [0, 1, 5, 0], [1, 5, 5, 12]
    slices = FrameSlices(table, 12, starts, stops)
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        alone = to_frame(table.slice(start, stop - start), stop - start)
        pd.testing.assert_frame_equal(slices.frame(i), alone)


def test_integers_that_floats_change_among_many_columns() -> None:
    columns = {f"{n}": pa.array([n, None, 5]) for n in range(100)}
    columns["7"] = pa.array([2**53 + 1, None, 3])
    columns["8"] = pa.array([-(2**60) - 1, 4, 3])  # no nulls: it stays a column of integers
    columns["9"] = pa.array([2**63 + 1, None, 3], pa.uint64())
    losses = WideIntegers(pa.table(columns)).count(0, 3)
    assert losses is not None and sorted(name for name, _ in losses.found) == ["7", "9"]
    assert WideIntegers(pa.table(columns)).count(2, 3) is None
