"""Reads a journal: what was committed, whatever a crash or a bad disk has left of the file."""

from __future__ import annotations

import json
import mmap
import os
import shutil
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from daskpar import atomic
from daskpar.batches.records import RECORD
from daskpar.errors import RunDirectoryError
from daskpar.outputs.journal_frames import FLUSH, FORMAT, PART_PACK, FrameKind, Frames, find_frames
from daskpar.results import Failure
from daskpar.rows.registry import format_from_json
from daskpar.rows.row_format import RowFormat, Schema
from daskpar.value_classes import frozen

BATCH_RECORDS = 200_000
_READ_WHOLE_BYTES = 256 << 20
"""A longer journal is mapped: it need not fit the memory."""


@frozen(kw_only=True)
class JournalContents:
    """What a journal says. Records are read in batches; those of a long journal stay in the file, which is
    mapped.
    """

    path: Path
    header: dict[str, object] = field(default_factory=dict)
    """Empty when the journal's very start was lost."""
    boots: tuple[str, ...] = ()
    """Boot id of each driver process that wrote here, in order."""
    parts: dict[int, str] = field(default_factory=dict)
    flushes: np.ndarray = field(default_factory=lambda: np.empty(0, FLUSH))
    """`journal_frames.FLUSH` of each flush, in order."""
    places: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Position of each flush's first record in the file."""
    sessions: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Number of the driver process (in `boots`) that wrote each flush."""
    revoked: tuple[tuple[int, np.ndarray], ...] = ()
    """(flushes before it, [[start, stop], ...]) of each revocation."""
    pieces: tuple[tuple[int, dict[str, Any]], ...] = ()
    """(flushes before it, `outputs.pieces.PieceOutcome` as JSON) of each piece of a divided mini-batch."""
    schema: Schema | None = None
    """Of the rows (`rows.row_format`), where the format has one."""
    stop: int = 0
    """End of the whole part."""
    torn_bytes: int = 0
    """Length of the torn tail."""
    damaged: tuple[tuple[int, int], ...] = ()
    """Ranges of bytes in the middle that are no frames; what follows them is used all the same."""
    data: mmap.mmap | bytes = b""

    @property
    def found(self) -> bool:
        """Whether there is a whole frame at all."""
        return self.stop > 0

    @property
    def planned(self) -> int:
        """Mini-batches of the plan; where the journal's head is damaged, as many as it tells of."""
        number = self.header.get("mini_batches")
        if isinstance(number, int):
            return number
        return max((int(records["index"].max(initial=-1)) + 1 for _, _, records in self.batches()), default=0)

    @property
    def next_part(self) -> int:
        """A part number that nothing in the journal uses, not even what names a lost part."""
        used = int(self.flushes["part"].max(initial=0))
        return max(used, max(self.parts, default=0)) + 1

    @property
    def texts(self) -> int:
        """Flushes that carry failure texts."""
        return int(np.count_nonzero(self.flushes["texts"]))

    @property
    def row_format(self) -> RowFormat:
        """The format of the rows; RunDirectoryError for one that is not known."""
        value = self.header.get("row_format")
        return format_from_json(value if isinstance(value, dict) else None, self.schema)

    def records(self, first: int, last: int) -> np.ndarray:
        """The records of flushes [first, last), joined."""
        counts = self.flushes["records"][first:last].astype(np.int64)
        ranks = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return _items_at(
            self.data, RECORD, np.repeat(self.places[first:last], counts) + ranks * RECORD.itemsize
        )

    def batches(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, int, np.ndarray]]:
        """(first flush, last flush, their records) in order, about 200,000 records at a time."""
        last = len(self.flushes) if last is None else last
        totals = np.concatenate(([0], np.cumsum(self.flushes["records"], dtype=np.int64)))
        while first < last:
            stop = int(np.searchsorted(totals, totals[first] + BATCH_RECORDS, "right")) - 1
            stop = min(max(stop, first + 1), last)
            yield first, stop, self.records(first, stop)
            first = stop

    def failures(self, limit: int = 1000) -> list[Failure]:
        """The first `limit` final failures that were put into words, in the order of their commit; replaced
        ones are among them.
        """
        found: list[Failure] = []
        for i in np.flatnonzero(self.flushes["texts"]).tolist():
            start = int(self.places[i]) + int(self.flushes["records"][i]) * RECORD.itemsize
            values = json.loads(self.data[start : start + int(self.flushes["texts"][i])])
            found.extend(Failure(**value, final=True) for value in values)
            if len(found) >= limit:
                break
        return found[:limit]


def read_journal(path: Path | str) -> JournalContents:
    """Everything whole in the journal at `path`; a missing or empty one says nothing.

    Raises RunDirectoryError for one of a newer version.
    """
    path = Path(path)
    with atomic.explained(f"The journal {path} can't be read"):
        data = _content(path)
    frames = find_frames(data)
    if not len(frames.starts):
        return JournalContents(path=path, torn_bytes=len(data))
    return _parse(path, data, frames)


def _content(path: Path) -> mmap.mmap | bytes:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size <= _READ_WHOLE_BYTES:
                return file.read()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        return b""


def _parse(path: Path, data: mmap.mmap | bytes, frames: Frames) -> JournalContents:
    raw = np.frombuffer(data, np.uint8)
    kinds = raw[frames.starts]
    header: dict[str, object] = {}
    boots: list[str] = [""]
    changes: list[int] = []
    parts: dict[int, str] = {}
    revoked: list[tuple[int, np.ndarray]] = []
    pieces: list[tuple[int, dict[str, Any]]] = []
    schema: Schema | None = None
    is_flush = kinds == FrameKind.FLUSH
    before = np.cumsum(is_flush)
    for i in np.flatnonzero(~is_flush).tolist():
        start, kind = int(frames.starts[i]), int(kinds[i])
        body = data[start + 1 : start + int(frames.lengths[i])]
        if kind == FrameKind.PART:
            parts[PART_PACK.unpack_from(data, start)[1]] = body[PART_PACK.size - 1 :].decode()
        elif kind == FrameKind.HEADER:
            header = _checked_header(path, json.loads(body))
            boots[0] = str(header.get("boot", ""))
        elif kind == FrameKind.SESSION:
            boots.append(str(json.loads(body).get("boot", "")))
            changes.append(int(before[i]))
        elif kind == FrameKind.REVOKED:
            revoked.append((int(before[i]), np.frombuffer(body, "<i8").reshape(-1, 2)))
        elif kind == FrameKind.PIECE:
            pieces.append((int(before[i]), json.loads(body)))
        elif kind == FrameKind.SCHEMA:
            schema = tuple(json.loads(body))
    places = frames.starts[is_flush]
    return JournalContents(
        path=path,
        header=header,
        boots=tuple(boots),
        parts=parts,
        flushes=_items_at(data, FLUSH, places),
        places=places + FLUSH.itemsize,
        sessions=np.searchsorted(np.array(changes, np.int64), np.arange(len(places)), "right"),
        revoked=tuple(revoked),
        pieces=tuple(pieces),
        schema=schema,
        stop=frames.stop,
        torn_bytes=len(data) - frames.stop,
        damaged=frames.damaged,
        data=data,
    )


def _items_at(data: mmap.mmap | bytes, kind: np.dtype, positions: np.ndarray) -> np.ndarray:
    """Values of `kind` that lie at any positions of the file."""
    if not len(positions):
        return np.empty(0, kind)
    # A value at every byte, each over the next one: picking some copies just those.
    size = kind.itemsize
    everywhere = np.ndarray((len(data) - size + 1,), np.dtype((np.void, size)), data, strides=(1,))
    picked: np.ndarray = everywhere[positions].view(kind)
    return picked


def _checked_header(path: Path, header: dict[str, object]) -> dict[str, object]:
    number = header.get("format")
    if not isinstance(number, int) or number > FORMAT:
        raise RunDirectoryError(
            f"{path} has format {number}, this daskpar knows formats up to {FORMAT}: "
            "it was written by a newer version. Update daskpar to resume it."
        )
    return header


def has_commits(journal: Path) -> bool:
    """Whether anything of a step's plan is committed."""
    return len(read_journal(journal).flushes) > 0


def copy_whole_frames(path: Path, contents: JournalContents) -> None:
    """Keep the damaged journal as `journal.damaged-N` and put its whole frames in its place."""
    with atomic.writing(path) as fd:
        position = 0
        for start, stop in (*contents.damaged, (contents.stop, contents.stop)):
            while position < start:
                end = min(start, position + atomic.PIECE_BYTES)
                atomic.write_all(fd, contents.data[position:end])
                position = end
            position = stop
        keep_damaged(path)


def keep_damaged(path: Path) -> Path:
    """Give the file at `path` a second name, `journal.damaged-N`, under which it stays."""
    kept = next(
        name for n in range(1, 10_000) if not (name := path.with_name(f"{path.name}.damaged-{n}")).exists()
    )
    try:
        os.link(path, kept)
    except OSError:
        shutil.copyfile(path, kept)  # a file system without hard links
    return kept
