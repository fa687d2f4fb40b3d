"""The ledger of a step: every commit goes to its rows, its journal and its state in memory, in this order."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from daskpar import atomic
from daskpar.batches.plan import Plan
from daskpar.batches.records import unpack
from daskpar.errors import DaskparError, JobFailed, RunDirectoryError
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal import Journal
from daskpar.outputs.journal_reader import JournalContents, keep_damaged, read_journal
from daskpar.outputs.part_check import Damage, damage, lost_ranges
from daskpar.outputs.pieces import Divided, PieceOutcome
from daskpar.outputs.step_uploads import StepUploads
from daskpar.paths import StepPaths
from daskpar.processor.protocol import Flushed
from daskpar.results import Failure, TryStatus
from daskpar.rows.part_store import PartStore, PartWriter
from daskpar.rows.registry import store_of
from daskpar.rows.row_format import REFUSED, RowFormat, Schema
from daskpar.rows.text_format import PLAIN_TEXT


class Ledger:
    """The commits of one step that is being run; closed at the end."""

    def __init__(
        self,
        journal: Journal,
        commits: Commits,
        store: PartStore,
        row_format: RowFormat,
        schema: Schema | None = None,
    ) -> None:
        self.journal = journal
        self.commits = commits
        self.store = store
        self.row_format = row_format
        self.schema = schema
        """Of all committed rows; None before a flush has said it."""
        self._agreed: set[bytes] = set()
        """Digests of what processors have said of their schemas that changes nothing any more."""
        self.divided = Divided()
        """The pieces of divided mini-batches."""
        self.reopened: frozenset[int] = frozenset()
        """Mini-batches of which only the items that failed alone are run again."""
        self.uploads: StepUploads | None = None
        """Keeps which uploaded files belong to which mini-batch, where outputs lie at URLs."""
        self._writer: PartWriter | None = None
        self.notes: tuple[str, ...] = ()
        """Sentences about what was found damaged, torn or gone, for a warning each."""
        self.earlier_failures: tuple[Failure, ...] = ()
        """Final failures of earlier driver processes that still stand, in words (at most 1000)."""
        self.lock = threading.Lock()
        """Held while `commits` changes: other threads take it to read."""
        self.on_complete: Callable[[], object] = lambda: None
        """Called as soon as every mini-batch has its outcome, and after each commit from then on."""
        self.already_done = 0
        """Mini-batches that had a final outcome when the ledger was opened."""

    @classmethod
    def open(
        cls,
        folder: Path,
        mini_batches: int,
        *,
        step: str = "",
        store: PartStore | None = None,
        row_format: RowFormat = PLAIN_TEXT,
        retry_failed: bool = False,
    ) -> Ledger:
        """The ledger of the step folder `folder`: a new one, or where the last driver process stopped.

        `store` is the step's own where none is given. With `retry_failed` the failed mini-batches are missing
        again. Where the output can't be written without the rows' schema, rows whose schema a damaged journal
        has lost are run again. Raises RunDirectoryError when the journal is of another plan, of another row
        format or of a newer version, InfrastructureLost when the disk can't be written.
        """
        paths = StepPaths(folder)
        path = paths.journal
        store = store_of(paths) if store is None else store
        store.prepare()
        contents = read_journal(path)
        if contents.found:
            return cls._continued(contents, mini_batches, store, row_format, retry_failed=retry_failed)
        notes = (
            (f"The journal {path} held nothing whole; it is kept as {keep_damaged(path)}.",)
            if contents.torn_bytes
            else ()
        )
        journal = Journal.create(path, step=step, mini_batches=mini_batches, row_format=row_format.to_json())
        ledger = cls(journal, Commits(mini_batches), store, row_format)
        ledger.notes = notes
        return ledger

    @classmethod
    def _continued(
        cls,
        contents: JournalContents,
        mini_batches: int,
        store: PartStore,
        row_format: RowFormat,
        *,
        retry_failed: bool,
    ) -> Ledger:
        _check_journal(contents, mini_batches, row_format)
        commits = Commits.load(mini_batches, contents)
        # Only rows that come again can say their schema again.
        if nameless := row_format.needs_schema and contents.schema is None and bool(contents.damaged):
            lost = commits.with_rows()
        else:
            lost = lost_ranges(contents, commits, store)
        journal = Journal.reopen(contents.path, contents, lost)
        ledger = cls(journal, commits, store, row_format, contents.schema)
        commits.revoke(lost)
        ledger.notes = _notes(contents, lost, nameless=nameless)
        outcomes = [PieceOutcome.from_json(value) for _, value in contents.pieces]
        commits.count_pieces(
            (found.index, found.whole, found.span[1] - found.span[0] > 1)
            for found in outcomes
            if not found.good and 0 <= found.index < mini_batches
        )
        ledger.divided = Divided.load(contents)
        ledger.divided.forget([*lost, *commits.failed()])  # these are run again as a whole
        if retry_failed:
            ledger.reopened = frozenset(set(ledger.divided) & set(commits.with_failed_items()))
            commits.reopen_failed()
        ledger.earlier_failures = tuple(standing_failures(contents, commits))
        ledger.already_done = commits.counts().done
        return ledger

    def commit(self, flushed: Flushed) -> np.ndarray:
        """Commit what a processor flushed; returns the records that were accepted (those of committed
        mini-batches are refused).

        The caller has checked that the flush's token still owns its block. Raises InfrastructureLost (nothing
        was committed then), and JobFailed when the rows can't be in one output with those before.
        """
        records = unpack(flushed.records)
        accepted = self.commits.acceptable(records)
        if not accepted.any():
            return records[:0]
        if flushed.schema is not None and flushed.schema != self.schema:
            self._take_schema(flushed.schema, records)
        if flushed.carried:  # rows first: what the journal says is there is there
            self.store.keep(flushed.part, flushed.offset, flushed.carried)
        if flushed.sealed and self.uploads is not None:
            taken = set(records["index"][accepted].tolist())
            self.uploads.count([found for found in flushed.sealed if found[0] in taken])
        self.journal.append(flushed, accepted)
        with self.lock:
            self.commits.apply(records, flushed.part, flushed.offset, flushed.length, flushed.crc)
        if self.commits.complete:
            self.on_complete()
        return records if accepted.all() else records[accepted]

    def commit_piece(self, flushed: Flushed, outcome: PieceOutcome) -> None:
        """Keep how a piece of a divided mini-batch has ended, with its rows; nothing counts by that yet.

        Raises as `commit`.
        """
        if flushed.schema is not None and flushed.schema != self.schema:
            self._take_schema(flushed.schema, unpack(outcome.record))
        if flushed.carried:
            self.store.keep(flushed.part, flushed.offset, flushed.carried)
        if flushed.sealed and self.uploads is not None:
            self.uploads.count(flushed.sealed, outcome.span)
        self.journal.add_piece(outcome.to_json())
        self.divided.add(outcome)

    def write_rows(self, data: bytes) -> Flushed:
        """Put rows that were joined of several pieces into the store; the flush has no records yet.

        Raises InfrastructureLost where that can't be.
        """
        if self._writer is None:
            self._writer = self.store.writer("joined")
        with atomic.explained("Rows can't be written"):
            written = self._writer.append(data)
        if written.carried:
            self.store.keep(self._writer.name, written.offset, written.carried)
        return Flushed(
            block=-1,
            token="",
            part=self._writer.name,
            offset=written.offset,
            length=len(data),
            crc=written.crc,
            records=b"",
        )

    def revoke_damaged(self) -> Damage:
        """Compare all committed rows with their checksums; those that are not as written are missing from now
        on, and may come again.
        """
        found = damage(self.commits, self.store)
        if found.ranges:
            self.journal.revoke(found.ranges)
            self.divided.forget(found.ranges)
            with self.lock:
                self.commits.revoke(found.ranges)
        return found

    def close(self) -> None:
        """Sync and close the journal."""
        if self._writer is not None:
            self._writer.close()
        self.journal.close()

    def _about(self, index: int) -> str:
        """What mini-batch `index` holds, as a sentence; empty where the plan does not say."""
        try:
            plan = Plan.open(StepPaths(self.journal.path.parent).plan)
        except DaskparError:
            return ""
        held = plan.described(index)
        return f" Mini-batch {index} holds {held}." if held else ""

    def _take_schema(self, found: Schema, records: np.ndarray) -> None:
        digest = hashlib.blake2b("\0".join(found).encode("utf-8", "surrogatepass")).digest()
        if digest in self._agreed:
            return
        if found[0] == REFUSED:
            raise JobFailed(f"The rows can't be written: {found[1]}.")
        where = ", ".join(str(index) for index in records["index"][:3].tolist())
        known = found if self.schema is None else self.schema
        try:
            agreed = self.row_format.agreed(known, found, f"Mini-batch {where}")
        except JobFailed as error:
            raise JobFailed(f"{error}{self._about(int(records['index'][0]))}") from error
        if agreed != self.schema:
            self.journal.add_schema(agreed)
            self.schema = agreed
        self._agreed.add(digest)


def standing_failures(contents: JournalContents, commits: Commits) -> list[Failure]:
    """The final failures in a journal that still stand, in words (at most 1000), by mini-batch."""
    if not commits.counts().failed:
        return []
    last = {failure.index: failure for failure in contents.failures() if 0 <= failure.index < commits.count}
    return [failure for failure in last.values() if commits.status[failure.index] == TryStatus.FAILED]


def _check_journal(contents: JournalContents, mini_batches: int, row_format: RowFormat) -> None:
    planned = contents.header.get("mini_batches", mini_batches)
    if planned != mini_batches:
        raise RunDirectoryError(
            f"{contents.path} is about a plan of {planned} mini-batches, this one has {mini_batches}: "
            "what shapes the plan has changed. Start a new run."
        )
    # A journal that lost its head no longer says which format it was.
    if contents.header and contents.row_format.kind != row_format.kind:
        raise RunDirectoryError(
            f"The rows that {contents.path} is about are in the format {contents.row_format.kind!r}, "
            f"and {row_format.kind!r} is asked for now. Start a new run."
        )


def _notes(contents: JournalContents, lost: list[tuple[int, int]], *, nameless: bool) -> tuple[str, ...]:
    notes = []
    if contents.torn_bytes:
        notes.append(
            f"The last {contents.torn_bytes} bytes of the journal were torn and are cut off; "
            "all before them counts."
        )
    if contents.damaged:
        size = sum(stop - start for start, stop in contents.damaged)
        notes.append(
            f"{size} bytes in the middle of the journal {contents.path} are damaged; everything whole before "
            "and after them was checked and is used, the damaged file is kept beside it."
        )
    if lost:
        number = sum(stop - start for start, stop in lost)
        what = "column names" if nameless else "rows"
        notes.append(
            f"The {what} of {number} committed mini-batches did not survive on the disk; these are run again."
        )
    return tuple(notes)
