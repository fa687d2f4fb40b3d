"""What a processor says of rows that it has written, and what becomes of returned values without a ledger."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.processor.protocol import Flushed
from daskpar.rows.part_store import PartWriter
from daskpar.rows.row_format import RowEncoder, RowFormat, Schema

Flush = Callable[..., Flushed]


def flush_rows(writer: PartWriter, rows: dict[int, bytes], schema: Schema | None = None) -> Flushed:
    """Append the rows of these mini-batches to one part, and the message about them."""
    data = b"".join(rows.values())
    offset, crc, carried = writer.append(data)
    records, position = np.zeros(len(rows), RECORD), offset
    for record, (index, text) in zip(records, rows.items(), strict=True):
        record["index"], record["items"], record["status"], record["final"] = index, 1, 1, 1
        record["offset"], record["length"] = position, len(text)
        position += len(text)
    return Flushed(
        block=1,
        token="t",
        part=writer.name,
        offset=offset,
        length=len(data),
        crc=crc,
        records=records.tobytes(),
        schema=schema,
        carried=carried,
    )


@pytest.fixture
def flush() -> Flush:
    return flush_rows


@dataclass
class Processors:
    """What several processors make of returned values, and the output of all that they flushed."""

    row_format: RowFormat
    encoders: dict[int, RowEncoder] = field(default_factory=dict)
    schema: Schema | None = None
    ranges: dict[int, bytes] = field(default_factory=dict)

    def returned(self, values: dict[int, Any], processor: int = 0) -> None:
        """A processor returns these, flushes once, and the driver takes it."""
        encoder = self.encoders.setdefault(processor, self.row_format.encoder())
        for index, value in values.items():
            encoder.add(value, index)
        data, lengths = encoder.take()
        assert sum(lengths) == len(data)
        for index, length, end in zip(values, lengths, itertools.accumulate(lengths), strict=True):
            self.ranges[index] = data[end - length : end]
        if (found := encoder.schema) is not None:
            self.schema = self.row_format.agreed(self.schema or found, found, "Mini-batch ?")

    def output(self) -> bytes:
        """The whole file."""
        ranges = [data for _, data in sorted(self.ranges.items()) if data]
        if self.row_format.concatenated:
            return self.row_format.head(self.schema) + b"".join(ranges)
        return b"".join(self.row_format.join(iter(ranges), self.schema))


@pytest.fixture(scope="session")
def output_of() -> Callable[..., bytes]:
    """The output of returned values; `cuts`: the mini-batches after which a processor flushes, and another goes on."""

    def output(
        row_format: RowFormat, values: list[Any], cuts: Sequence[int] = (), *, backwards: bool = False
    ) -> bytes:
        made = Processors(row_format)
        bounds = [0, *sorted(set(cuts)), len(values)]
        blocks = [dict(enumerate(values[a:b], a)) for a, b in itertools.pairwise(bounds)]
        for number, block in enumerate(reversed(blocks) if backwards else blocks):
            made.returned(block, processor=number % 2)
        return made.output()

    return output
