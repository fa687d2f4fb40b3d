"""Plans mini-batches by keys: one for each distinct tuple of the partition keys, in order of appearance.

Keys that all come from the paths group whole files, for file lists and tables alike; otherwise the rows are
brought together first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from daskpar.batches.grouping import Execute, group_table
from daskpar.batches.plan import GROUPED, PlanSummary
from daskpar.batches.plan_writer import write_plan
from daskpar.data.columns.row_keys import check_keys, group_rows
from daskpar.data.file_look import planned_stamps
from daskpar.data.files import FileList
from daskpar.data.tables.table import Table


def plan_by_keys(
    source: Table | FileList, keys: Sequence[str], folder: str | Path, execute: Execute
) -> PlanSummary:
    """Write the plan of `source` by `keys` in `folder`.

    `execute` runs the passes that bring rows together, where there must be any. A group of whole files may
    turn out to hold no row; a group of rows has at least one. InputError where a key is no column.
    """
    if isinstance(source, FileList):
        return _group_files(source, keys, folder)
    check_keys(keys, source.schema.names, source.origin)
    values = source.path_keys(keys)
    if values is None:
        return group_table(source, keys, folder, execute)
    pieces = source.files_pieces()
    values = values.take(pa.array(pieces["file"]))
    grouped = group_rows(values, keys)
    return write_plan(
        folder,
        kind=GROUPED,
        table=source,
        pieces=pieces[grouped.order],
        offsets=grouped.starts,
        keys=values.take(pa.array(grouped.first)),
        items=source.rows,
        size_bytes=source.size_bytes,
        warnings=source.planning_warnings,
    )


def _group_files(files: FileList, keys: Sequence[str], folder: str | Path) -> PlanSummary:
    columns = files.columns.column_names if files.columns is not None else []
    check_keys(
        keys,
        columns,
        f"the file list {files.origin}"
        if columns
        else f"the file list {files.origin} (its paths give no columns)",
    )
    assert files.columns is not None
    values = files.columns.select(list(keys))
    grouped = group_rows(values, keys)
    order = grouped.order.tolist()
    paths = [files.paths[number] for number in order]
    return write_plan(
        folder,
        kind=GROUPED,
        paths=paths,
        origin=files.origin,
        stamps=lambda: planned_stamps(paths, files.stamps),
        warnings=files.warnings,
        offsets=grouped.starts,
        keys=values.take(pa.array(grouped.first)),
        items=int(np.int64(len(files))),
    )
