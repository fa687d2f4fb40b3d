"""What became of the pieces of divided mini-batches: kept in the journal, so that a division can go on.

A division begins with the outcome of the whole mini-batch, which has failed; each piece follows as it ends.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from daskpar.batches.records import unpack
from daskpar.masking import hidden
from daskpar.outputs.journal_reader import JournalContents
from daskpar.results import Failure, TryStatus
from daskpar.rows.part_store import PartStore
from daskpar.value_classes import frozen

Span = tuple[int, int]
"""Items [start, stop) of a mini-batch."""
_TRACE_LIMIT = 2000
_TEXT_LIMIT = 500


@frozen(kw_only=True)
class PieceOutcome:
    """How the last try of a piece has ended, and where its rows lie."""

    span: Span
    whole: bool
    """Whether it is the whole mini-batch, before it was divided."""
    record: bytes
    """Its `batches.records.RECORD`; offset and length are those of its rows."""
    part: str = ""
    flush: tuple[int, int, int] = (0, 0, 0)
    """Offset, length and CRC-32 of the bytes in the part that were written together with its rows."""
    failure: Failure | None = None

    @property
    def values(self) -> np.void:
        """The record, unpacked."""
        found: np.void = unpack(self.record)[0]
        return found

    @property
    def index(self) -> int:
        """The mini-batch."""
        return int(self.values["index"])

    @property
    def good(self) -> bool:
        """Whether its rows count."""
        return int(self.values["status"]) != TryStatus.FAILED

    def to_json(self) -> dict[str, object]:
        """For the journal; long texts are cut, and secrets hidden."""
        value: dict[str, object] = {"span": self.span, "record": self.record.hex(), "whole": self.whole}
        if self.part:
            value |= {"part": self.part, "flush": self.flush}
        if self.failure is not None:
            texts = asdict(self.failure)
            for name in ("message", "trace", "items", "log"):
                limit = _TRACE_LIMIT if name == "trace" else _TEXT_LIMIT
                texts[name] = hidden(texts[name])[:limit]
            value["failure"] = texts
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PieceOutcome:
        """What `to_json` has written."""
        failure = value.get("failure")
        start, stop = value["span"]
        return cls(
            span=(start, stop),
            whole=value["whole"],
            record=bytes.fromhex(value["record"]),
            part=value.get("part", ""),
            flush=tuple(value.get("flush", (0, 0, 0))),
            failure=None if failure is None else Failure(**failure),
        )


class Divided:
    """The outcomes of the pieces of all mini-batches that were divided, by mini-batch."""

    def __init__(self) -> None:
        self._of: dict[int, dict[Span, PieceOutcome]] = {}

    @classmethod
    def load(cls, contents: JournalContents) -> Divided:
        """What a journal says, without mini-batches whose rows were gone afterwards."""
        divided = cls()
        changes = [(before, PieceOutcome.from_json(value)) for before, value in contents.pieces]
        revoked = list(contents.revoked)
        for before, outcome in changes:
            while revoked and revoked[0][0] <= before:
                divided.forget(revoked.pop(0)[1].tolist())
            divided.add(outcome)
        for _, ranges in revoked:
            divided.forget(ranges.tolist())
        return divided

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._of))

    def __contains__(self, index: int) -> bool:
        return index in self._of

    def add(self, outcome: PieceOutcome) -> None:
        """A piece has ended. A whole mini-batch that has failed begins anew."""
        if outcome.whole:
            self._of[outcome.index] = {}
        self._of.setdefault(outcome.index, {})[outcome.span] = outcome

    def forget(self, ranges: Sequence[Sequence[int]]) -> None:
        """The mini-batches [start, stop) are run again as a whole."""
        for index in list(self._of):
            if any(start <= index < stop for start, stop in ranges):
                del self._of[index]

    def whole(self, index: int) -> PieceOutcome | None:
        """How the whole mini-batch has ended, before it was divided."""
        return next((found for found in self._of.get(index, {}).values() if found.whole), None)

    def outcomes(self, index: int) -> dict[Span, PieceOutcome]:
        """Of the pieces of a mini-batch, without the whole."""
        return {span: found for span, found in self._of.get(index, {}).items() if not found.whole}

    def failed_alone(self, index: int) -> list[PieceOutcome]:
        """The items that failed when they were run alone, in order."""
        found = self.outcomes(index).items()
        return [outcome for (start, stop), outcome in sorted(found) if stop - start == 1 and not outcome.good]


def rows_of(outcome: PieceOutcome, store: PartStore) -> bytes | None:
    """The rows of a piece; None where they are no longer what was written."""
    record = outcome.values
    at, length = int(record["offset"]), int(record["length"])
    if not length:
        return b""
    offset, size, crc = outcome.flush
    try:
        part = store.open(outcome.part)
    except FileNotFoundError:
        return None
    try:
        pieces, place, left = [], offset, size
        while left and (data := part.read(place, left)):
            pieces.append(data)
            place, left = place + len(data), left - len(data)
    finally:
        part.close()
    found = b"".join(pieces)
    if len(found) != size or zlib.crc32(found) != crc or not offset <= at <= at + length <= offset + size:
        return None
    return found[at - offset : at - offset + length]
