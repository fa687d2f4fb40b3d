"""The seam of row formats: a format of another kind goes through the same ledger and output."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskpar.errors import JobFailed, RunDirectoryError
from daskpar.outputs.assembly import assemble
from daskpar.outputs.early_copy import EarlyCopy
from daskpar.outputs.journal_reader import read_journal
from daskpar.outputs.ledger import Ledger
from daskpar.rows import registry
from daskpar.rows.row_format import RowFormat, Schema
from daskpar.rows.text_format import TextFormat


@dataclass(frozen=True)
class ParquetFormat(RowFormat):
    """Each mini-batch's rows are a Parquet file, and a row group of the output."""

    name = "parquet"
    concatenated = False
    compression: str = "snappy"

    @classmethod
    def for_step(cls, step: Any) -> ParquetFormat:
        return cls()

    def encoder(self) -> ParquetEncoder:
        return ParquetEncoder()

    @property
    def needs_schema(self) -> bool:
        return True

    def join(self, ranges: Iterator[bytes], schema: Schema | None) -> Iterator[bytes]:
        assert schema is not None
        sink = Sink()
        with pq.ParquetWriter(sink, arrow_schema(schema), compression=self.compression) as writer:
            for data in ranges:
                writer.write_table(pq.read_table(io.BytesIO(data)))
                yield sink.taken()
        yield sink.taken()

    def agreed(self, known: Schema, found: Schema, returned_by: str) -> Schema:
        if not arrow_schema(known).equals(arrow_schema(found)):
            raise JobFailed(f"{returned_by} returned other columns")
        return known

    def check_name(self, target: str) -> None:
        pass


class ParquetEncoder:
    """Of one processor."""

    def __init__(self) -> None:
        self.schema: Schema | None = None
        self._files: list[bytes] = []

    @property
    def size_estimate(self) -> int:
        return sum(map(len, self._files))

    def add(self, returned: pd.DataFrame) -> int:
        table, sink = pa.Table.from_pandas(returned, preserve_index=False), io.BytesIO()
        pq.write_table(table, sink)
        self.schema = (base64.b64encode(table.schema.serialize().to_pybytes()).decode(),)
        self._files.append(sink.getvalue())
        return len(returned)

    def take(self) -> tuple[bytes, list[int]]:
        files, self._files = self._files, []
        return b"".join(files), [len(data) for data in files]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line in the table of formats."""
    monkeypatch.setitem(registry.FORMATS, "parquet", ParquetFormat)


def arrow_schema(schema: Schema) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema[0])))


class Sink(io.BytesIO):
    """Gives what was written since it was asked last."""

    given = 0

    def taken(self) -> bytes:
        data = self.getvalue()[self.given :]
        self.given += len(data)
        return data


def returned(ledger: Ledger, flush: Any, frames: dict[int, pd.DataFrame]) -> None:
    """These frames are returned in a new processor, and committed."""
    encoder = ledger.row_format.encoder()
    for made in frames.values():
        encoder.add(made)
    data, lengths = encoder.take()
    ends = itertools.accumulate(lengths)
    rows = {index: data[end - length : end] for index, end, length in zip(frames, ends, lengths, strict=True)}
    ledger.commit(flush(ledger.store.writer("p"), rows, encoder.schema))


def frame(index: int) -> pd.DataFrame:
    return pd.DataFrame({"index": [index] * (index + 1), "text": [f"of {index}"] * (index + 1)})


@pytest.mark.parametrize("target", ["out.parquet", "memory://bucket/out.parquet"])
def test_a_format_with_a_footer_joins_its_ranges_in_mini_batch_order(
    tmp_path: Path, flush: Any, target: str
) -> None:
    ledger = Ledger.open(tmp_path, 4, row_format=ParquetFormat())
    returned(ledger, flush, {3: frame(3)})
    returned(ledger, flush, {0: frame(0), 1: frame(1)})
    ledger.close()
    ledger = Ledger.open(tmp_path, 4, row_format=ParquetFormat())
    returned(ledger, flush, {2: frame(2), 3: frame(0)})  # 3 is committed already
    place = target if "://" in target else str(tmp_path / target)
    with EarlyCopy(ledger, tmp_path, place) as early_copy:
        start = early_copy.take()
        assert start is None  # nothing to copy ahead of the end
        done = assemble(
            ledger.commits,
            ledger.store,
            place,
            row_format=ledger.row_format,
            schema=ledger.schema,
            start=start,
        )
    ledger.close()
    data = fsspec.open(place).open().read()
    found = pq.ParquetFile(io.BytesIO(data))
    assert found.num_row_groups == 4 and done.size_bytes == len(data)
    assert found.read().to_pandas().equals(pd.concat([frame(n) for n in range(4)], ignore_index=True))


def test_other_schemas_are_for_the_format_to_judge(tmp_path: Path, flush: Any) -> None:
    ledger = Ledger.open(tmp_path, 2, row_format=ParquetFormat())
    returned(ledger, flush, {0: frame(0)})
    with pytest.raises(JobFailed, match="Mini-batch 1 returned other columns"):
        returned(ledger, flush, {1: frame(1).rename(columns={"text": "other"})})
    ledger.close()


def test_the_journal_says_which_format_its_rows_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(tmp_path / "parquet", 2, row_format=ParquetFormat(compression="zstd"))
    ledger.close()
    contents = read_journal(tmp_path / "parquet" / "journal")
    assert contents.row_format == ParquetFormat(compression="zstd")
    with pytest.raises(RunDirectoryError, match="in the format 'parquet', and 'text' is asked for"):
        Ledger.open(tmp_path / "parquet", 2)
    monkeypatch.delitem(registry.FORMATS, "parquet")
    with pytest.raises(RunDirectoryError, match="format 'parquet', which this daskpar does not know"):
        _ = contents.row_format
    for header in (True, False):
        Ledger.open(tmp_path / f"text {header}", 2, row_format=TextFormat(header=header)).close()
        found = read_journal(tmp_path / f"text {header}" / "journal").row_format
        assert found == TextFormat(header=header)


def test_a_journal_from_before_there_were_formats_is_text() -> None:
    assert registry.format_from_json(None, None) == TextFormat(header=False)
    assert registry.format_from_json(None, ("a",)) == TextFormat(header=True)
