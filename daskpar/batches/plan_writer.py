"""Writes the plan of a split input into a folder: once, by the driver."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar import atomic
from daskpar.batches.name_texts import root_of
from daskpar.batches.plan import FORMAT, GROUPED, NUMBERS, PIECES, PlanSummary
from daskpar.batches.plan_arrow import PATHS, write_groups, write_paths, write_pieces
from daskpar.batches.plan_files import checks_of_files
from daskpar.batches.plan_stamps import write_stamps
from daskpar.data.path_column import PathColumn, may_hold_urls
from daskpar.locations import is_url
from daskpar.rundir.boot import boot_id

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from daskpar.data.stamps import Stamp
    from daskpar.data.tables.table import Table


def write_plan(
    folder: str | Path,
    *,
    kind: str,
    count: int | None = None,
    paths: Sequence[str] | None = None,
    stamps: Callable[[], Sequence[Stamp]] = tuple,
    origin: str = "",
    per_batch: int = 1,
    parts: Sequence[int] = (),
    table: Table | None = None,
    pieces: np.ndarray | None = None,
    offsets: np.ndarray | None = None,
    keys: pa.Table | None = None,
    items: int | None = None,
    size_bytes: int | None = None,
    warnings: Sequence[str] = (),
    seen: Callable[[], Mapping[str, object] | None] = lambda: None,
) -> PlanSummary:
    """Write a plan; `plan.json` appears last and whole, so a folder without it is no plan.

    `files` takes `paths` (with `stamps`, where these are to be checked; with `origin`, the input that lists
    them, below which they are named), `per_batch`, and `parts` where they are of several inputs, no
    mini-batch of two (how many files each has); `pieces` takes `table` and `pieces`; `grouped` takes
    `offsets` (groups + 1 numbers), `keys` (a row for each group, columns named as the keys) and either
    `paths` or `table` with `pieces`; `numbers` takes `count`.
    `warnings`: what planning has shown, and `seen`: how the files were; they stay with the plan. `stamps` and
    `seen` are asked for once the paths are written. Other files may lie in the folder already (those that the
    pieces of `grouped` read).
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / "plan.json").unlink(missing_ok=True)
    document: dict[str, Any] = {"format": FORMAT, "kind": kind, "per_batch": per_batch, "boot": boot_id()}
    written: list[Path] = []
    if paths is not None:
        document["paths"] = write_paths(target / PATHS, paths)
        document["root"] = _root(origin, paths)
        written.append(target / PATHS)
        found = stamps()
        if any(stamp.known for stamp in found):
            write_stamps(target, found)
            urls = may_hold_urls(paths) and any("://" in path and is_url(path) for path in paths)
            document["stamps"] = {"local": not urls}
        rows = len(paths)
        if len(parts) > 1:
            document["parts"] = list(parts)
            count = sum(-(-part // per_batch) for part in parts)
        count = -(-rows // per_batch) if count is None else count
        items = rows if items is None else items
    elif pieces is not None and table is not None:
        document["table"] = table.to_json()
        document["breaks"] = _row_group_starts(table, pieces) if kind == PIECES else []
        document["pieces"] = write_pieces(target / "plan.arrow", pieces)
        written.append(target / "plan.arrow")
        count = len(pieces) if count is None else count
    if kind == GROUPED:
        assert offsets is not None and keys is not None
        count = len(offsets) - 1
        write_groups(target / "groups.arrow", offsets, keys)
        written.append(target / "groups.arrow")
    if kind == NUMBERS:
        items = count if items is None else items
    summary = PlanSummary(
        count=count or 0,
        items=items,
        size_bytes=size_bytes,
        tabular=pieces is not None,
        kind=kind,
        warnings=tuple(warnings),
    )
    document["warnings"] = list(warnings)
    if (known := seen()) is not None:
        document["seen"] = dict(known)
    document |= {"count": summary.count, "items": items, "size_bytes": size_bytes, "tabular": summary.tabular}
    document["files"] = checks_of_files(written, _own_files(table))
    # Synced to the disk, as all files above: commits name mini-batches by their number in this plan.
    with atomic.writing(target / "plan.json") as fd:
        atomic.write_all(fd, json.dumps(document).encode())
    return summary


def _root(origin: str, paths: Sequence[str]) -> str:
    """As `root_of`; quick where all paths are known to lie below the input."""
    if isinstance(paths, PathColumn) and len(paths):
        inside = os.fsdecode(paths.prefix)
        if inside and inside == f"{origin.rstrip('/')}/":
            return "" if inside == "/" else inside
        return root_of(origin, paths.least_and_greatest())
    return root_of(origin, paths)


def _own_files(table: Table | None) -> list[Path]:
    """Files of a plan's folder that its table reads: those of a grouping."""
    if table is None:
        return []
    from daskpar.data.tables.table import ARROW  # file lists are planned without the readers

    return [Path(path) for path in table.files] if table.format == ARROW else []


def _row_group_starts(table: Table, pieces: np.ndarray) -> list[int]:
    """First pieces of row groups, which are costly to decode twice."""
    if not table.by_rows:
        return []
    import numpy as np

    found = []
    for number, groups in enumerate(table.groups):
        starts = np.cumsum([0, *(rows for rows, _ in groups)])[:-1]
        mine = np.flatnonzero(pieces["file"] == number)
        at = np.searchsorted(pieces["start"][mine], starts[starts < pieces["stop"][mine].max(initial=0)])
        found.append(mine[at[at < len(mine)]])  # a piece may hold several whole row groups
    return [int(i) for i in np.unique(np.concatenate(found))] if found else []
