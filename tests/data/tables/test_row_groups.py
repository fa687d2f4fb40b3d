"""Row groups of Parquet, whatever they are: each piece is read as pyarrow has its rows, in any order of asking."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskpar.data import arrow_memory
from daskpar.data.columns.buffers import empty_table
from daskpar.data.formats import parquet
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables import table_reader
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.data.tables.frame_slices import to_frame
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader

MakeTable = Callable[..., Path]
COLUMNS = {
    "n": st.none() | st.integers(-9, 9),
    "x": st.none() | st.floats(allow_nan=False),
    "text": st.none() | st.sampled_from(["", "a", "é"]),
    "flag": st.none() | st.booleans(),
    "list": st.none() | st.lists(st.integers(0, 3), max_size=2),
    "kind": st.sampled_from(["u", "v"]),
}
TYPES = pa.schema(
    [
        *(("n", pa.int64()), ("x", pa.float64()), ("text", pa.string()), ("flag", pa.bool_())),
        *(("list", pa.list_(pa.int64())), ("kind", pa.dictionary(pa.int32(), pa.string()))),
    ]
)
GROUPS = st.lists(st.lists(st.fixed_dictionaries(COLUMNS), max_size=9), max_size=7)


@pytest.mark.parametrize("wide", [False, True])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=GROUPS, per_piece=st.integers(1, 400), data=st.data())
def test_pieces_are_the_rows_of_the_file(make_table: MakeTable, monkeypatch, wide, groups, per_piece, data):
    """`wide`: as for thousands of columns. A window of few bytes decodes a row group a part at a time."""
    for module, name, value in (
        (table_reader, "MANY_COLUMNS", 1 if wide else 1000),
        (arrow_memory, "MANY_COLUMNS", 1 if wide else 1000),
        (parquet, "WINDOW", data.draw(st.sampled_from([1, 1 << 20]))),
    ):
        monkeypatch.setattr(module, name, value)
    folder = make_table({"d.parquet": b""}, "read_parquet")
    with pq.ParquetWriter(folder / "d.parquet", TYPES) as writer:
        for rows in groups:
            writer.write_table(pa.Table.from_pylist(rows, TYPES))
    table = open_mltable(str(folder))
    assert isinstance(table, Table)
    expected = pq.read_table(folder / "d.parquet").cast(table.schema)
    pieces = cut_into_pieces(table, per_piece)
    assert pieces["stop"].tolist() == [
        *pieces["start"][1:].tolist(),
        *([len(expected)] if len(expected) else []),
    ]
    reader = TableReader(table, pieces)
    asked = data.draw(st.permutations(range(len(pieces))) | st.just(list(range(len(pieces)))))
    for i in asked:
        reader.expect(i, data.draw(st.integers(i + 1, len(pieces))))
        own = expected.slice(int(pieces["start"][i]), int(pieces["stop"][i] - pieces["start"][i]))
        found = reader.frame(i)
        assert found.equals(to_frame(own, len(own)))
        assert found.dtypes.equals(to_frame(own, len(own)).dtypes)
        assert reader.arrow(i).to_pylist() == own.to_pylist()
    reader.close()


def test_thousands_of_columns_are_planned_without_pandas(make_table: MakeTable) -> None:
    """To load it takes the driver as long as all else."""
    random, rows = np.random.default_rng(0), 400
    wide = pa.table(
        {f"x{n}": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.1) for n in range(1500)}
    )
    wide = wide.append_column("id", pa.array(range(rows)))
    folder = make_table({"d.parquet": b""}, "read_parquet")
    pq.write_table(wide, folder / "d.parquet", row_group_size=100)
    text = make_table(
        {"d.csv": wide.slice(0, 60).to_pandas().to_csv(index=False)}, "read_delimited", name="text"
    )
    plan = (
        "import sys\n"
        "from daskpar.data.mltable.open import open_mltable\n"
        "from daskpar.data.tables.cutting import cut_into_pieces\n"
        "for folder in sys.argv[1:]:\n"
        "    table = open_mltable(folder)\n"
        "    print(len(table.schema), len(cut_into_pieces(table, 100_000)) > 1, 'pandas' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", plan, folder, text], capture_output=True, text=True, check=True
    )
    assert said.stdout.split("\n")[:2] == ["1501 True False"] * 2


def test_an_empty_table_has_its_columns_and_joins_others() -> None:
    empty = empty_table(TYPES)
    assert (empty.num_rows, empty.schema) == (0, TYPES)
    row = pa.Table.from_pylist([{"n": 1, "kind": "u"}], TYPES)
    assert pa.concat_tables([empty, row, empty]).to_pylist() == row.to_pylist()


@pytest.mark.skipif("mimalloc" not in pa.supported_memory_backends(), reason="this Arrow has no mimalloc")
def test_wide_tables_are_read_from_arrows_own_pool_and_the_usual_one_comes_back(monkeypatch) -> None:
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)

    def pool() -> str:
        return pa.default_memory_pool().backend_name

    usual = pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        with arrow_memory.for_columns(5000):
            with arrow_memory.for_columns(5000):
                assert pool() == "mimalloc"
            assert pool() == "mimalloc"
        assert pool() == "system"
        with arrow_memory.for_columns(10):
            assert pool() == "system"
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
        with arrow_memory.for_columns(5000):
            assert pool() == "system"
    finally:
        pa.set_memory_pool(getattr(pa, f"{usual}_memory_pool")())
