"""Parquet: one file with the types that were returned, the same bytes whoever was first."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import dask.dataframe
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.errors import JobFailed, UsageError
from daskpar.rows import parquet_file
from daskpar.rows.parquet_format import ParquetFormat

SAME, UNION = ParquetFormat(), ParquetFormat(columns="union")
Output = Callable[..., bytes]

ALL_TYPES = pd.DataFrame(
    {
        "n": [1, 2],
        "x": [0.5, np.nan],
        "text": ["é\n", None],
        "when": pd.to_datetime(["2024-03-31 01:30", None]).tz_localize("Europe/Berlin"),
        "naive": pd.to_datetime(["2024-01-01", "2024-01-02"]),
        "long": pd.to_timedelta(["1s", "2s"]),
        "maybe": pd.array([2**62 + 1, None], "Int64"),
        "flag": pd.array([True, None], "boolean"),
        "money": [Decimal("1.50"), None],
        "nested": [{"a": [1, 2], "b": "x"}, None],
        "list": [["a"], []],
        "kind": pd.Categorical(["u", None]),
        "raw": [b"\0\xff", None],
    }
)


def table(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


def test_every_type_comes_back(output_of: Output, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(output_of(SAME, [ALL_TYPES, ALL_TYPES], cuts=(1,)))
    expected = pd.concat([ALL_TYPES, ALL_TYPES], ignore_index=True)
    expected["kind"] = expected["kind"].astype("str")
    found = pd.read_parquet(path)
    # Arrow gives lists as arrays.
    for frame in (expected, found):
        frame["list"] = frame["list"].map(list)
        frame["nested"] = frame["nested"].map(lambda value: value and {**value, "a": list(value["a"])})
        frame["money"] = frame["money"].map(lambda value: value and value.normalize())
    pd.testing.assert_frame_equal(found, expected)
    lazily = dask.dataframe.read_parquet(path)
    assert lazily["maybe"].compute().tolist() == expected["maybe"].tolist()
    assert lazily.dtypes["when"] == expected.dtypes["when"]
    assert pq.read_schema(path).field("kind").type == pa.large_string()


def test_sparse_columns_come_with_every_value(output_of: Output) -> None:
    frame = pd.DataFrame({"x": [0.0, 1.5, 0.0], "n": [0, 7, 0], "text": ["a", "b", "c"]})
    sparse = frame.astype({"x": pd.SparseDtype("float64", 0.0), "n": pd.SparseDtype("int64", 0)})
    assert table(output_of(SAME, [sparse])) == table(output_of(SAME, [frame]))
    assert str(sparse["x"].dtype).startswith("Sparse")  # the script's own frame stays


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[{"v": None}], [{"v": 1}]], pa.int64()),
        (
            [pd.DataFrame({"v": np.array([1], "int8")}), pd.DataFrame({"v": np.array([1], "uint8")})],
            pa.int16(),
        ),
        ([[{"v": Decimal("1.5")}], [{"v": Decimal("100.25")}]], pa.decimal128(5, 2)),
        ([[{"v": []}], [{"v": ["x"]}]], pa.list_(pa.large_string())),
        ([pa.table({"v": pa.array(["x"]).dictionary_encode()}), [{"v": "y"}]], pa.large_string()),
        ([pd.DataFrame({"v": np.array([0.5], "float32")}), [{"v": 0.1}]], pa.float64()),
        ([pd.DataFrame({"v": []}), [{"v": "x"}]], pa.large_string()),  # without rows there is no type
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_column_is_widened_where_nothing_is_lost(
    output_of: Output, values: list[Any], kind: pa.DataType, backwards: bool
) -> None:
    assert table(output_of(SAME, values, cuts=(1,), backwards=backwards)).schema.field("v").type == kind


@pytest.mark.parametrize("cuts", [(), (1,)])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[{"v": 1}], [{"v": 0.5}]], r"the column 'v' is double in mini-batch 1 and int64 in mini-batch 0"),
        ([[{"v": 1}], [{"v": "x"}]], r"is large_string in mini-batch 1 and int64 in mini-batch 0"),
        (
            [[{"v": 1}], [{"w": 1}]],
            r"mini-batch 1 returned rows with the columns \['w'\], mini-batch 0 with \['v'\]",
        ),
        ([[{"v": {"a": 1}}], [{"v": {"b": 1}}]], "and no type holds both without changing values"),
    ],
)
def test_what_can_not_be_one_column_names_both(
    output_of: Output, values: list[Any], said: str, cuts: tuple[int, ...]
) -> None:
    with pytest.raises(JobFailed, match=said):
        output_of(SAME, values, cuts)


def test_a_mini_batch_between_two_types_is_named_by_its_own(output_of: Output) -> None:
    values = [[{"v": None}], [{"v": None}], [{"v": 1}], [{"v": "x"}]]
    with pytest.raises(JobFailed, match="is large_string in mini-batch 3 and int64 in mini-batch 2"):
        output_of(SAME, values, cuts=(1, 2, 3))


def test_whole_numbers_with_nulls_stay_whole_in_pandas_and_dask(output_of: Output, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(output_of(UNION, [[{"n": 2**53 + 1, "t": "x"}], [{"t": "y", "b": True}]]))
    found = pd.read_parquet(path)
    assert [str(kind) for kind in found.dtypes] == [
        "Int64",
        "str" if pd.__version__ >= "3" else "object",
        "boolean",
    ]
    assert found["n"].tolist() == [2**53 + 1, pd.NA]
    assert dask.dataframe.read_parquet(path).compute()["n"].sum() == 2**53 + 1


def test_row_groups_are_large_and_cut_by_the_rows_alone(
    output_of: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 100)
    values = [pd.DataFrame({"n": np.arange(size)}) for size in (30, 250, 1, 40)]
    data = output_of(SAME, values)
    found = pq.ParquetFile(io.BytesIO(data))
    assert [found.metadata.row_group(n).num_rows for n in range(found.num_row_groups)] == [100, 100, 100, 21]
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"
    monkeypatch.setattr(parquet_file, "GROUP_BYTES", 8 * 25)
    by_size = pq.ParquetFile(io.BytesIO(output_of(SAME, values))).metadata
    assert [by_size.row_group(n).num_rows for n in range(by_size.num_row_groups)] == [30, 100, 100, 50, 41]


def test_nothing_returned_is_a_file_without_rows(output_of: Output) -> None:
    assert table(output_of(SAME, [[], []])).num_rows == 0
    assert table(output_of(SAME, [pd.DataFrame({"a": []})])).column_names == ["a"]


def test_ten_thousand_columns(output_of: Output) -> None:
    wide = pd.DataFrame(np.arange(20_000).reshape(2, 10_000)).add_prefix("c")
    assert (
        table(output_of(SAME, [wide, wide], cuts=(1,)))
        .to_pandas()
        .equals(pd.concat([wide, wide], ignore_index=True))
    )


def test_a_mini_batch_that_arrow_can_not_take_costs_no_neighbour() -> None:
    encoder = SAME.encoder()
    encoder.add([{"a": 1}], 0)
    for bad, said in (
        ([{"a": 1}, {"a": "x"}], "the column 'a' can't have one type"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "the column 'a' occurs twice"),
        (["x"], "rows in the format parquet have names"),
        (pd.DataFrame({"a": [1, "x"]}), "a"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            encoder.add(bad, 1)
    encoder.add([{"a": 2}], 2)
    assert len(encoder.take()[1]) == 2


VALUES = {
    "int": st.integers(-(2**62), 2**62),
    "text": st.text(max_size=5),
    "float": st.floats(allow_nan=False),
    "flag": st.booleans(),
    "list": st.lists(st.integers(0, 9), max_size=2),
    "when": st.datetimes(),
}
ROWS = st.lists(
    st.lists(
        st.fixed_dictionaries({name: st.one_of(st.none(), values) for name, values in VALUES.items()}),
        max_size=4,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(ROWS, st.lists(st.integers(0, 6)), st.booleans())
def test_the_bytes_do_not_depend_on_what_is_flushed_when(
    output_of: Output, batches: list[list[dict[str, Any]]], cuts: list[int], backwards: bool
) -> None:
    batches = [[{name: row[name] for name in VALUES} for row in rows] for rows in batches]
    cuts = [cut for cut in cuts if cut < len(batches)]
    data = output_of(SAME, batches, cuts, backwards=backwards)
    assert table(data).to_pylist() == [row for rows in batches for row in rows]
    assert data == output_of(SAME, batches)


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from("abcd"), unique=True, min_size=1), min_size=1, max_size=6),
    st.lists(st.integers(0, 6)),
    st.booleans(),
)
def test_so_does_a_union(
    output_of: Output, batches: list[list[str]], cuts: list[int], backwards: bool
) -> None:
    values = [[{name: index for name in names}] for index, names in enumerate(batches)]
    data = output_of(UNION, values, [cut for cut in cuts if cut < len(values)], backwards=backwards)
    assert data == output_of(UNION, values)
    found = table(data)
    assert found.column_names == list(dict.fromkeys(name for names in batches for name in names))
    assert found.to_pylist() == [dict.fromkeys(found.column_names) | rows[0] for rows in values]


@pytest.mark.parametrize("early", [False, True])
def test_memory_stays_flat_while_the_file_is_made(monkeypatch: pytest.MonkeyPatch, early: bool) -> None:
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 1000)
    encoder = SAME.encoder()
    encoder.add(pd.DataFrame({"n": np.random.default_rng(0).integers(0, 2**60, 1000)}), 0)
    data, _ = encoder.take()

    def peak(count: int) -> int:
        before = pa.total_allocated_bytes()
        most = 0
        tracemalloc.start()
        ranges = (data for _ in range(count))
        pieces = map(SAME.joiner(encoder.schema).add, ranges) if early else SAME.join(ranges, encoder.schema)
        for _ in pieces:
            most = max(most, pa.total_allocated_bytes() - before)
        most += tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(400) < 2 * peak(100) + (1 << 20)


def test_the_name_of_an_export_says_parquet_or_nothing() -> None:
    for wrong in ("a.csv", "a.txt", "a.parquet.gz", "a.jsonl"):
        with pytest.raises(UsageError, match=r"name a file such as FILE\.parquet"):
            SAME.check_name(wrong)
    SAME.check_name("a.pq")


@pytest.mark.parametrize(
    ("returned", "column", "kind"),
    [
        (pd.DataFrame({"c": pd.period_range("2024-01", periods=2, freq="M")}), "c", "period"),
        (pd.DataFrame({"c": pd.cut([1, 9], [0, 3, 10])}), "c", "interval"),
        (pd.DataFrame({"a": [1], "c": [2**70]}, dtype=object), "c", "too large"),
        (pd.DataFrame({"a": [1], "c": [1j]}), "c", "numpy type"),
        (
            pa.table({"c": pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([1]))}),
            "c",
            "run_end",
        ),
        (pa.table({"c": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}), "c", "interval"),
        (pa.table({"c": pa.array([[(1, 2, 3)]], pa.list_(pa.month_day_nano_interval()))}), "c", "interval"),
    ],
)
def test_what_parquet_has_no_type_for_is_told_where_it_is_returned(
    returned: Any, column: str, kind: str
) -> None:
    with pytest.raises(ValueError, match=rf"the column '{column}' .*{kind}"):
        SAME.encoder().add(returned, 0)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (
            np.datetime64("2024-01-01T05:30"),
            pa.timestamp("ms"),
        ),  # minutes: Parquet's coarsest are milliseconds
        (np.datetime64("2024-01"), pa.date32()),
        (np.timedelta64(5, "m"), pa.duration("s")),
        (np.timedelta64(5, "ns"), pa.duration("ns")),
    ],
)
def test_numpys_moments_and_durations_come_whatever_their_unit(
    output_of: Output, value: Any, kind: Any
) -> None:
    found = table(output_of(SAME, [[{"v": value}, {"v": None}]]))
    assert found.schema.field("v").type == kind
    assert pd.array(found["v"].to_pylist())[0] == value
    assert found["v"].null_count == 1
