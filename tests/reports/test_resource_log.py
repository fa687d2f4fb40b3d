"""The tables of what nodes and processors use."""

from __future__ import annotations

from daskpar.paths import LogPaths
from daskpar.reports.resource_log import NODE_COLUMNS, ResourceLog

from .conftest import read, sample


def test_resources_have_azures_columns_and_a_resumed_step_goes_on_with_its_files(logs: LogPaths) -> None:
    for after in (1.0, 2.0):
        ResourceLog(logs).handle(sample({"Cpu Percent": 12.5, "# of UDP Connections": 3}, after))
    folder = logs.perf(0)
    lines = read(folder / "node_resource_usage.csv").splitlines()
    assert lines[0] == ",".join(NODE_COLUMNS)
    assert lines[1] == "2026-11-23T13:20:01.000000Z,12.5" + ",N/A" * 11 + ",3"
    assert len(lines) == 3
    assert read(folder / "processes_resource_usage.csv").splitlines()[:2] == [
        "Utc Time,Process,Pid,Memory (MB)",
        "2026-11-23T13:20:01.000000Z,process000,7,12.346",
    ]
    assert len(read(folder / "node_disk_usage.csv").splitlines()) == 3
