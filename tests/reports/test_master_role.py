"""The log of what the driver did for a step, by level."""

from __future__ import annotations

from daskpar.events import NodeEvent, NodeState, ProcessorState, Warned
from daskpar.paths import LogPaths
from daskpar.reports.master_role import MasterRole

from .conftest import START, Started, ended, planned, processor, read, tries_ended


def test_the_orchestrators_log_keeps_settings_warnings_nodes_and_result(
    logs: LogPaths, started: Started
) -> None:
    lost = NodeEvent(
        time=START, step="score", node=1, address="tcp://b", state=NodeState.LOST, detail="connection closed"
    )
    events = [
        started(timeout="60 (default)"),
        planned(2),
        lost,
        Warned(time=START, step="score", text="a\nwarning"),
        processor(ProcessorState.READY),
    ]
    events += [tries_ended([(0, None)]), ended("failed", "boom")]
    lines = {}
    for level in ("DEBUG", "INFO", "WARNING"):
        own = LogPaths(logs.root / level)
        watcher = MasterRole(own, level)
        for event in events:
            watcher.handle(event)
        lines[level] = [
            line.split("|")[1] + " " + line.split("|", 4)[4] for line in read(own.master_role).splitlines()
        ]
    assert lines["WARNING"] == [
        "WARNING node 1 at tcp://b lost: connection closed",
        "WARNING a warning",
        "ERROR reason: boom",
    ]
    assert "INFO setting timeout = 60 (default)" in lines["INFO"]
    assert "DEBUG 0/process000 (pid 4711) ready" in lines["DEBUG"]
    assert not [line for line in lines["INFO"] if line.startswith("DEBUG")]
