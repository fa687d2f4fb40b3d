"""What a processor says of rows that it has written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.processor.protocol import Flushed
from daskpar.rows.part_store import PartWriter
from daskpar.rows.row_format import Schema

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
