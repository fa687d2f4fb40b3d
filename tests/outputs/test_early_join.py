"""Rows that are joined to the output while their step runs: the bytes of a join at the end, whatever happens on the way."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.errors import RowsDamaged
from daskpar.outputs import early_copy as module
from daskpar.outputs.assembly import Assembled, assemble
from daskpar.outputs.early_copy import NAME, EarlyCopy, remove_stale
from daskpar.outputs.ledger import Ledger
from daskpar.rows import parquet_file
from daskpar.rows.csv_format import CsvFormat
from daskpar.rows.json_lines_format import JsonLinesFormat
from daskpar.rows.parquet_format import ParquetFormat
from daskpar.rows.row_format import RowFormat

SAME, UNION = ParquetFormat(), ParquetFormat(columns="union")


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests look themselves, and row groups are small."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 5)


def commit(ledger: Ledger, processors: Any, returned: dict[int, Any], part: str = "a") -> None:
    """A new processor returns these, and flushes once."""
    encoder = ledger.row_format.encoder()
    for index, value in returned.items():
        encoder.add(value, index)
    data, lengths = encoder.take()
    ends = itertools.accumulate(lengths)
    rows = {index: data[end - size : end] for index, size, end in zip(returned, lengths, ends, strict=True)}
    ledger.commit(processors.flush(rows, part=part, schema=encoder.schema))


def end(ledger: Ledger, out: Path, early_copy: EarlyCopy | None = None) -> Assembled:
    return assemble(
        ledger.commits,
        ledger.store,
        str(out),
        row_format=ledger.row_format,
        schema=ledger.schema,
        start=early_copy.take() if early_copy is not None else None,
    )


def left(step: Path) -> list[str]:
    return sorted(path.name for path in step.iterdir() if path.name not in ("parts", "journal"))


ROW = st.builds(lambda n, t: {"n": n, "t": t}, st.sampled_from([None, 1]), st.sampled_from(["é", None]))
VALUES = st.lists(st.lists(ROW, max_size=4), min_size=8, max_size=8)
NAMES = st.lists(st.lists(st.sampled_from("abcd"), unique=True, min_size=1), min_size=8, max_size=8)
ANYHOW = (st.permutations(range(8)), st.lists(st.integers(0, 7), max_size=6), VALUES, NAMES)


@pytest.mark.parametrize("row_format", [SAME, UNION, CsvFormat("union"), JsonLinesFormat("union")])
@given(*ANYHOW)
@settings(max_examples=12, deadline=None)
def test_the_bytes_are_those_of_a_join_at_the_end(
    tmp_path_factory: pytest.TempPathFactory,
    processors_in: Any,
    row_format: RowFormat,
    order: list[int],
    looks: list[int],
    values: list[list[dict[str, Any]]],
    names: list[list[str]],
) -> None:
    if row_format != SAME:
        values = [
            [dict.fromkeys(own, number) for _ in rows]
            for number, (own, rows) in enumerate(zip(names, values, strict=True))
        ]
    step = tmp_path_factory.mktemp("step")
    ledger = Ledger.open(step, 8, row_format=row_format)
    processors = processors_in(step)
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        for place, index in enumerate(order):
            commit(ledger, processors, {index: values[index]}, part=f"p{index % 2}")
            for _ in range(looks.count(place)):
                early_copy.advance()
        early = end(ledger, step / "out", early_copy)
    whole = end(ledger, step / "whole")
    ledger.close()
    assert (step / "out").read_bytes() == (step / "whole").read_bytes()
    assert early.size_bytes == whole.size_bytes == (step / "out").stat().st_size
    assert left(step) == ["out", "whole"]


def test_full_row_groups_are_in_the_file_before_the_end(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 3, row_format=SAME)
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        commit(ledger, processors, {0: [{"n": number} for number in range(12)]})
        assert early_copy.advance() and not early_copy.advance()
        early = (step / NAME).read_bytes()
        commit(ledger, processors, {1: [{"n": 12}], 2: []})
        end(ledger, step / "out", early_copy)
    data = (step / "out").read_bytes()
    assert data.startswith(early) and len(early) > 100
    found = pq.ParquetFile(step / "out")
    assert [found.metadata.row_group(n).num_rows for n in range(3)] == [5, 5, 3]
    assert found.read()["n"].to_pylist() == list(range(13))


def test_a_driver_that_is_killed_between_two_looks_leaves_nothing_that_counts(
    step: Path, processors: Any
) -> None:
    rows = {index: [{"n": index * 10 + at} for at in range(4)] for index in range(4)}
    ledger = Ledger.open(step, 4, row_format=SAME)
    killed = EarlyCopy(ledger, step, str(step / "out"))
    for index in (0, 1):
        commit(ledger, processors, {index: rows[index]})
        assert killed.advance()
    ledger.close()
    assert left(step) == [NAME]
    ledger = Ledger.open(step, 4, row_format=SAME)  # another driver
    remove_stale(step)
    early_copy = EarlyCopy(ledger, step, str(step / "out"))  # without its thread: we look ourselves
    assert early_copy.advance()
    commit(ledger, processors, {3: rows[3], 2: rows[2]}, part="b")
    assert early_copy.advance()
    end(ledger, step / "out", early_copy)
    ledger.close()
    assert pq.read_table(step / "out").to_pylist() == [
        row for _, of_one in sorted(rows.items()) for row in of_one
    ]
    shutil.copy(step / "out", step.parent / "kept")
    ledger = Ledger.open(step, 4, row_format=SAME)
    end(ledger, step / "out")
    assert (step / "out").read_bytes() == (step.parent / "kept").read_bytes()


@pytest.mark.parametrize("moment", ["before the early join", "after it", "after it, and joined anew"])
def test_rows_that_are_damaged_below_what_is_joined(step: Path, processors: Any, moment: str) -> None:
    ledger = Ledger.open(step, 3, row_format=SAME)
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        commit(ledger, processors, {0: [{"n": 0}]}, part="a")
        commit(ledger, processors, {1: [{"n": 1}] * 6}, part="b")
        if moment != "before the early join":
            assert early_copy.advance()
        with open(step / "parts" / "a", "r+b") as file:
            file.seek(20)
            file.write(b"changed")
        if moment == "before the early join":
            with pytest.raises(RowsDamaged):
                early_copy.advance()
            early_copy._give_up()  # as its thread does
        commit(ledger, processors, {2: [{"n": None if "anew" in moment else 2}]}, part="c")
        if moment == "after it":
            end(ledger, step / "out", early_copy)  # what was checked on its way is right
        else:
            if "anew" in moment:  # rows of another schema, and what is in the parts counts again
                commit_wider(ledger)
            with pytest.raises(RowsDamaged):
                end(ledger, step / "out", early_copy)
            assert ledger.revoke_damaged().ranges == [(0, 1)]
            commit(ledger, processors, {0: [{"n": 0}]}, part="d")
            end(ledger, step / "out")
    numbers = pq.read_table(step / "out")["n"].to_pylist()
    assert numbers == [0, *[1] * 6, None if "anew" in moment else 2] and left(step) == ["out"]


def commit_wider(ledger: Ledger) -> None:
    """As if one of the rows had nulls among whole numbers, which pandas is told of."""
    encoder = ledger.row_format.encoder()
    encoder.add([{"n": None}, {"n": 1}], 2)
    assert ledger.schema is not None and encoder.schema is not None
    ledger.schema = ledger.row_format.agreed(ledger.schema, encoder.schema, "Mini-batch 2")


def test_rows_of_a_wider_schema_begin_it_anew(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 4, row_format=SAME)
    narrow = [pa.table({"n": pa.array([index] * 6, pa.int8())}) for index in range(2)]
    early_copy = EarlyCopy(ledger, step, str(step / "out"))  # without its thread: we look ourselves
    commit(ledger, processors, dict(enumerate(narrow)))
    assert early_copy.advance()
    commit(ledger, processors, {2: pa.table({"n": pa.array([2**40], pa.int64())})})
    assert early_copy.advance() and left(step) == []
    assert early_copy.advance() and not early_copy.advance()
    assert (step / NAME).exists() and early_copy._thrown_away > 0
    commit(ledger, processors, {3: pa.table({"n": pa.array([3], pa.int16())})})  # fits
    assert early_copy.advance()
    start = early_copy._start
    assert start is not None and start.mini_batches == 4
    ino = os.fstat(start.fd).st_ino
    end(ledger, step / "out", early_copy)
    assert (step / "out").stat().st_ino == ino
    found = pq.read_table(step / "out")
    assert found.schema.field("n").type == pa.int64() and found["n"].to_pylist() == [
        *[0] * 6,
        *[1] * 6,
        2**40,
        3,
    ]


def test_a_wider_schema_at_the_very_end_is_in_the_output(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 2, row_format=UNION)
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        commit(ledger, processors, {0: [{"a": 1}]})
        assert early_copy.advance()
        commit(ledger, processors, {1: [{"b": 2}]})
        end(ledger, step / "out", early_copy)
    assert pq.read_table(step / "out").to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": 2}]
    assert left(step) == ["out"]


def test_a_schema_that_changes_all_the_time_is_joined_a_few_times_at_most(
    step: Path, processors: Any
) -> None:
    ledger = Ledger.open(step, 60, row_format=UNION)
    read = 0
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        for index in range(60):
            commit(ledger, processors, {index: [{f"c{index}": index}]})
            while early_copy.advance():
                pass
        read = early_copy._thrown_away
        end(ledger, step / "out", early_copy)
    assert 0 < read <= 2 * ledger.commits.size_bytes
    assert pq.read_table(step / "out").num_columns == 60


def test_a_format_that_has_no_joiner_is_joined_at_the_end(step: Path, processors: Any) -> None:
    class Plain(ParquetFormat):
        def joiner(self, schema: Any) -> None:  # type: ignore[override]
            return None

    ledger = Ledger.open(step, 1, row_format=Plain())
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        commit(ledger, processors, {0: [{"n": 1}]})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "LOOK_SECONDS", 0.0)
            early_copy._copy_until_the_end()
        assert left(step) == []
        end(ledger, step / "out", early_copy)
    assert pq.read_table(step / "out").to_pylist() == [{"n": 1}]
