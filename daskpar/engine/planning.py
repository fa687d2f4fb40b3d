"""Makes the plan of mini-batches from a step's input: opens the input, splits it or groups it by keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.batches.plan import PlanSummary
from daskpar.batches.plan_writer import write_plan
from daskpar.errors import InputError
from daskpar.jobspec.model import BySize, Input, ParallelStep

if TYPE_CHECKING:
    from daskpar.data.files import FileList
    from daskpar.data.tables.table import Table

Execute = Callable[[str, Sequence[str], int], None]
"""Runs pass `name` of the grouping with these arguments for the numbers 0 .. count - 1."""


def open_input(data: Input, datastores: Mapping[str, str], others: Sequence[Input] = ()) -> Table | FileList:
    """What a step's major input holds: a table, or a list of files. `others`: what is split after it, of the
    same kind.

    A table is an MLTable that is read as one (`mode: direct`). Raises InputError when it is missing or can't
    be read, naming the MLTable's line or the file; and for a list of files at a URL, unless `mode: direct`
    says that the script opens URLs itself.
    """
    from daskpar.data.files import FileList, joined, list_files

    if others and data.is_file_list:
        return joined([open_input(each, datastores) for each in (data, *others)])  # type: ignore[misc]
    if others:
        from daskpar.data.mltable.open import open_mltables

        return open_mltables([each.path for each in (data, *others)], datastores)
    if data.type != "mltable":
        return list_files(data.path)
    from daskpar.data.mltable.open import open_mltable

    opened = open_mltable(data.path, datastores, files=data.is_file_list)
    if (
        isinstance(opened, FileList)
        and data.mode != "direct"
        and (url := next((path for path in opened.paths if "://" in path), ""))
    ):
        raise InputError(
            f"{opened.origin} lists {url}, and nothing is copied from a URL: run() would get it as text. "
            "Mount it and list its files, or write mode: direct for a script that opens URLs itself."
        )
    return opened


def open_split(step: ParallelStep, datastores: Mapping[str, str]) -> Table | FileList:
    """What a step splits: its input, or several one after the other."""
    data, *others = (step.inputs[name] for name in step.input_data)
    return open_input(data, datastores, others)


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


def open_with_keys(
    data: Input, keys: tuple[str, ...], datastores: Mapping[str, str], others: Sequence[Input] = ()
) -> Table | FileList:
    """Open an input, and check that it has the `keys` by which it is split, if any."""
    opened = open_input(data, datastores, others)
    check_keys(opened, keys)
    return opened


def plan_ahead(
    data: Input, by_size: BySize, folder: Path, datastores: Mapping[str, str], others: Sequence[Input] = ()
) -> PlanSummary:
    """Open an input that is split by size and write its plan, in any process.

    This can be done before there is a cluster.
    """
    from daskpar.batches.by_size import plan_by_size

    return plan_by_size(open_input(data, datastores, others), by_size, folder)


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
