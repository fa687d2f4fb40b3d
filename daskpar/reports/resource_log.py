"""`sys/perf`: what nodes and processors use, one row for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from daskpar.events import ResourceSample, Watcher
from daskpar.paths import LogPaths
from daskpar.reports.log_files import append
from daskpar.reports.wording import csv_row, iso

NODE_COLUMNS = (
    "Utc Time",
    "Cpu Percent",
    "Memory Total (MB)",
    "Memory Available (MB)",
    "Memory Used (MB)",
    "Memory Used Percent",
    "Disk Io Read Count",
    "Disk Io Write Count",
    "Disk Io Read (MB)",
    "Disk Io Write (MB)",
    "Network Sent (MB)",
    "Network Recv (MB)",
    "# of TCP Connections",
    "# of UDP Connections",
)
"""Of `node_resource_usage.csv`; a sample's `node_usage` is keyed by these names, without the first."""


class ResourceLog(Watcher):
    """Writes samples as they come. Columns of disks and processors are those of the first sample."""

    def __init__(self, logs: LogPaths) -> None:
        self._logs = logs
        self._columns: dict[Path, tuple[str, ...]] = {}

    def resources_sampled(self, event: ResourceSample) -> None:
        folder = self._logs.perf(event.node)
        now = iso(event.time)
        self._rows(folder / "node_resource_usage.csv", now, [event.node_usage], NODE_COLUMNS)
        if event.disk_usage:
            self._rows(folder / "node_disk_usage.csv", now, [event.disk_usage])
        if event.gpus:
            self._rows(folder / "node_gpu_usage.csv", now, list(event.gpus))
        if event.processes:
            self._rows(folder / "processes_resource_usage.csv", now, list(event.processes))

    def _rows(
        self,
        path: Path,
        now: str,
        rows: list[Mapping[str, object]] | list[Mapping[str, float]],
        known: tuple[str, ...] = (),
    ) -> None:
        text = ""
        if path not in self._columns:
            names = known or ("Utc Time", *dict.fromkeys(name for row in rows for name in row))
            # A resumed step goes on with the columns that its file has.
            self._columns[path] = _head(path) or names
            text = "" if _head(path) else csv_row(names)
        columns = self._columns[path]
        append(
            path,
            text + "".join(csv_row([now, *(_value(row.get(name)) for name in columns[1:])]) for row in rows),
        )


def _value(value: object) -> object:
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else round(value, 3)


def _head(path: Path) -> tuple[str, ...]:
    try:
        with path.open(encoding="utf-8") as file:
            return tuple(file.readline().rstrip("\n").split(","))
    except FileNotFoundError:
        return ()
