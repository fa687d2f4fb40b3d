"""The commit book of one step: the journal on the disk and the state in memory, changed together and in the
right order.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from daskpar.batches.records import unpack
from daskpar.errors import JobFailed, RunDirectoryError
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal import Journal
from daskpar.outputs.journal_reader import JournalContents, keep_damaged, read_journal
from daskpar.outputs.part_check import lost_ranges
from daskpar.processor.protocol import Flushed
from daskpar.results import Failure, TryStatus


class Ledger:
    """What the driver commits into. One for each step being run; closed at the end."""

    def __init__(self, journal: Journal, commits: Commits, *, columns: tuple[str, ...] | None = None) -> None:
        self.journal = journal
        self.commits = commits
        self.columns = columns
        """Column names for the aggregated file's header, from the first flush that had any."""
        self.notes: tuple[str, ...] = ()
        """Sentences about what was found damaged, torn or gone, for a warning each."""
        self.earlier_failures: tuple[Failure, ...] = ()
        """Final failures of earlier driver processes that still stand, in words (at most 1000)."""
        self.lock = threading.Lock()
        """Held while `commits` changes, for whoever looks at it from another thread."""
        self.already_done = 0
        """Mini-batches with a final outcome when it was opened."""

    @classmethod
    def open(
        cls,
        folder: Path,
        mini_batches: int,
        *,
        step: str = "",
        fingerprint: str = "",
        retry_failed: bool = False,
        with_header: bool = False,
    ) -> Ledger:
        """The ledger of the step folder `folder` (`journal`, `parts/`): a new one, or where the last driver
        process stopped.

        With `retry_failed` its failed mini-batches are missing again. `with_header`: the output begins with
        the names of the columns, and rows whose names a damaged journal has lost are run again. Raises
        RunDirectoryError when the journal is of another plan or a newer version, InfrastructureLost when the
        disk can't be written.
        """
        path, parts = folder / "journal", folder / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        contents = read_journal(path)
        if not contents.found:
            notes = (
                (f"The journal {path} held nothing whole; it is kept as {keep_damaged(path)}.",)
                if contents.torn_bytes
                else ()
            )
            ledger = cls(
                Journal.create(path, step=step, mini_batches=mini_batches, fingerprint=fingerprint),
                Commits(mini_batches),
            )
            ledger.notes = notes
            return ledger
        _check_plan(contents, mini_batches)
        commits = Commits.load(mini_batches, contents)
        if nameless := with_header and contents.columns is None and bool(contents.damaged):
            lost = commits.with_rows()
        else:
            lost = lost_ranges(contents, commits, parts)
        ledger = cls(Journal.reopen(path, contents, lost), commits, columns=contents.columns)
        commits.revoke(lost)
        ledger.notes = _notes(contents, lost, nameless=nameless)
        if retry_failed:
            commits.reopen_failed()
        ledger.earlier_failures = tuple(_standing(contents, commits))
        ledger.already_done = commits.counts().done
        return ledger

    def commit(self, flushed: Flushed) -> np.ndarray:
        """Commit what a processor flushed; returns the records that were accepted (those of committed
        mini-batches are refused).

        The caller has checked that the flush's token still owns its block. Raises InfrastructureLost (nothing
        was committed then), and JobFailed when a header is wanted and the columns differ from those before.
        """
        records = unpack(flushed.records)
        accepted = self.commits.acceptable(records)
        if not accepted.any():
            return records[:0]
        if flushed.columns is not None and flushed.columns != self.columns:
            self._take_columns(flushed.columns, records)
        self.journal.append(flushed, accepted)
        with self.lock:
            self.commits.apply(records, flushed.part)
        return records if accepted.all() else records[accepted]

    def close(self) -> None:
        """Sync and close the journal."""
        self.journal.close()

    def _take_columns(self, columns: tuple[str, ...], records: np.ndarray) -> None:
        if self.columns is not None:
            where = ", ".join(str(index) for index in records["index"][:3].tolist())
            raise JobFailed(
                f"Mini-batch {where} returned a DataFrame with the columns {list(columns)}, earlier ones had {list(self.columns)}: "
                "one file with one header (--append_row_dataframe_header) can't hold both. "
                "Return the same columns in the same order from every run()."
            )
        self.journal.columns(columns)
        self.columns = columns


def _standing(contents: JournalContents, commits: Commits) -> list[Failure]:
    if not commits.counts().failed:
        return []
    last = {failure.index: failure for failure in contents.failures() if 0 <= failure.index < commits.count}
    return [failure for failure in last.values() if commits.status[failure.index] == TryStatus.FAILED]


def _check_plan(contents: JournalContents, mini_batches: int) -> None:
    planned = contents.header.get("mini_batches", mini_batches)
    if planned != mini_batches:
        raise RunDirectoryError(
            f"{contents.path} is about a plan of {planned} mini-batches, this one has {mini_batches}: what shapes the plan has changed. "
            "Start a new run."
        )


def _notes(contents: JournalContents, lost: list[tuple[int, int]], *, nameless: bool) -> tuple[str, ...]:
    notes = []
    if contents.torn_bytes:
        notes.append(
            f"The last {contents.torn_bytes} bytes of the journal were torn and are cut off; all before them counts."
        )
    if contents.damaged:
        size = sum(stop - start for start, stop in contents.damaged)
        notes.append(
            f"{size} bytes in the middle of the journal {contents.path} are damaged; everything whole before and after them was checked "
            "and is used, the damaged file is kept beside it."
        )
    if lost:
        number = sum(stop - start for start, stop in lost)
        what = "column names" if nameless else "rows"
        notes.append(
            f"The {what} of {number} committed mini-batches did not survive on the disk; these are run again."
        )
    return tuple(notes)
