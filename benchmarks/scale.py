"""Measures how large a cluster the tracker and the dispatcher can serve: real ones, on simulated nodes.

    python -m benchmarks.scale [--nodes 1000] [--processors 8] [--mini-batches 10000000] [--seconds 0.01]

Simulated nodes take blocks from the real dispatcher, "run" them on a clock of their own and report as real
nodes do: a flush for each 100 ms of work of each processor, gathered into one message for each node every 100
ms. The tracker counts them and passes them on, the driver's dispatcher settles them and hands out more. What
is measured is the processor time that this takes on one core, so the ratio of simulated to real seconds says
how much faster than real time the scheduler side is; below 1 it would hold the cluster up.

What the tracker and the dispatcher hold is added up object by object, apart from the simulation's own list of
events: at moments spread over the run, the largest of which counts.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import heapq
import json
import pickle
import resource
import sys
import time
import types
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from daskpar.batches.records import RECORD, unpack
from daskpar.engine.plugins.tracker import Tracker
from daskpar.engine.plugins.tracker_messages import MessagesArrived, TrackerMessage, from_wire
from daskpar.engine.rules.block_size import BlockSizer, block_seconds
from daskpar.engine.rules.counter import Thresholds
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.processor.protocol import BlockEnded, BlockOrder, Flushed, Message
from daskpar.results import Counts, TryStatus

REPORT_SECONDS = 0.1
LOOKS = 20
"""How often in a run the memory is added up."""
_SHARED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


def held_bytes(*roots: object) -> int:
    """Bytes of all objects that the roots hold, without code and modules."""
    seen: set[int] = set()
    found, waiting = 0, list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _SHARED):
            continue
        seen.add(id(one))
        found += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return found


class SchedulerStandIn:
    """What the tracker needs of a Dask scheduler."""

    def __init__(self) -> None:
        self.stream_handlers: dict[str, Any] = {}
        self.workers: dict[str, Any] = {}
        self.sent: list[TrackerMessage] = []

    def client_send(self, client: str, message: dict[str, Any]) -> None:
        """Keep what is meant for the driver."""
        self.sent.append(from_wire(message["event"][1]))

    def worker_send(self, worker: str, message: dict[str, Any]) -> None:
        """Do nothing: the simulation never stops a node."""


@dataclass
class SimulatedNode:
    """A node whose processors take the next waiting block each."""

    name: str
    waiting: list[BlockOrder] = field(default_factory=list)
    free: int = 0


@dataclass
class Simulation:
    """One run on the simulated clock."""

    nodes: int
    processors: int
    mini_batches: int
    seconds: float
    now: float = 0.0
    messages: int = 0
    flushes: int = 0
    settled: int = 0
    bytes: int = 0
    most_blocks: int = 0
    cost: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def run(self) -> dict[str, float]:
        """Run all mini-batches; the figures."""
        sizer = BlockSizer(target=block_seconds(self.nodes * self.processors))
        dispatcher = Dispatcher([(0, self.mini_batches)], sizer)
        scheduler = SchedulerStandIn()
        tracker = Tracker(
            run_id="run",
            step="step",
            driver="driver",
            thresholds=Thresholds(),
            counts=Counts(planned=self.mini_batches),
        )
        asyncio.run(tracker.start(scheduler))
        cluster = {
            f"tcp://node-{i}": SimulatedNode(f"tcp://node-{i}", free=self.processors)
            for i in range(self.nodes)
        }
        for name in cluster:
            dispatcher.add_node(name, self.processors)
        empty = held_bytes(tracker, dispatcher)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.events: list[tuple[float, int, str, list[Message]]] = []
        self._number = 0
        blocks = 0
        blocks += self._hand_out(dispatcher, cluster)
        held = looked = 0
        while self.events:
            if self.settled * LOOKS >= looked * self.mini_batches:
                held, looked = max(held, held_bytes(tracker, dispatcher)), looked + 1
            self.now, _, name, messages = heapq.heappop(self.events)
            self._report(tracker, dispatcher, scheduler, cluster[name], messages)
            blocks += self._hand_out(dispatcher, cluster)
        assert dispatcher.finished
        assert tracker.counter.counts.succeeded == self.mini_batches
        spent = sum(self.cost.values())
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        return {
            "simulated_seconds": self.now,
            "cpu_seconds": spent,
            "times_real_time": self.now / spent,
            "tracker_seconds": self.cost["tracker"],
            "dispatcher_seconds": self.cost["dispatcher"],
            "blocks": blocks,
            "most_blocks_alive": self.most_blocks,
            "messages": self.messages,
            "flushes": self.flushes,
            "messages_per_cpu_second": self.messages / spent,
            "message_megabytes": self.bytes / 1e6,
            "reports_per_cpu_second": self.flushes / spent,
            "held_megabytes": held / 1e6,
            "held_bytes_per_mini_batch": (held - empty) / self.mini_batches,
            "mini_batches_per_cpu_second": self.mini_batches / spent,
            "memory_grown_megabytes": grown / 1024,
        }

    def _hand_out(self, dispatcher: Dispatcher, cluster: dict[str, SimulatedNode]) -> int:
        began = time.process_time()
        orders = dispatcher.orders()
        self.cost["dispatcher"] += time.process_time() - began
        self.most_blocks = max(self.most_blocks, len(dispatcher.blocks))
        touched = set()
        for name, order in orders:
            cluster[name].waiting.append(order)
            touched.add(name)
        for name in touched:
            self._work(cluster[name])
        return len(orders)

    def _work(self, node: SimulatedNode) -> None:
        """Start waiting blocks on free processors; flushes of one node within 0.1 s become one event."""
        while node.free and node.waiting:
            node.free -= 1
            order = node.waiting.pop(0)
            each = max(1, int(REPORT_SECONDS / self.seconds))
            at, start = self.now, order.start
            while start < order.stop:
                stop = min(order.stop, start + each)
                at += max((stop - start) * self.seconds, 0.0)
                messages: list[Message] = [self._flush(order, start, stop)]
                if stop == order.stop:
                    messages.append(BlockEnded(block=order.block, token=str(order.block)))
                self._number += 1
                when = (int(at / REPORT_SECONDS) + 1) * REPORT_SECONDS
                heapq.heappush(self.events, (when, self._number, node.name, messages))
                start = stop

    def _flush(self, order: BlockOrder, start: int, stop: int) -> Flushed:
        records = np.zeros(stop - start, RECORD)
        records["index"] = np.arange(start, stop)
        records["items"] = records["returned"] = 1
        records["elapsed"] = self.seconds
        records["status"], records["final"] = TryStatus.SUCCEEDED, 1
        return Flushed(
            block=order.block,
            token=str(order.block),
            part="",
            offset=0,
            length=0,
            crc=0,
            records=records.tobytes(),
        )

    def _report(
        self,
        tracker: Tracker,
        dispatcher: Dispatcher,
        scheduler: SchedulerStandIn,
        node: SimulatedNode,
        messages: list[Message],
    ) -> None:
        # What this node says in the same tenth of a second travels together, as its reporter gathers it.
        while self.events and self.events[0][0] == self.now and self.events[0][2] == node.name:
            messages = messages + heapq.heappop(self.events)[3]
        data = pickle.dumps(messages, protocol=5)
        self.messages += 1
        self.bytes += len(data)
        began = time.process_time()
        tracker.report(worker=node.name, messages=data)
        tracked = time.process_time()
        self.cost["tracker"] += tracked - began
        for message in scheduler.sent:
            if isinstance(message, MessagesArrived):
                self._drive(dispatcher, message.pickled, node)
        scheduler.sent.clear()
        self.cost["dispatcher"] += time.process_time() - tracked
        self._work(node)

    def _drive(self, dispatcher: Dispatcher, data: bytes, node: SimulatedNode) -> None:
        """Do what the driver does with a report, except for writing to the disk."""
        for message in pickle.loads(data):
            if isinstance(message, Flushed):
                records = unpack(message.records)
                accepted = dispatcher.settle(message.block, message.token, records["index"])
                assert accepted.all()
                dispatcher.sizer.measure(len(records), float(records["elapsed"].sum()))
                self.flushes += 1
                self.settled += len(records)
            elif isinstance(message, BlockEnded):
                dispatcher.end(message.block, message.token)
                node.free += 1


def main() -> int:
    """Run the sizes asked for, or a ladder of them; prints a table and keeps the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int)
    parser.add_argument("--processors", type=int, default=8)
    parser.add_argument("--mini-batches", type=int)
    parser.add_argument("--seconds", type=float, default=0.01, help="length of one mini-batch")
    given = parser.parse_args()
    ladder = [(10, 100_000), (100, 1_000_000), (1000, 1_000_000), (1000, 10_000_000)]
    sizes = (
        [(given.nodes or 1000, given.mini_batches or 10_000_000)]
        if given.nodes or given.mini_batches
        else ladder
    )
    rows = []
    heads = (
        "nodes",
        "mini-batches",
        "simulated s",
        "CPU s",
        "x real time",
        "blocks alive",
        "reports/CPU s",
        "held MB",
        "grown MB",
    )
    print("{:>6} {:>12} {:>11} {:>7} {:>11} {:>12} {:>13} {:>8} {:>8}".format(*heads))
    for nodes, count in sizes:
        found = Simulation(nodes, given.processors, count, given.seconds).run()
        rows.append(
            {
                "nodes": nodes,
                "processors": given.processors,
                "mini_batches": count,
                "seconds": given.seconds,
                **found,
            }
        )
        print(
            f"{nodes:>6} {count:>12,} {found['simulated_seconds']:>11.1f} {found['cpu_seconds']:>7.1f} "
            f"{found['times_real_time']:>11.2f} {found['most_blocks_alive']:>12,.0f} "
            f"{found['reports_per_cpu_second']:>13,.0f} {found['held_megabytes']:>8.1f} "
            f"{found['memory_grown_megabytes']:>8.0f}",
            flush=True,
        )
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    with open(results / "scale.jsonl", "a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
