"""Names the Parquet files that a version of a delta table is made of, by the package `deltalake`."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from daskpar.errors import InputError, UsageError
from daskpar.locations import is_url, join

if TYPE_CHECKING:
    from deltalake import DeltaTable

_UNREADABLE = {"deletionVectors": "deletion vectors", "columnMapping": "renamed columns"}


def delta_files(folder: str, version: int | None, timestamp: str | None) -> tuple[list[str], pa.Table | None]:
    """Files of a delta table, in the order in which they were added, and its partition columns.

    The values of partition columns stand only in the log; there is a row for each file. As Microsoft's
    reader: `timestamp` picks the newest version that is not younger, the first one where all are.
    """
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError:
        raise UsageError(
            "read_delta_lake needs the package deltalake: pip install 'daskpar[delta]'"
        ) from None
    with ExitStack() as log:
        here = folder
        if is_url(folder):
            from daskpar.data.formats.delta_log import local_log

            here = log.enter_context(local_log(folder, version, whole=timestamp is not None))
        try:
            table = DeltaTable(here)
            if timestamp is not None:
                version = _version_at(table, timestamp)
            if version is not None:
                table.load_as_version(version)
            return _named(folder, table)
        except (DeltaError, OSError, OverflowError) as error:
            why = str(error).partition("\n")[0]  # what follows are calls inside the package
            why = why.replace(here, folder)
            raise InputError(f"{folder} can't be read as a delta table: {why}") from None


def _named(folder: str, table: DeltaTable) -> tuple[list[str], pa.Table | None]:
    for words in _unreadable(table):
        raise InputError(f"{folder} is a delta table with {words}, which daskpar does not read")
    actions = pa.table(table.get_add_actions(flatten=True))
    actions = actions.take(pa.array(_order(actions), pa.int64()))
    found = [unquote(path) for path in actions.column("path").to_pylist()]  # the log holds them as URLs do
    paths = [path if is_url(path) or path.startswith("/") else join(folder, path) for path in found]
    names = [name for name in actions.column_names if name.startswith("partition.")]
    values = (
        actions.select(names).rename_columns([name.removeprefix("partition.") for name in names])
        if names
        else None
    )
    return paths, values


def _unreadable(table: DeltaTable) -> list[str]:
    """What the table uses that can't be read here, in words."""
    features = set(table.protocol().reader_features or ())
    if (
        table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none"
    ):  # older tables name no features
        features.add("columnMapping")
    return [words for feature, words in _UNREADABLE.items() if feature in features]


def _version_at(table: DeltaTable, timestamp: str) -> int:
    try:
        moment: datetime | None = datetime.fromisoformat(timestamp)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InputError(
            f"timestamp_as_of {timestamp!r} must be a time with its zone, e.g. 2020-01-31T12:00:00Z"
        )
    commits = sorted(table.history(), key=lambda commit: commit["version"])
    milliseconds = moment.timestamp() * 1000
    chosen = [commit["version"] for commit in commits if commit.get("timestamp", 0) <= milliseconds]
    return int(chosen[-1] if chosen else commits[0]["version"])


def _order(actions: pa.Table) -> list[int]:
    """Rows of `actions`, oldest first; those of one commit come in its own order."""
    times = actions.column("modification_time").to_pylist()
    return sorted(range(len(times)), key=times.__getitem__)
