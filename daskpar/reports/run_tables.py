"""Reads a run directory into tables: the mini-batches of its steps, each of their tries, and the failures.

What is read is what was committed, whether the run goes on, has ended, was interrupted or was killed; a step
is looked at when one of its tables is asked for, and then stays as it was at that moment. All work is done on
whole columns: a hundred thousand mini-batches take a part of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskpar.batches.names import MiniBatchNames, NameParts
from daskpar.batches.records import RECORD
from daskpar.errors import DaskparError
from daskpar.outputs.journal_reader import JournalContents, read_journal
from daskpar.reports.record_columns import NOT_RUN, reason_name
from daskpar.reports.run_status import run_status, step_status
from daskpar.results import Failure, Reason, TryStatus
from daskpar.rundir.identity import RunIdentity
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepFolder, StepState
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import pandas as pd

OUTCOMES = ("unfinished", "succeeded", "empty", "failed")
"""Of a mini-batch, by `TryStatus`; unfinished: not run yet, or each try failed and another follows."""
TRY_OUTCOMES = ("", "succeeded", "empty", "failed")
MOST_TEXTS = 10_000_000


class RunTables:
    """A run as it is now.

    Raises RunDirectoryError for a folder that is no run directory, or a damaged one.
    """

    def __init__(self, path: Path | str) -> None:
        self._directory = RunDirectory.open(path, lock=False)
        self.path = self._directory.path
        self.identity: RunIdentity = self._directory.identity
        self.holder = self._directory.holder()
        """Who runs it now, in words; None when nobody does."""
        self.status = run_status(self._directory, self.holder)
        """`completed`, `failed`, `interrupted`, `lost`, `running`, or that its driver is gone."""
        self.steps = tuple(
            StepTables(folder, state, step_status(state, self.status))
            for folder in self._directory.steps()
            if (state := folder.state()) is not None
        )
        """Those that have started, in the order of the job."""

    def mini_batches(self, step: str | None = None) -> pd.DataFrame:
        """The mini-batches of all steps, or of one: `StepTables.mini_batches`."""
        return self._joined([found.mini_batches() for found in self._wanted(step)], MINI_BATCH_COLUMNS)

    def failures(self, step: str | None = None) -> pd.DataFrame:
        """The failed mini-batches of all steps, or of one: `StepTables.failures`."""
        return self._joined([found.failures() for found in self._wanted(step)], FAILURE_COLUMNS)

    def _wanted(self, step: str | None) -> list[StepTables]:
        return [found for found in self.steps if found.parallel and step in (None, found.name)]

    @staticmethod
    def _joined(frames: list[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
        import pandas as pd

        from daskpar.reports.frame_columns import concatenated

        return concatenated(frames) if frames else pd.DataFrame(columns=list(columns))


@frozen(kw_only=True)
class Outcomes:
    """An array for each fact of the mini-batches of a step, by their index: that of the last try."""

    last: np.ndarray
    """`batches.records.RECORD` of the last try; zeros where there was none."""
    tries: np.ndarray
    """How often it was tried, by all processes of the run."""

    @property
    def final(self) -> np.ndarray:
        """`TryStatus` of those that have their outcome, 0 for the others."""
        return np.where(self.last["final"] != 0, self.last["status"], 0)


class StepTables:
    """One step of a run; everything is read when it is first asked for."""

    def __init__(self, folder: StepFolder, state: StepState, status: str) -> None:
        self.folder = folder
        self.state = state
        self.status = status
        """Of the step, in words."""

    @property
    def name(self) -> str:
        """Of the step."""
        return self.state.step

    @property
    def parallel(self) -> bool:
        """Whether it has mini-batches; a command has none."""
        return self.state.kind == "parallel"

    @cached_property
    def journal(self) -> JournalContents:
        """What is committed."""
        return read_journal(self.folder.journal)

    @cached_property
    def names(self) -> MiniBatchNames | None:
        """The names of the mini-batches; None before there is a plan, and where it is damaged."""
        try:
            return MiniBatchNames(self.folder.plan)
        except (DaskparError, OSError, ValueError, KeyError, TypeError):
            return None

    @cached_property
    def planned(self) -> int:
        """Mini-batches of the plan; 0 before there is one."""
        return self.names.count if self.names is not None else self.journal.planned

    @cached_property
    def outcomes(self) -> Outcomes:
        """How each mini-batch is."""
        last = np.zeros(self.planned, RECORD)
        last["index"] = np.arange(self.planned)
        tries = np.zeros(self.planned, np.int32)
        contents, first = self.journal, 0
        for stop, gone in (*contents.revoked, (len(contents.flushes), np.empty((0, 2), np.int64))):
            for _, _, records in contents.batches(first, stop):
                known = records[(records["index"] >= 0) & (records["index"] < self.planned)]
                tries += np.bincount(known["index"], minlength=self.planned).astype(np.int32)
                last[known["index"]] = known  # of several, the last one stays
            for begin, end in gone.tolist():  # their rows are gone: they run again
                last["final"][max(begin, 0) : max(end, 0)] = 0
            first = stop
        return Outcomes(last=last, tries=tries)

    def parts(self, indices: Sequence[int] | np.ndarray) -> NameParts:
        """The names of these mini-batches; their numbers where the plan can't be read."""
        if self.names is not None:
            try:
                return self.names.parts(indices)
            except (OSError, ValueError, KeyError, IndexError, TypeError):
                pass  # a damaged file of the plan: what was done is known all the same
        return NameParts(names=[f"mini-batch {index}" for index in np.asarray(indices).tolist()])

    def mini_batches(self) -> pd.DataFrame:
        """A row for each planned mini-batch, in their order.

        `step`, `index`, `name`, `items` (null before its first try), `failed_items`, `outcome` (`OUTCOMES`),
        `reason` of the last try where it failed, `tries`, `seconds_loading` and `seconds_running` of the last
        try, its `started` (UTC), `node` and `processor`; then what the name is made of: `files`, `rows`,
        `keys`.
        """
        import pandas as pd

        from daskpar.reports import frame_columns as columns

        found = self.outcomes
        last, tried = found.last, found.tries > 0
        parts = self.parts(last["index"])
        return pd.DataFrame(
            {
                "step": columns.one_text(self.name, len(last)),
                "index": last["index"],
                "name": columns.texts(parts.names, len(last)),
                "files": columns.texts(parts.files, len(last)),
                "rows": columns.texts(parts.rows, len(last)),
                "keys": columns.texts(parts.keys, len(last)),
                "items": columns.integers(last["items"], tried),
                "failed_items": last["failed_items"],
                "outcome": columns.kinds(found.final, OUTCOMES),
                **_of_tries(last, tried),
                "tries": found.tries,
            }
        )[list(MINI_BATCH_COLUMNS)]

    def tries(self) -> pd.DataFrame:
        """A row for each ended try, in the order of their commits: `index`, `outcome` (`TRY_OUTCOMES`),
        `reason`, `final`, `items`, `failed_items`, seconds, start, node and processor.
        """
        import pandas as pd

        from daskpar.reports import frame_columns as columns

        contents = self.journal
        bulks = [records for _, _, records in contents.batches()]
        records = np.concatenate(bulks) if bulks else np.zeros(0, RECORD)
        return pd.DataFrame(
            {
                "index": records["index"],
                "outcome": columns.kinds(records["status"], TRY_OUTCOMES),
                "final": records["final"] != 0,
                "items": records["items"],
                "failed_items": records["failed_items"],
                **_of_tries(records, np.ones(len(records), bool)),
            }
        )

    def failures(self) -> pd.DataFrame:
        """A row for each mini-batch whose outcome is a failure, in the order of their times.

        `step`, `index`, `name`, `items`, `failed_items`, `reason` (its kind, of `Reason`), `message`,
        `traceback` (a run keeps a hundred, and ten thousand messages), `tries`, `started`, `node`,
        `processor`, and `log`, the file with more.
        """
        import pandas as pd

        from daskpar.reports import frame_columns as columns

        found = self.outcomes
        chosen = np.flatnonzero(found.final == TryStatus.FAILED)
        last = found.last[chosen]
        chosen = chosen[np.argsort(last["started"], kind="stable")]
        last = found.last[chosen]
        texts = self.failure_texts()
        each = [texts.get(index) for index in chosen.tolist()]
        return pd.DataFrame(
            {
                "step": columns.one_text(self.name, len(chosen)),
                "index": chosen,
                "name": columns.texts(self.parts(chosen).names, len(chosen)),
                "items": columns.integers(last["items"], np.ones(len(chosen), bool)),
                "failed_items": last["failed_items"],
                **_of_tries(last, np.ones(len(chosen), bool)),
                "message": columns.texts([text.message if text else "" for text in each], len(chosen)),
                "traceback": columns.texts([text.trace if text else "" for text in each], len(chosen)),
                "tries": found.tries[chosen],
                "log": columns.texts([text.log if text else "" for text in each], len(chosen)),
            }
        )[list(FAILURE_COLUMNS)]

    def failure_texts(self) -> dict[int, Failure]:
        """Mini-batch -> its last final failure in words, where the journal has kept it."""
        return {failure.index: failure for failure in self.journal.failures(MOST_TEXTS)}


MINI_BATCH_COLUMNS = (
    "step", "index", "name", "items", "failed_items", "outcome", "reason", "tries", "seconds_loading",
    "seconds_running", "started", "node", "processor", "files", "rows", "keys",
)  # fmt: skip
FAILURE_COLUMNS = (
    "step", "index", "name", "items", "failed_items", "reason", "message", "traceback", "tries", "started",
    "node", "processor", "log",
)  # fmt: skip


def _of_tries(records: np.ndarray, there: np.ndarray) -> dict[str, object]:
    """The columns that all tables of tries have; null where there was no try."""
    from daskpar.reports import frame_columns as columns

    reasons = records["reason"]
    # A try whose data did not come, or which had no row, never came to run().
    ran = there & (records["status"] != TryStatus.EMPTY) & ~np.isin(reasons, NOT_RUN)
    loading = np.where(ran, records["elapsed"] - records["run"], records["elapsed"])
    located = there & (reasons != Reason.LOST)  # nobody can say on which processor that was
    known = max(int(reasons.max(initial=0)), max(Reason)) + 1
    names = ["" if reason == Reason.NONE else reason_name(reason) for reason in range(known)]
    return {
        "reason": columns.kinds(reasons, names),
        "seconds_loading": columns.seconds(loading, there),
        "seconds_running": columns.seconds(records["run"], ran),
        "started": columns.times(np.where(there, records["started"], 0.0)),
        "node": columns.integers(records["node"], there),
        "processor": columns.integers(records["processor"], located),
    }
