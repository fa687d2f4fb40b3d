"""The table as a plain value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.table import Table

MakeTable = Callable[..., Path]


def test_keys_that_come_from_paths(make_table: MakeTable) -> None:
    form = {"extract_columns_from_partition_format": {"partition_format": "/{store}/{name}.csv"}}
    convert = {"convert_column_types": [{"columns": "store", "column_type": "string"}]}
    table = open_mltable(
        str(make_table({"1/a.csv": "v\n1\n", "2/b.csv": "v\n2\n"}, form, "read_delimited", convert))
    )
    assert isinstance(table, Table)
    keys = table.path_keys(["store"])
    assert keys is not None and keys.column("store").to_pylist() == ["1", "2"]
    assert table.path_keys(["store", "v"]) is None
