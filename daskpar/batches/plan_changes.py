"""What --allow-changes means for a plan: its mini-batches stay, though files are others than at planning."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from daskpar import atomic
from daskpar.batches.plan import Plan
from daskpar.batches.plan_stamps import write_stamps
from daskpar.data.file_look import stamps_as_they_are
from daskpar.data.stamp_columns import StampColumns
from daskpar.data.stamps import UNKNOWN, Stamp, stamp_now
from daskpar.errors import InputError

if TYPE_CHECKING:
    from daskpar.data.tables.table import Table


def take_changes(plan: Plan) -> None:
    """Let the plan expect its files as they are now, as far as its mini-batches stay what they were.

    A file of a list is taken as it is. A file of a table is where the ranges planned of it still are all of
    it: text of the same size, Parquet of the same row groups. All others stay as planned, so that their
    mini-batches fail, with what is wrong, instead of losing rows unseen.
    """
    if (stamps := plan.stamps()) is not None:
        all_now = _all_now(plan.path_column(), stamps)
        if all_now != stamps:
            write_stamps(plan.folder, all_now)
        return
    if not plan.tabular or not plan.table.marks:
        return
    table = plan.table
    new = [
        _now(path, table.stamp(number), _same_ranges(table, number))
        for number, path in enumerate(table.files)
    ]
    marks, sizes = tuple(stamp.mark for stamp in new), tuple(stamp.size for stamp in new)
    if (marks, sizes) == (table.marks, table.sizes):
        return
    file = plan.folder / "plan.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document["table"] = replace(table, marks=marks, sizes=sizes).to_json()
    atomic.replace_file(file, json.dumps(document).encode())


def _all_now(paths: Sequence[str], planned: StampColumns) -> StampColumns:
    """The stamps of files as they are now, but of those that nobody has looked at, and that are not there."""
    import numpy as np

    def look(path: str) -> Stamp:
        try:
            return stamp_now(path)
        except OSError:
            return UNKNOWN

    now = stamps_as_they_are(paths, look)
    sizes, marks = np.frombuffer(planned.sizes, np.int64), np.frombuffer(planned.marks, np.int64)
    new_sizes, new_marks = np.frombuffer(now.sizes, np.int64), np.frombuffer(now.marks, np.int64)
    stays = (sizes < 0) | (new_sizes < 0)
    return StampColumns(np.where(stays, sizes, new_sizes), np.where(stays, marks, new_marks))


def _now(path: str, planned: Stamp, fits: Callable[[Stamp], bool]) -> Stamp:
    """The stamp of a file as it is now where that fits, else as it was planned."""
    if not planned.known:
        return planned
    try:
        now = stamp_now(path)
    except OSError:
        return planned
    return now if now != planned and fits(now) else planned


def _same_ranges(table: Table, number: int) -> Callable[[Stamp], bool]:
    """Whether the ranges planned of a file are all of what a stamp stands for."""

    def fits(now: Stamp) -> bool:
        if not table.by_rows:
            return now.size == table.sizes[number]
        from daskpar.data.formats.parquet import read_footer

        try:
            rows = [count for count, _ in read_footer(table.files[number]).groups]
        except InputError:
            return False
        return rows == [count for count, _ in table.groups[number]]

    return fits
