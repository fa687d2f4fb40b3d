from datetime import datetime

import pandas as pd
import pyarrow as pa

from daskpar.data.columns.pandas_frames import to_pandas

DAY = pa.timestamp("ns")
TEXT = "str" if int(pd.__version__.split(".")[0]) >= 3 else "object"


def test_dtypes() -> None:
    table = pa.table(
        {
            "int": [5, 6],
            "gap": [5, None],
            "float": [1.5, None],
            "bool": [True, False],
            "maybe": [True, None],
            "day": pa.array([datetime(2020, 1, 31), None], DAY),
            "text": ["x", None],
        }
    )
    for partition in (False, True):
        frame = to_pandas(table, partition)
        assert [str(dtype) for dtype in frame.dtypes] == [
            "int64",
            "float64",
            "float64",
            "bool",
            "object",
            "datetime64[ns]",
            TEXT,
        ]
        assert frame["maybe"].tolist() == [True, None]
        assert frame.index.equals(pd.RangeIndex(2))


def test_columns_without_values_are_objects_in_a_whole_table() -> None:
    empty = {"int": pa.nulls(2, pa.int64()), "day": pa.nulls(2, DAY), "none": pa.nulls(2, pa.null())}
    frame = to_pandas(pa.table(empty))
    assert [str(dtype) for dtype in frame.dtypes] == ["object"] * 3
    assert frame.to_numpy().tolist() == [[None] * 3] * 2


def test_columns_without_values_keep_their_dtype_in_a_partition() -> None:
    empty = {
        "int": pa.nulls(2, pa.int64()),
        "bool": pa.nulls(2, pa.bool_()),
        "day": pa.nulls(2, DAY),
        "none": pa.nulls(2, pa.null()),
    }
    frame = to_pandas(pa.table(empty), partition=True)
    assert [str(dtype) for dtype in frame.dtypes] == ["float64", "object", "datetime64[ns]", "object"]


def test_frames_can_be_changed_in_place() -> None:
    table = pa.table({"a": [5, 6], "b": [1.5, 2.5], "day": pa.array([0, 1], DAY)})
    frame = to_pandas(table, partition=True)
    frame.loc[0, "a"] = 7
    frame.loc[0, "b"] = 7.5
    frame.loc[0, "day"] = pd.Timestamp("2020-01-31")
    assert frame.iloc[0].tolist() == [7, 7.5, pd.Timestamp("2020-01-31")]
    assert table.column("a").to_pylist() == [5, 6]


def test_a_table_without_rows() -> None:
    frame = to_pandas(pa.table({"a": pa.array([], pa.int64())}), partition=True)
    assert str(frame["a"].dtype) == "int64"
