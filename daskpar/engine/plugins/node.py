"""The node: a Dask worker plugin that owns a step's processors on its worker, and the task that runs a block.

User code never runs inside the Dask worker. A block's task only hands its order to the processors and waits,
outside Dask's slots; what happened travels as messages over the worker's stream to the tracker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import secrets
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from importlib import metadata
from time import monotonic
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker, secede

from daskpar import _version
from daskpar.engine.plugins.late_plugin import leave_if_over
from daskpar.engine.plugins.tracker import LATE_SECONDS, ignore, stop_name, tracker_name
from daskpar.engine.rules.allocation import NodeFacts
from daskpar.engine.rules.backup_dispatch import Overtaken
from daskpar.processor import prestart
from daskpar.processor.gpus.gpu_readings import gpus_here
from daskpar.processor.pool import ProcessorPool
from daskpar.processor.protocol import (
    PIECE_BYTES,
    BlockEnded,
    BlockOrder,
    LogMessage,
    LookRow,
    Message,
    NodeClosed,
    ProcessorSettings,
    RateAsked,
    Released,
    carried_bytes,
)
from daskpar.processor.resource_usage import cores
from daskpar.rundir.probe import NodeNeeds, NodeView, clear_marks, node_view

if TYPE_CHECKING:
    from distributed import Worker

    from daskpar.engine.shipped.node_folder import NodeFolder
    from daskpar.engine.shipped.row_carrier import RowCarrier
    from daskpar.outputs.upload_gate import UploadGate
    from daskpar.processor.fetching.fetch_process import FetchProcess
    from daskpar.processor.fork_server import ForkServer

logger = logging.getLogger(__name__)

REPORT_SECONDS = 0.1
"""How long reports of finished mini-batches are gathered before they are sent."""
URGENT_SECONDS = 0.01
"""The same for what the driver acts on at once: the end of a block, a range given back."""


def plugin_name(run_id: str) -> str:
    """Name of the node plugin of a run."""
    return f"daskpar-node-{run_id}"


def node_facts(dask_worker: Worker) -> NodeFacts:
    """Runs on a worker (`client.run`)."""
    return NodeFacts(
        address=dask_worker.address,
        host=socket.gethostname(),
        cores=cores(),
        gpus=gpus_here(),
        version=_version.__version__,
        python=sys.executable,
        pid=os.getpid(),
        threads=dask_worker.state.nthreads,
        memory=dask_worker.memory_manager.memory_limit or None,
        packages=package_versions(),
    )


@cache
def package_versions() -> dict[str, str]:
    """What values and files may depend on -> its version here; packages that are not installed are left
    out.
    """
    found = {"Python": ".".join(map(str, sys.version_info[:2]))}
    for package in ("pandas", "pyarrow", "numpy"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


class Reporter:
    """Gathers the messages of one step on one node and sends them as lists over the worker's stream."""

    def __init__(self, worker: Worker, operation: str) -> None:
        self._worker = worker
        self._operation = operation
        self._lock = threading.Lock()
        self._waiting: list[Message] = []
        self._due: float | None = None
        self._last = 0.0
        self._carries = False
        """Whether rows or files are waiting among them."""

    def __call__(self, messages: list[Message]) -> None:
        """Take messages, in order, from any thread."""
        carries = any(map(carried_bytes, messages))
        urgent = carries or any(
            isinstance(m, BlockEnded | Released | RateAsked | NodeClosed) for m in messages
        )
        with self._lock:
            self._waiting.extend(messages)
            self._carries = self._carries or carries
            due = max(monotonic(), self._last + (URGENT_SECONDS if urgent else REPORT_SECONDS))
            if self._due is not None and self._due <= due:
                return
            self._due = due
        self._worker.loop.add_callback(self._at, due)

    def _at(self, due: float) -> None:
        wait = due - monotonic()
        if wait <= 0:
            self._send()
        else:
            self._worker.loop.call_later(wait, self._send)

    def _send(self) -> None:
        with self._lock:
            messages, self._waiting = self._waiting, []
            carries, self._carries = self._carries, False
            self._due = None
            self._last = monotonic()
        for some in _loads(messages) if carries else [messages] if messages else []:
            self._worker.batched_send({"op": self._operation, "messages": pickle.dumps(some, protocol=5)})


def _loads(messages: list[Message]) -> Iterator[list[Message]]:
    """The messages in lists that carry no more rows than one message may."""
    load: list[Message] = []
    size = 0
    for message in messages:
        if load and size + carried_bytes(message) > PIECE_BYTES:
            yield load
            load, size = [], 0
        load.append(message)
        size += carried_bytes(message)
    yield load


class _OpenStep:
    """The processors of one step on this node, and the tasks that wait for their blocks."""

    def __init__(
        self,
        worker: Worker,
        settings: ProcessorSettings,
        server: ForkServer | None,
        fetch: FetchProcess | None,
    ) -> None:
        self.settings = settings
        self.reporter = Reporter(worker, tracker_name(settings.run_id, settings.opened_as))
        self.waiting: dict[int, threading.Event] = {}
        self.gate: UploadGate | None = None
        self.carrier: RowCarrier | None = None
        take = self.take
        if settings.places is not None:
            from daskpar.engine.shipped.row_carrier import RowCarrier

            self.carrier = RowCarrier(settings, settings.places, take)
            take = self.carrier.take
        if settings.uploads is not None:
            from daskpar.outputs.upload_gate import UploadGate

            begun = self.carrier.bring_files if self.carrier is not None else None
            self.gate = UploadGate(settings, settings.uploads, take, begun)
            take = self.gate.take
        self.pool = ProcessorPool(settings, take, server, fetch)

    def take(self, messages: list[Message]) -> None:
        self.reporter(messages)
        for message in messages:
            if isinstance(message, BlockEnded) and (event := self.waiting.get(message.block)) is not None:
                event.set()

    def run(self, order: BlockOrder) -> None:
        event = self.waiting[order.block] = threading.Event()
        try:
            self.pool.submit(order)
            event.wait()
        finally:
            self.waiting.pop(order.block, None)

    def close(self, *, drain: bool) -> None:
        self.pool.close()
        if self.gate is not None:
            self.gate.close()
        if self.carrier is not None:
            self.carrier.close(drain=drain)
        self.reporter([NodeClosed(node=self.settings.node)])
        for event in list(self.waiting.values()):
            event.set()


class NodePlugin(WorkerPlugin):
    """Lives on every worker of the cluster for the length of a run.

    `open` starts a step's processors on those that take part.
    """

    def __init__(self, run_id: str) -> None:
        self.name = plugin_name(run_id)
        self.run_id = run_id

    def setup(self, worker: Worker) -> None:
        """Called by Dask on each worker, also on those that join later."""
        self.worker = worker
        self.steps: dict[str, _OpenStep] = {}
        self.commands: dict[tuple[str, int], Any] = {}
        self._killed: set[tuple[str, int]] = set()
        self._left: set[str] = set()
        self._folder: NodeFolder | None = None
        self._carriers: dict[str, RowCarrier] = {}
        """Step -> what carries its reports, until its last ones are carried."""
        self._over = False
        self._leaves = threading.Event()
        self._lock = threading.Lock()
        worker.stream_handlers[stop_name(self.run_id)] = self.stop
        if not worker.address.startswith("inproc"):
            worker.loop.add_callback(leave_if_over, worker, self.name, self)

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the worker closes or the run ends: no process stays behind."""
        # One that is still on its way must find a handler: Dask closes a stream that names an operation
        # without one.
        worker.stream_handlers[stop_name(self.run_id)] = ignore
        worker.loop.call_later(LATE_SECONDS, self._forget_stop)
        self._leaves.set()
        with self._lock:
            self._over = True  # nothing begins from here on
        for step in list(self.steps):
            self.close(step, drain=False)  # whoever would take what is left has gone
        for command in list(self.commands.values()):
            command.kill()
        prestart.close_all()
        if self._folder is not None:
            self._folder.remove()

    def _forget_stop(self) -> None:
        if self.worker.stream_handlers.get(stop_name(self.run_id)) is ignore:
            del self.worker.stream_handlers[stop_name(self.run_id)]

    def open(self, settings: ProcessorSettings, server: ForkServer | None = None) -> None:
        """Start the processors of a step; idempotent, from any thread."""
        with self._lock:
            if settings.opened_as in self.steps:
                return
            if self._over or settings.opened_as in self._left:
                what = f"run {self.run_id}" if self._over else f"step {settings.step}"
                raise RuntimeError(f"{what} has ended on worker {self.worker.address}")
            fetch = None
            if settings.fetching is not None:
                from daskpar.processor.fetching.fetch_process import fetch_for

                settings, fetch = fetch_for(settings, self.worker.local_directory)
            opened = self.steps[settings.opened_as] = _OpenStep(
                self.worker, settings, server or prestart.take_server(settings), fetch
            )
            if opened.carrier is not None:
                self._carriers[settings.opened_as] = opened.carrier
        # This first report makes the node known to the tracker, which may have to stop it before any block is
        # done.
        opened.reporter(
            [LogMessage(level="debug", text=f"node {settings.node} is open on {socket.gethostname()}")]
        )

    def run_block(self, step: str, order: BlockOrder) -> None:
        """Run a block and wait for its end; the caller's thread has left Dask's slots."""
        opened = self.steps.get(step)
        if opened is None:
            raise RuntimeError(f"step {step} is not open on worker {self.worker.address}")
        opened.run(replace(order, token=secrets.token_hex(8)))

    def stop(
        self, step: str, reason: str, rate: float | None = None, taken: int | None = None, **_: Any
    ) -> None:
        """Start no further call of `run()`; kill what still runs after two seconds.

        With a `rate`, only that changes: the processors here may make so many calls a second together.
        `taken`: nothing stops; the driver has so many bytes more of what it was sent.
        """
        if taken is not None:
            if (carrier := self._carriers.get(step)) is not None:
                carrier.acknowledged(taken)
            return
        if (opened := self.steps.get(step)) is None:
            return
        if rate is not None:
            opened.pool.set_rate(rate)
        else:
            opened.pool.stop()

    def stop_overtaken(self, step: str, overtaken: Iterable[Overtaken]) -> None:
        """Stop what was overtaken by another copy of its mini-batch."""
        if (opened := self.steps.get(step)) is not None:
            for one in overtaken:
                opened.pool.stop_block(one.block, one.start, one.stop)

    def give_back_waiting(self, step: str) -> None:
        """Give back all blocks that wait here for a processor: others have idle ones."""
        if (opened := self.steps.get(step)) is not None:
            opened.pool.give_back_waiting()

    def leaves_within(self, seconds: float) -> bool:
        """Whether this node begins to end so soon. One in the driver's own process is never asked to."""
        return not self.worker.address.startswith("inproc") and self._leaves.wait(seconds)

    def begin_command(self, step: str, attempt: int, runner: Any) -> bool:
        """Note that the command of a step is about to run; False when it was killed already."""
        with self._lock:
            self.commands[step, attempt] = runner
            return not self._over and (step, attempt) not in self._killed

    def end_command(self, step: str, attempt: int) -> None:
        """Note that the command of a step has ended."""
        with self._lock:
            self.commands.pop((step, attempt), None)

    def kill_command(self, step: str, attempt: int) -> None:
        """End the command of a step, also where it is only about to begin."""
        with self._lock:
            self._killed.add((step, attempt))
            runner = self.commands.get((step, attempt))
        if runner is not None:
            runner.kill()

    def finish(self, step: str) -> None:
        """All mini-batches are done: `shutdown()` once in each processor, then the end of all processes."""
        if (opened := self.steps.get(step)) is not None:
            opened.pool.finish()

    def folder(self) -> NodeFolder:
        """The temporary folder of this worker, for a run whose directory it does not see."""
        from daskpar.engine.shipped.node_folder import NodeFolder

        with self._lock:
            if self._over:
                raise RuntimeError(f"run {self.run_id} has ended on worker {self.worker.address}")
            if self._folder is None:
                self._folder = NodeFolder(self.worker.local_directory)
            return self._folder

    @property
    def known_folder(self) -> str:
        """The path of that folder; empty where none was made."""
        return "" if self._folder is None else self._folder.path

    def close(self, step: str, *, drain: bool = True) -> None:
        """End all processes of a step at once, for good. `drain`: what they have reported still arrives."""
        with self._lock:
            # A request to open the step may have been overtaken on the way: it is to start nothing any more.
            again = step in self._left
            self._left.add(step)
            opened = self.steps.pop(step, None)
        if opened is not None:
            opened.close(drain=drain)
            self._carriers.pop(step, None)
        elif not again:
            # Whoever was asked to open the step is listened to until it says that nothing more comes.
            Reporter(self.worker, tracker_name(self.run_id, step))([NodeClosed(node=-1)])


def plugin_of(worker: Worker, run_id: str) -> NodePlugin:
    """The plugin of a run on a worker; RuntimeError where the run has ended."""
    plugin = worker.plugins.get(plugin_name(run_id))
    if not isinstance(plugin, NodePlugin):
        raise RuntimeError(f"run {run_id} is not known to worker {worker.address}; it has ended")
    return plugin


# What follows runs on a worker through `client.run`, which would run a plain function in the worker's event
# loop: hence threads.


async def probe_here(dask_worker: Worker, needs: NodeNeeds, token: str, far: str = "") -> NodeView:
    """What this worker sees of what a step needs."""
    return await asyncio.to_thread(node_view, needs, probe_token(token, dask_worker.address), far=far)


async def clear_marks_here(needs: NodeNeeds, token: str) -> None:
    """Take away what `probe_here` has left on this worker."""
    await asyncio.to_thread(clear_marks, needs, token)


def probe_token(token: str, address: str) -> str:
    """Name of the mark that the worker at `address` leaves where it can write."""
    return f"{token}-{blake2b(address.encode(), digest_size=4).hexdigest()}"


async def open_step(dask_worker: Worker, run_id: str, settings: ProcessorSettings) -> int:
    """Start a step's processors; returns how many."""
    await asyncio.to_thread(plugin_of(dask_worker, run_id).open, settings)
    return settings.processors


async def look_here(dask_worker: Worker, run_id: str) -> list[LookRow]:
    """What each processor of a run does just now on this worker (`ProcessorPool.look`)."""
    plugin = dask_worker.plugins.get(plugin_name(run_id))
    if not isinstance(plugin, NodePlugin):
        return []
    steps = list(plugin.steps.values())
    return [row for step in steps for row in await asyncio.to_thread(step.pool.look)]


async def stop_overtaken(dask_worker: Worker, run_id: str, step: str, overtaken: list[Overtaken]) -> None:
    """Stop what was overtaken by another copy of its mini-batch."""
    plugin_of(dask_worker, run_id).stop_overtaken(step, overtaken)


async def give_back_waiting(dask_worker: Worker, run_id: str, step: str) -> None:
    """Give back all blocks that wait for a processor."""
    plugin_of(dask_worker, run_id).give_back_waiting(step)


async def finish_step(dask_worker: Worker, run_id: str, step: str) -> None:
    """`shutdown()` in every processor of a step, then their end."""
    plugin = plugin_of(dask_worker, run_id)
    await asyncio.to_thread(plugin.finish, step)
    await asyncio.to_thread(plugin.close, step)


async def close_step(dask_worker: Worker, run_id: str, step: str) -> None:
    """End every process of a step at once."""
    await asyncio.to_thread(plugin_of(dask_worker, run_id).close, step)


def run_block(run_id: str, step: str, order: BlockOrder) -> int:
    """The Dask task of a block: runs it on the node's processors; returns the block's number."""
    plugin = plugin_of(get_worker(), run_id)
    # The task only waits: outside Dask's slots it keeps no other block from its processors.
    secede()
    plugin.run_block(step, order)
    return order.block
