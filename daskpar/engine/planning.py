"""Makes the plan of mini-batches from a step's input: opens the input, splits it or groups it by keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.batches.plan import PlanSummary
from daskpar.batches.plan_writer import write_plan
from daskpar.errors import InputError, nearest
from daskpar.fetched_names import check_names
from daskpar.jobspec.model import BySize, Input, ParallelStep
from daskpar.jobspec.row_formats import ALL, INDEX_COLUMN, PATH
from daskpar.locations import is_url
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.data.files import FileList
    from daskpar.data.tables.table import Table

Execute = Callable[[str, Sequence[str], int], None]
"""Runs pass `name` of the grouping with these arguments for the numbers 0 .. count - 1."""


def open_input(data: Input, datastores: Mapping[str, str], others: Sequence[Input] = ()) -> Table | FileList:
    """What a step's major input holds: a table, or a list of files. `others`: what is split after it, of the
    same kind.

    A table is an MLTable that is read as one (`mode: direct`). Raises InputError when it is missing or can't
    be read, naming the MLTable's line or the file; and for files at URLs that can't be local ones, unless
    `mode: direct` says that the script opens URLs itself.
    """
    from daskpar.data.files import FileList, joined

    if others and data.is_file_list:
        return joined([open_input(each, datastores) for each in (data, *others)])  # type: ignore[misc]
    if others:
        from daskpar.data.mltable.open import open_mltables

        return open_mltables([each.path for each in (data, *others)], datastores)
    if data.type != "mltable":
        return _listed(data)
    from daskpar.data.mltable.open import open_mltable

    opened = open_mltable(data.path, datastores, files=data.is_file_list)
    if isinstance(opened, FileList) and data.mode != "direct":
        check_names(opened.paths, data.path)
    return opened


def _listed(data: Input) -> FileList:
    """The file, or the files of the folder, of an input; at a URL, with what the store says of them."""
    from daskpar.data.files import FileList, list_files
    from daskpar.data.stamps import planned_stamp

    if not is_url(data.path):
        return list_files(data.path)
    if data.type == "uri_file":
        stamp = planned_stamp(data.path)
        return FileList(paths=[data.path], origin=data.path, stamps={data.path: stamp} if stamp.known else {})
    found = list_files(data.path)
    if data.is_fetched:
        check_names(found.paths, data.path)
    return found


def open_split(step: ParallelStep, datastores: Mapping[str, str]) -> Table | FileList:
    """What a step splits, with the columns that it wants: its input, or several one after the other."""
    data, *others = (step.inputs[name] for name in step.input_data)
    return open_with_columns(data, WantedColumns.of(step), datastores, others)


def check_keys(opened: Table | FileList, keys: tuple[str, ...]) -> None:
    """Raises InputError for a partition key that is no column of the input, and names the nearest one."""
    if not keys:
        return
    from daskpar.data.columns.row_keys import check_keys as check
    from daskpar.data.files import FileList

    if isinstance(opened, FileList):
        check(
            keys,
            opened.columns.column_names if opened.columns is not None else [],
            f"the file list {opened.origin}",
        )
    else:
        check(keys, opened.schema.names, opened.origin)


@frozen
class WantedColumns:
    """What a step wants its input to have columns for."""

    keys: tuple[str, ...] = ()
    """By which it is split."""
    before_rows: tuple[str, ...] = ()
    """That stand before returned rows (`--append_row_join`)."""
    index: bool = False
    """Whether the mini-batch's index stands there too."""

    @classmethod
    def of(cls, step: ParallelStep) -> WantedColumns:
        """Those of `step`."""
        own = step.settings
        return cls(step.partition_keys, own.append_row_join, own.append_row_index)


def check_columns(opened: Table | FileList, wanted: WantedColumns) -> None:
    """Raises InputError for columns that the input does not have, and names the nearest ones."""
    from daskpar.data.files import FileList

    check_keys(opened, wanted.keys)
    if not wanted.before_rows:
        return
    if isinstance(opened, FileList):
        _check_of_files(opened, wanted)
        return
    columns = opened.schema.names
    names = columns if wanted.before_rows == (ALL,) else wanted.before_rows
    for name in names:
        if name not in columns:
            hint = (
                "The path of each file is a column of a table that is read with include_path_column: true."
                if name == PATH
                else nearest(name, columns)
            )
            known = f"The columns are {', '.join(map(repr, columns))}." if columns else "It has no columns."
            what = f"--append_row_join: {name!r} is no column of {opened.origin}."
            raise InputError(" ".join(filter(None, [what, known, hint])))
    if wanted.index and INDEX_COLUMN in names:
        raise InputError(
            f"--append_row_index adds a column {INDEX_COLUMN!r}, and --append_row_join has one of that name "
            f"from {opened.origin}: leave one of them out."
        )


def _check_of_files(files: FileList, wanted: WantedColumns) -> None:
    for name in wanted.before_rows:
        if name in (PATH, *wanted.keys):
            continue
        known = [PATH, *wanted.keys]
        of_paths = files.columns.column_names if files.columns is not None else []
        hint = (
            f"It comes from the paths: with partition_keys: [{name}] each mini-batch has one value of it."
            if name in of_paths
            else f"Write --append_row_join {','.join(known)}."
        )
        raise InputError(
            f"--append_row_join: {name!r} is no column of {files.origin}, which is read as a list of files. "
            f"{hint}"
        )


def open_with_columns(
    data: Input, wanted: WantedColumns, datastores: Mapping[str, str], others: Sequence[Input] = ()
) -> Table | FileList:
    """Open an input, and check that it has the columns that are `wanted`."""
    opened = open_input(data, datastores, others)
    check_columns(opened, wanted)
    return opened


def plan_ahead(
    data: Input,
    by_size: BySize,
    wanted: WantedColumns,
    folder: Path,
    datastores: Mapping[str, str],
    others: Sequence[Input] = (),
) -> PlanSummary:
    """Open an input that is split by size and write its plan, in any process.

    This can be done before there is a cluster.
    """
    from daskpar.batches.by_size import plan_by_size

    return plan_by_size(open_with_columns(data, wanted, datastores, others), by_size, folder)


def plan_there(
    data: Input, by_size: BySize, wanted: WantedColumns, folder: Path, datastores: Mapping[str, str]
) -> PlanSummary:
    """As `plan_ahead`, into a folder that is there; FileNotFoundError where it is not any more, for nobody
    wants the plan.
    """
    from daskpar.batches.by_size import plan_by_size

    opened = open_with_columns(data, wanted, datastores)
    folder.stat()
    return plan_by_size(opened, by_size, folder)


def make_plan(
    step: ParallelStep, folder: Path, *, opened: Table | FileList | None, execute: Execute
) -> PlanSummary:
    """Write the plan of `step` into `folder`; `execute` runs the passes that group a large table by keys."""
    if step.settings.rank_mini_batch_count > 0 or opened is None:
        # Mini-batches without items, as in Azure: a script is to run so many times.
        return write_plan(folder, kind="numbers", count=step.settings.rank_mini_batch_count, items=0)
    if step.partition_keys:
        from daskpar.batches.by_keys import plan_by_keys

        return plan_by_keys(opened, step.partition_keys, folder, execute)
    from daskpar.batches.by_size import plan_by_size

    return plan_by_size(opened, step.by_size, folder)
