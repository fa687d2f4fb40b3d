"""The journal of a step: an append-only file of which mini-batches are done and where their rows lie.

Frames are appended whole and synced in groups by a thread of its own, so a commit costs its caller one write.
Whatever a crash leaves of the file's end, every whole frame counts and the rest is cut off when the journal
is opened again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from daskpar import atomic
from daskpar.batches.records import RECORD
from daskpar.errors import DaskparError, InfrastructureLost
from daskpar.masking import hidden
from daskpar.outputs.journal_frames import FLUSH_PACK, FORMAT, PART_PACK, FrameKind, frame
from daskpar.outputs.journal_reader import JournalContents, copy_whole_frames
from daskpar.processor.protocol import Flushed
from daskpar.results import Failure
from daskpar.rows.row_format import Schema
from daskpar.rundir.boot import boot_id

SYNC_SECONDS = 1.0
MESSAGES_KEPT = 10_000
"""Final failures whose message is kept; later ones have their record alone."""
TRACES_KEPT = 100
_TEXT_LIMITS = {"message": 500, "trace": 8000, "items": 500, "log": 500}


class Journal:
    """Appends to one journal, in one process; its methods may be called from any thread."""

    def __init__(
        self, path: Path, fd: int, *, parts: dict[str, int], next_part: int = 1, failures: int = 0
    ) -> None:
        self.path = path
        self._fd = fd
        self._size = os.lseek(fd, 0, os.SEEK_END)
        self._parts = parts
        self._next_part = next_part
        self._failures = failures
        self._lock = threading.Lock()
        self._broken: DaskparError | None = None
        self._unsynced = False
        self._closing = threading.Event()
        self._syncer = threading.Thread(target=self._sync_in_groups, name="daskpar-journal", daemon=True)
        self._syncer.start()

    @classmethod
    def create(
        cls, path: Path, *, step: str, mini_batches: int, row_format: Mapping[str, object] | None = None
    ) -> Journal:
        """A new journal at `path`, which appears whole; an old one there is replaced.

        `row_format` is that of the rows (`RowFormat.to_json`).
        """
        header = {"format": FORMAT, "step": step, "mini_batches": mini_batches, "row_format": row_format}
        header |= {"boot": boot_id(), "created": time.time()}
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.replace_file(path, frame(bytes([FrameKind.HEADER]) + json.dumps(header).encode()))
        return cls(path, _open(path), parts={})

    @classmethod
    def reopen(
        cls, path: Path, contents: JournalContents, revoked: Sequence[tuple[int, int]] = ()
    ) -> Journal:
        """Go on with the journal that `contents` was read from, without the mini-batches `revoked`.

        The torn tail is cut off; of a damaged file the whole frames stay and the original is kept beside it
        as `journal.damaged-N`.
        """
        with atomic.explained(f"{path} can't be written"):
            if contents.damaged:
                copy_whole_frames(path, contents)
            else:
                os.truncate(path, contents.stop)
            parts = {name: number for number, name in contents.parts.items()}
            journal = cls(
                path, _open(path), parts=parts, next_part=contents.next_part, failures=contents.texts
            )
        # In this order and in one write: a session of this boot says that all before it was checked.
        session = frame(
            bytes([FrameKind.SESSION]) + json.dumps({"boot": boot_id(), "time": time.time()}).encode()
        )
        journal._write((_revocation(revoked) if revoked else b"") + session)
        return journal

    def append(self, flushed: Flushed, accepted: np.ndarray | None = None) -> None:
        """Commit the records of `flushed` (those where `accepted` is true); they count once this returns.

        Raises InfrastructureLost when the disk is full, read-only or failing: nothing of `flushed` is then
        committed.
        """
        records, texts = self._kept(flushed, accepted)
        with self._lock:
            head = b""
            # A part is named once, in the same write as its first flush: neither is there without the other.
            number = self._parts.get(flushed.part, 0) if flushed.part else 0
            if flushed.part and not number:
                number = self._next_part
                head = frame(PART_PACK.pack(FrameKind.PART, number) + flushed.part.encode())
            fixed = FLUSH_PACK.pack(
                FrameKind.FLUSH,
                number,
                flushed.offset,
                flushed.length,
                flushed.crc,
                len(records) // RECORD.itemsize,
                len(texts),
            )
            self._write_locked(head + frame(b"".join((fixed, records, texts))))
            if head:
                self._parts[flushed.part] = number
                self._next_part += 1

    def add_schema(self, schema: Schema) -> None:
        """Remember what the rows do not say themselves; replaces what was remembered before."""
        self._write(frame(bytes([FrameKind.SCHEMA]) + json.dumps(list(schema)).encode()))

    def add_piece(self, outcome: Mapping[str, object]) -> None:
        """A piece of a divided mini-batch has ended (`outputs.pieces.PieceOutcome.to_json`)."""
        self._write(frame(bytes([FrameKind.PIECE]) + json.dumps(outcome).encode()))

    def revoke(self, ranges: Sequence[tuple[int, int]]) -> None:
        """The mini-batches [start, stop) are as if never committed: their rows turned out to be gone."""
        self._write(_revocation(ranges))

    def sync(self) -> None:
        """Wait until everything appended is on the disk; raises InfrastructureLost when it can't be."""
        with atomic.explained(f"{self.path} can't be synced"):
            self._sync_now()

    def close(self) -> None:
        """Sync and close; may be called twice. Raises InfrastructureLost when what was appended is not
        certainly on the disk.
        """
        self._closing.set()
        if self._syncer is not threading.current_thread():
            self._syncer.join()
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd < 0:
                return
            try:
                with atomic.explained(f"{self.path} can't be synced"):
                    if self._unsynced:
                        _sync(fd)
            finally:
                os.close(fd)
        if self._broken is not None:
            raise self._broken

    def _kept(self, flushed: Flushed, accepted: np.ndarray | None) -> tuple[bytes, bytes]:
        records, failures = flushed.records, [failure for failure in flushed.failures if failure.final]
        if accepted is not None and not accepted.all():
            kept = np.frombuffer(records, RECORD)[accepted]
            records = kept.tobytes()
            indices = set(kept["index"].tolist())
            failures = [failure for failure in failures if failure.index in indices]
        if not failures or self._failures >= MESSAGES_KEPT:
            return records, b""
        values = [
            _text_of(failure, trace=self._failures + i < TRACES_KEPT) for i, failure in enumerate(failures)
        ]
        self._failures += len(values)
        return records, json.dumps(values).encode()

    def _write(self, data: bytes) -> None:
        with self._lock:
            self._write_locked(data)

    def _write_locked(self, data: bytes) -> None:
        if self._broken is not None:
            raise self._broken
        if self._fd < 0:
            raise InfrastructureLost(f"{self.path} is closed: nothing can be committed any more.")
        try:
            atomic.write_all(self._fd, data)
        except OSError as error:
            self._broken = atomic.in_words(error, f"{self.path} can't be written")
            self._cut_back()
            raise self._broken from error
        self._size += len(data)
        self._unsynced = True  # the thread syncs: each commit would wait for the disk otherwise

    def _cut_back(self) -> None:
        """Take a half-written frame away; if even that fails, the reader does it."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            pass

    def _sync_in_groups(self) -> None:
        while not self._closing.wait(SYNC_SECONDS):
            try:
                self._sync_now()
            except OSError as error:
                with self._lock:
                    self._broken = atomic.in_words(error, f"{self.path} can't be synced")
                return

    def _sync_now(self) -> None:
        with self._lock:
            if not self._unsynced or self._fd < 0:
                return
            self._unsynced = False
            fd = os.dup(self._fd)  # appends go on meanwhile
        try:
            _sync(fd)
        finally:
            os.close(fd)


def _revocation(ranges: Sequence[tuple[int, int]]) -> bytes:
    return frame(bytes([FrameKind.REVOKED]) + np.array(ranges, "<i8").tobytes())


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


def _sync(fd: int) -> None:
    getattr(os, "fdatasync", os.fsync)(fd)


def _text_of(failure: Failure, *, trace: bool) -> dict[str, object]:
    value: dict[str, object] = {"index": failure.index, "reason": int(failure.reason), "time": failure.time}
    for name, limit in _TEXT_LIMITS.items():
        text = hidden(getattr(failure, name))
        if text and (trace or name != "trace"):
            value[name] = (
                text if len(text) <= limit else f"{text[: limit // 4]}\n...\n{text[-(limit - limit // 4) :]}"
            )
    return value
