"""The logs of processors and nodes, by level."""

from __future__ import annotations

import pytest

from daskpar.events import ProcessorState
from daskpar.paths import LogPaths
from daskpar.reports.node_logs import NodeLogs
from daskpar.results import Reason

from .conftest import ended, failure, processor, read, tries_ended


@pytest.mark.parametrize(("level", "lines"), [("DEBUG", 5), ("INFO", 3), ("WARNING", 1)])
def test_a_processors_log_by_level(logs: LogPaths, level: str, lines: int) -> None:
    written = NodeLogs(logs, level)
    written.handle(processor(ProcessorState.READY))
    written.handle(tries_ended([(0, None), (1, None), (2, Reason.EXCEPTION), (3, None)], (failure(2),)))
    written.handle(ended())
    text = read(logs.processor(0, 0)) + (read(logs.processor(0, 1)) if logs.processor(0, 1).exists() else "")
    assert len(text.splitlines()) == lines
    assert (
        "ERROR|4711|" in text
        and 'mini-batch 2 (data/2.csv): EXCEPTION, goes back to the queue: ValueError: bad, "value" 1' in text
    )
    assert logs.node(0).exists() == (level != "WARNING")


def test_debug_names_everything_of_a_try_and_info_sums_a_bulk(logs: LogPaths) -> None:
    for level in ("DEBUG", "INFO"):
        written = NodeLogs(LogPaths(logs.root / level), level)
        written.handle(processor(ProcessorState.READY))
        written.handle(tries_ended([(0, None), (1, None), (2, None)]))
        written.close()
    debug = read(LogPaths(logs.root / "DEBUG").processor(0, 0)).splitlines()[0]
    assert debug.startswith("2026-11-23 13:20:00,250|DEBUG|4711|")
    assert debug.endswith(
        "|mini-batch 0 ip=tcp://10.0.0.4:1 pid=4711 try=1 status=RUN_DONE total=10 succeeded=10 failed=0 "
        "start=2026-11-23T13:20:00.000000Z duration=0.250000 process_time=0.062500 run_time=0.125000"
    )
    info = read(LogPaths(logs.root / "INFO").processor(0, 0)).splitlines()
    assert [line.split("|", 4)[4] for line in info] == [
        "2 mini-batches done (indices 0 to 2), 20 items, 0.250 s in run(), 0.500 s in all"
    ]
