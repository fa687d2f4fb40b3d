"""Plans mini-batches by size: files by their number, tables by bytes, from metadata alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.batches.plan import FILES, PIECES, PlanSummary
from daskpar.batches.plan_writer import write_plan
from daskpar.beside import Beside
from daskpar.data.file_look import MANY, planned_stamps
from daskpar.data.files import FileList
from daskpar.data.path_column import PathColumn
from daskpar.errors import InputError
from daskpar.jobspec.model import BySize
from daskpar.rundir.seen_files import seen_of

if TYPE_CHECKING:
    from daskpar.data.tables.table import Table


def plan_by_size(source: Table | FileList, by_size: BySize, folder: str | Path) -> PlanSummary:
    """Write the plan of `source` in mini-batches of `by_size`.

    The size is a number of files (default 1), or about so many bytes of a table (default 1 MB). InputError
    where bytes are given for a list of files.
    """
    if isinstance(source, FileList):
        if by_size.unit != 1:
            raise InputError(
                f"mini_batch_size is a number of bytes, but {source.origin or 'the input'} "
                "is a list of files: give a number of files"
            )
        files = replace(source, paths=PathColumn.of(source.paths)) if len(source) >= MANY else source
        # The names are on the disk by the time that other processes have looked at the files of a long list.
        looking = Beside(lambda: planned_stamps(source.paths, source.stamps), "daskpar-look")
        return write_plan(
            folder,
            kind=FILES,
            paths=files.paths,
            origin=files.origin,
            stamps=looking.result,
            seen=lambda: seen_of(files, looking.result()),
            per_batch=by_size.number or 1,
            parts=files.parts,
            warnings=files.warnings,
        )
    from daskpar.data.tables.cutting import cut_into_pieces  # file lists are planned without the readers

    return write_plan(
        folder,
        kind=PIECES,
        table=source,
        pieces=cut_into_pieces(source, by_size.size_bytes),
        items=source.rows,
        size_bytes=source.size_bytes,
        warnings=source.planning_warnings,
    )
