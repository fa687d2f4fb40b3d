"""A step folder whose part files really hold the rows that are committed, and a disk that fails on demand."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.processor.protocol import Flushed
from daskpar.results import Failure, TryStatus


@dataclass
class Processors:
    """Stands for the processors of a step: writes rows to part files as they do and makes the messages that report them."""

    folder: Path
    written: dict[str, int] = field(default_factory=dict)

    def flush(
        self,
        rows: dict[int, bytes],
        *,
        part: str = "a.rows",
        failed: Sequence[int] = (),
        retried: Sequence[int] = (),
        schema: tuple[str, ...] | None = None,
    ) -> Flushed:
        """Mini-batch -> its rows. Those of `failed` end as failures, those of `retried` are failed tries that go back to the queue."""
        parts = self.folder / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        records = np.zeros(len(rows), RECORD)
        begin = position = self.written.get(part, 0)
        for record, (index, text) in zip(records, rows.items(), strict=True):
            bad = index in failed or index in retried
            record["index"], record["items"], record["failed_items"] = index, 2, 2 * bad
            record["offset"], record["length"] = position, len(text)
            record["status"] = TryStatus.FAILED if bad else TryStatus.SUCCEEDED
            record["final"] = index not in retried
            position += len(text)
        data = b"".join(rows.values())
        with open(parts / part, "ab") as file:
            file.write(data)
        self.written[part] = position
        return Flushed(
            block=1,
            token="t",
            part=part if data else "",
            offset=begin,
            length=len(data),
            crc=zlib.crc32(data),
            records=records.tobytes(),
            failures=tuple(
                Failure(index=index, reason=1, message=f"no luck with {index}", trace="trace", final=True)
                for index in failed
            ),
            schema=schema,
        )


@pytest.fixture
def step(tmp_path: Path) -> Path:
    folder = tmp_path / "step"
    folder.mkdir()
    return folder


@pytest.fixture
def processors(step: Path) -> Processors:
    return Processors(step)


@pytest.fixture(scope="session")
def processors_in() -> type[Processors]:
    """For tests that make their own step folders."""
    return Processors
