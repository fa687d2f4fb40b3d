"""Failed rows as Parquet: whatever kinds of values they have, the next run can read them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskpar.data.columns.special_types import any_field
from daskpar.outputs.failed_rows import FailedRows

TEXT = pa.string()


@pytest.mark.parametrize(
    ("mini_batches", "kind"),
    [
        ([[[1], [2, 3]], [[], None]], pa.list_(pa.int64())),
        ([[{"x": 1}], [{"x": 2}, None]], pa.struct({"x": pa.int64()})),
        # A struct of other fields could be cast, and would lose its own.
        ([[{"x": 1}], [{"y": "s"}]], TEXT),
        ([[{"x": 1}], ["a", [1]]], TEXT),
        ([["a", 1], [{"x": 1}]], TEXT),
        ([[[1]], [[1.5]]], TEXT),
        # Parquet has no struct without fields.
        ([[{}], [{}]], TEXT),
        ([[[{}]]], TEXT),
        ([[None], [{"x": {"y": [2**70]}}]], TEXT),
    ],
)
def test_values_of_any_kind_have_one_type_in_all_files(tmp_path: Path, mini_batches, kind):
    rows = FailedRows(tmp_path / "rows")
    field = any_field("any")
    for values in mini_batches:
        texts = [None if value is None else json.dumps(value) for value in values]
        rows.add(pa.table({"any": pa.array(texts, TEXT)}, schema=pa.schema([field])))
    rows.close()
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["part-00000.parquet"]
    found = pq.read_table(tmp_path / "rows" / "part-00000.parquet").column("any")
    wanted = [value for values in mini_batches for value in values]
    read = found.to_pylist()
    if kind == TEXT:
        read = [None if text is None else json.loads(text) for text in read]
    assert read == wanted
    assert str(found.type).replace("element", "item") == str(kind)
