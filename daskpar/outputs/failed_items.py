"""Writes down which items have failed, as data: JSON lines for people and programs, and the input of a run.

failed_items.jsonl   a line for each failed item, in order: mini_batch, position, path, row_number, row, keys,
                     reason, error, traceback, tries, alone
MLTable              the same items as an input: the files, or the rows, which lie in rows/
"""

from __future__ import annotations

import glob
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from daskpar import atomic
from daskpar.batches.plan import Plan
from daskpar.errors import DaskparError
from daskpar.outputs.failed_rows import FailedRows, json_row, row_numbers, table_of, values_by_row
from daskpar.outputs.journal_reader import JournalContents, read_journal
from daskpar.outputs.ledger import Ledger
from daskpar.paths import StepPaths
from daskpar.results import Failure, Reason, TryStatus
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import pyarrow as pa

UNASKED_ITEMS = 10_000
"""So many are written where nobody has asked for them: reading rows again takes its time."""
LINES, TABLE, ROWS = "failed_items.jsonl", "MLTable", "rows"
_MOST_TEXTS = 10_000
_ENCODE = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode


@frozen(kw_only=True)
class _Failed:
    """One failed item of a mini-batch; position None where it is not known how many there are."""

    position: int | None
    reason: int
    failure: Failure | None
    tries: int
    alone: bool


def write_failed_items(
    folder: StepPaths, ledger: Ledger, *, most: int | None, target: Path | None, is_file: bool = False
) -> str:
    """Write the failed items of a step to its folder, and to `target`: a folder, or a file of JSON lines.

    `most`: so many at most; None: all. Returns what is to be told of it, as a sentence, or an empty text.
    Replaces what an earlier process of the run has written. OSError where that can't be.
    """
    indices = _with_failed_items(ledger)
    _clear(folder.failed_items_table)
    if not indices:
        folder.failed_items.write_bytes(b"")
        if target is not None:
            _to_target(folder, target, is_file=is_file)
        return ""
    plan = Plan.open(folder.plan)
    folder.failed_items_table.mkdir()
    with ExitStack() as open_files:
        lines = open_files.enter_context(
            open(open_files.enter_context(atomic.replacing(folder.failed_items)), "w", encoding="ascii")
        )
        items = _Writer(folder.failed_items_table, plan, lines, most)
        open_files.callback(items.close)
        items.left_out = most is not None and len(indices) > most
        indices = indices[:most]
        failed = _Failures(ledger, read_journal(folder.journal), indices)
        for index in indices:
            if items.full:
                items.left_out = True
                break
            items.write(index, failed.of(index, plan), ledger)
    if target is not None:
        _to_target(folder, target, is_file=is_file)
    if items.left_out:
        return f"{folder.failed_items} holds the first {most} failed items (--failed_items_to: all of them)"
    return ""


def _with_failed_items(ledger: Ledger) -> list[int]:
    """The mini-batches of which something has failed, in order."""
    if not ledger.commits.count:
        return []
    # What is still divided has no outcome. Of one that was run again as a whole and is good, the journal
    # knows earlier pieces too.
    dividing = (
        index
        for index in ledger.divided
        if not ledger.commits.is_final(index) and ledger.divided.failed_alone(index)
    )
    return sorted({*ledger.commits.with_failed_items(), *dividing})


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _to_target(folder: StepPaths, target: Path, *, is_file: bool) -> None:
    """Copy what was written to where the user wants it."""
    if is_file:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(target) as temporary:
            shutil.copyfile(folder.failed_items, temporary)
        return
    target.mkdir(parents=True, exist_ok=True)
    (target / TABLE).unlink(missing_ok=True)
    for old in (target / ROWS).glob("part-*.parquet"):
        old.unlink()
    if folder.failed_items_table.exists():
        for name in (ROWS, TABLE):
            source = folder.failed_items_table / name
            if source.is_dir():
                shutil.copytree(source, target / name, dirs_exist_ok=True)
            elif source.exists():
                shutil.copyfile(source, target / name)
    elif Plan.open(folder.plan).tabular:
        (target / TABLE).write_text(_mltable_of_lines())
    else:
        (target / ROWS).mkdir(exist_ok=True)
        (target / TABLE).write_text(f"type: mltable\npaths:\n- folder: ./{ROWS}\n")  # a list of no file
    with atomic.replacing(target / LINES) as temporary:
        shutil.copyfile(folder.failed_items, temporary)


class _Failures:
    """What failed in each mini-batch, by what the journal says of it."""

    def __init__(self, ledger: Ledger, contents: JournalContents, indices: Sequence[int]) -> None:
        self._divided = ledger.divided
        self._texts = {failure.index: failure for failure in contents.failures(_MOST_TEXTS)}
        self._records: dict[int, tuple[int, int, int]] = {}
        for _, _, records in contents.batches():
            chosen = records[(records["status"] == TryStatus.FAILED) & (records["final"] == 1)]
            chosen = chosen[np.isin(chosen["index"], indices)]
            columns = (chosen[name].tolist() for name in ("index", "reason", "tries", "items"))
            for index, reason, tries, items in zip(*columns, strict=True):
                self._records[index] = (reason, tries + 1, items)

    def of(self, index: int, plan: Plan) -> list[_Failed]:
        """The failed items of a mini-batch, in order."""
        if self._divided.failed_alone(index):
            return list(self._alone(index))
        reason, tries, items = self._records.get(index, (int(Reason.NONE), 1, 0))
        known = plan.items(index) or (0 if reason in (Reason.LOAD_ERROR, Reason.LOAD_TIMEOUT) else items)
        positions: Iterable[int | None] = range(known) if known else [None]
        text = self._texts.get(index)
        return [
            _Failed(position=position, reason=reason, failure=text, tries=tries, alone=known == 1)
            for position in positions
        ]

    def _alone(self, index: int) -> Iterator[_Failed]:
        whole = self._divided.whole(index)
        before = int(whole.values["tries"]) + 1 if whole is not None else 0
        outcomes = self._divided.outcomes(index)
        for outcome in self._divided.failed_alone(index):
            at = outcome.span[0]
            tries = sum(
                1 for (start, stop), found in outcomes.items() if start <= at < stop and not found.good
            )
            yield _Failed(
                position=at,
                reason=int(outcome.values["reason"]),
                failure=outcome.failure,
                tries=before + tries,
                alone=True,
            )


class _Writer:
    """Writes the items of one mini-batch after the other."""

    def __init__(self, folder: Path, plan: Plan, lines: IO[str], most: int | None) -> None:
        self._plan = plan
        self._lines = lines
        self._most = most
        self._written = 0
        self.left_out = False
        """Whether there were more than could be written."""
        self._folder = folder
        self._paths: IO[str] | None = None
        self._rows = FailedRows(folder / ROWS) if plan.tabular else None

    @property
    def full(self) -> bool:
        """Whether nothing more is to be written."""
        return self._written == self._most

    def write(self, index: int, failed: list[_Failed], ledger: Ledger) -> None:
        """Write the failed items of a mini-batch, as many as may be."""
        if self._most is not None and self._written + len(failed) > self._most:
            failed = failed[: self._most - self._written]
            self.left_out = True
        facts = self._of_files(index, failed) if self._rows is None else self._of_rows(index, failed, ledger)
        keys = self._plan.keys(index)
        for item, known in zip(failed, facts, strict=True):
            self._lines.write(_line(index, item, known, keys))
        self._written += len(failed)

    def _of_files(self, index: int, failed: list[_Failed]) -> list[dict[str, object]]:
        paths = self._plan.paths_of(index)
        if self._paths is None:
            self._paths = open(self._folder / TABLE, "w", encoding="utf-8")  # noqa: SIM115 - closed by `close`
            self._paths.write("type: mltable\npaths:\n")
        facts: list[dict[str, object]] = []
        for item in failed:
            path = paths[item.position] if item.position is not None and item.position < len(paths) else None
            if path is not None:
                # A star in the name of a file is one of a pattern's, unless it is escaped.
                entry = ("pattern", glob.escape(path)) if "*" in path else ("file", path)
                self._paths.write(f"- {entry[0]}: {json.dumps(entry[1])}\n")
            facts.append({"path": path})
        return facts

    def _of_rows(self, index: int, failed: list[_Failed], ledger: Ledger) -> list[dict[str, object]]:
        assert self._rows is not None
        positions = [item.position for item in failed if item.position is not None]
        try:
            found = table_of(self._plan, index)
        except (DaskparError, OSError, ValueError) as error:  # ValueError: what pyarrow says of damage
            return [{"path": None, "row_number": None, "row": None, "row_error": str(error)} for _ in failed]
        positions = [position for position in positions if position < found.rows.num_rows]
        rows: pa.Table = found.rows.take(np.array(positions, np.int64))
        self._rows.add(rows)
        numbers = row_numbers(self._plan, index, found, ledger.commits)
        known: dict[int, dict[str, object]] = {
            position: {
                "path": found.paths[position],
                "row_number": numbers[position],
                "row": json_row(row),
            }
            for position, row in zip(positions, values_by_row(rows), strict=True)
        }
        nothing: dict[str, object] = {"path": None, "row_number": None, "row": None}
        return [
            known.get(item.position, nothing) if item.position is not None else nothing for item in failed
        ]

    def close(self) -> None:
        """Complete the table."""
        if self._paths is not None:
            self._paths.close()
        if self._rows is not None:
            self._rows.close()
            text = self._rows.mltable() if self._rows.any else _mltable_of_lines()
            (self._folder / TABLE).write_text(text)


def _mltable_of_lines() -> str:
    """A table over the lines themselves: where no item failed, or none can be read."""
    reading = "transformations:\n- read_json_lines:\n    encoding: utf8\n"
    return f"type: mltable\npaths:\n- file: ./{LINES}\n{reading}"


def _line(index: int, item: _Failed, known: Mapping[str, object], keys: Mapping[str, Any] | None) -> str:
    value: dict[str, object] = {"mini_batch": index, "position": item.position, **known}
    if keys is not None:
        value["keys"] = json_row(keys)
    failure = item.failure
    value |= {
        "reason": Reason(item.reason).name if item.reason in Reason._value2member_map_ else str(item.reason),
        "error": failure.message if failure is not None else "",
        "traceback": _first_line(failure.trace) if failure is not None else "",
        "tries": item.tries,
        "alone": item.alone,
    }
    return f"{_ENCODE(value)}\n"


def _first_line(trace: str) -> str:
    """Where in the user's code it failed: the first line of a traceback or of stacks that names a file."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("File ")), lines[0] if lines else "")
