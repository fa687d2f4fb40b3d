"""Turns messages of nodes into events and records, which the driver publishes and commits: pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import time

import numpy as np

from daskpar.batches.records import RECORD
from daskpar.events import LongCallsChanged, ProcessorEvent, ProcessorState, ResourceSample
from daskpar.processor.protocol import LongCalls, ProcessorChanged, Sampled
from daskpar.results import Failure, InitFailed, Reason, TryStatus


def given_up_record(
    index: int, *, items: int, node: int, what: str, why: str, described: str = "", log: str = ""
) -> tuple[np.ndarray, Failure]:
    """The record and the failure of a mini-batch that could not report its own failure."""
    message = f"mini-batch {index} is given up: {what}, so it probably is the cause ({why})"
    return failed_record(
        index, items=items, node=node, reason=Reason.LOST, message=message, described=described, log=log
    )


def failed_record(
    index: int,
    *,
    items: int,
    node: int,
    reason: Reason,
    message: str,
    described: str = "",
    log: str = "",
) -> tuple[np.ndarray, Failure]:
    """The record and the failure of a mini-batch that the driver fails.

    `described`: its items in words. `log`: where to look for more.
    """
    record = np.zeros(1, dtype=RECORD)
    record["index"], record["items"], record["failed_items"], record["node"] = index, items, items, node
    record["status"], record["reason"], record["final"], record["started"] = (
        TryStatus.FAILED,
        reason,
        1,
        time(),
    )
    return record, Failure(
        index=index, reason=reason, message=message, items=described, log=log, time=time(), final=True
    )


def resource_sample(step: str, sample: Sampled) -> ResourceSample:
    """A node's sample as an event of `step`."""
    return ResourceSample(
        time=sample.time,
        step=step,
        node=sample.node,
        node_usage=sample.node_usage,
        disk_usage=sample.disk_usage,
        processes=sample.processes,
        gpus=sample.gpus,
    )


NAMED_CALLS = 50
"""Calls of a node that get the name of their mini-batch: the oldest one is what people are told of."""


def long_calls_changed(
    step: str, calls: LongCalls, describe: Callable[[int], str] = lambda _: ""
) -> LongCallsChanged:
    """What takes long on a node as an event of `step`, its times by the clock of this process.

    `describe`: the items of a mini-batch in words.
    """
    now = time()
    moved = sorted(calls.calls, key=lambda call: call.since)
    named = [
        replace(
            call,
            since=call.since + now - calls.time,
            name=describe(call.index)[:200] if place < NAMED_CALLS and call.index >= 0 else "",
        )
        for place, call in enumerate(moved)
    ]
    return LongCallsChanged(time=now, step=step, node=calls.node, calls=tuple(named))


def processor_event(
    step: str, node: int | None, address: str, message: InitFailed | ProcessorChanged
) -> ProcessorEvent:
    """What became of a processor as an event of `step`; `node` is None where its node is no member (yet)."""
    return ProcessorEvent(
        time=message.time or time(),
        step=step,
        node=-1 if node is None else node,
        address=address,
        processor=message.processor,
        pid=0 if isinstance(message, InitFailed) else message.pid,
        state=ProcessorState.INIT_FAILED if isinstance(message, InitFailed) else message.state,
        detail=message.message if isinstance(message, InitFailed) else message.detail,
        trace=message.trace if isinstance(message, InitFailed) else "",
        peak_bytes=0 if isinstance(message, InitFailed) else message.peak_bytes,
    )
