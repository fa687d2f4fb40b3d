"""The events of a step with known tries, for all tests of watchers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.events import (
    ProcessorEvent,
    ProcessorState,
    Progress,
    ResourceSample,
    StepEnded,
    StepKind,
    StepPlanned,
    StepStarted,
    TriesEnded,
)
from daskpar.paths import LogPaths
from daskpar.results import Counts, Failure, Reason, Status, StepResult, TryStatus

START = 1_795_440_000.0  # 2026-11-23T13:20:00Z

Started = Callable[..., StepStarted]
"""Makes the first event of a step from its settings."""

Try = tuple[int, Reason | None]
"""Index and why it failed: None for a success."""


def records_of(tries: list[Try]) -> np.ndarray:
    """Tries of 10 items, a tenth of a second apart, on processors 0 and 1 of node 0 in turn."""
    records = np.zeros(len(tries), RECORD)
    for row, (index, reason) in enumerate(tries):
        failed = reason is not None
        records[row]["index"] = index
        records[row]["items"] = 10
        records[row]["returned"] = 0 if failed else 10
        records[row]["failed_items"] = 10 if failed else 0
        records[row]["started"] = START + row / 10
        records[row]["elapsed"], records[row]["run"], records[row]["cpu"] = 0.25, 0.125, 0.0625
        records[row]["processor"] = row % 2
        records[row]["status"] = TryStatus.FAILED if failed else TryStatus.SUCCEEDED
        records[row]["reason"] = reason or Reason.NONE
        records[row]["final"] = not failed
    return records


def failure(
    index: int,
    reason: Reason = Reason.EXCEPTION,
    *,
    final: bool = False,
    time: float = START + 1,
    number: int = 1,
) -> Failure:
    """A failed try with everything that a failure has."""
    return Failure(
        index=index,
        reason=reason,
        message=f'ValueError: bad, "value" {number}',
        trace=f'Traceback (most recent call last):\n  File "score.py", line 3, in run\nValueError: bad, "value" {number}\n',
        items=f"data/{index}.csv",
        log=f"logs/user/error/0/process00{index % 2}.txt",
        time=time,
        final=final,
    )


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def progress(after: float, done: int = 0, doing: str = "", **counts: int) -> Progress:
    return Progress(
        time=START + after,
        step="score",
        counts=Counts(planned=20, succeeded=done, **counts),
        running=2,
        doing=doing,
    )


def processor(state: ProcessorState, number: int = 0, detail: str = "", after: float = 0.5) -> ProcessorEvent:
    return ProcessorEvent(
        time=START + after,
        step="score",
        node=0,
        address="tcp://10.0.0.4:1",
        processor=number,
        pid=4711,
        state=state,
        detail=detail,
    )


def sample(node_usage: dict[str, float], after: float = 1.0) -> ResourceSample:
    processes = ({"Process": "process000", "Pid": 7, "Memory (MB)": 12.34567},)
    return ResourceSample(
        time=START + after,
        step="score",
        node=0,
        node_usage=node_usage,
        disk_usage={"Disk Free (MB)": 5.0},
        processes=processes,
    )


@pytest.fixture
def logs(tmp_path: Path) -> LogPaths:
    return LogPaths(tmp_path / "run" / "steps" / "score" / "logs")


@pytest.fixture
def started(logs: LogPaths) -> Callable[..., StepStarted]:
    def make(**settings: object) -> StepStarted:
        return StepStarted(
            time=START, step="score", kind=StepKind.PARALLEL, folder=str(logs.root.parent), settings=settings
        )

    return make


def planned(count: int) -> StepPlanned:
    return StepPlanned(
        time=START, step="score", mini_batches=count, items=10 * count, size_bytes=None, nodes=1, processors=2
    )


def tries_ended(tries: list[Try], failures: tuple[Failure, ...] = (), time: float = START + 2) -> TriesEnded:
    return TriesEnded(time=time, step="score", records=records_of(tries), failures=failures)


def ended(
    status: str = "completed", reason: str = "", first: Failure | None = None, **counts: int
) -> StepEnded:
    result = StepResult(
        step="score",
        status=Status(status),
        reason=reason,
        counts=Counts(**counts),
        seconds=60.0,
        outputs={"scores": "/out/scores.txt"},
        first_failure=first,
    )
    return StepEnded(time=START + 60, result=result)
