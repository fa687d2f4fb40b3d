"""Runs the command of a step on one node of the cluster, and on another one when that is lost."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from distributed import get_worker, secede

from daskpar.datastores import StorageOptions
from daskpar.engine.cluster import RESUME, SCHEDULER_GONE, Cluster, bounded
from daskpar.engine.introductions import in_words
from daskpar.engine.node_probe import node_lacks
from daskpar.engine.plugins.node import NodePlugin, plugin_name
from daskpar.errors import DataUnreached, InfrastructureLost
from daskpar.events import Event, Progress, Warned
from daskpar.processor.command_process import CommandRunner
from daskpar.processor.fetched_inputs import Fetching, FetchOrder
from daskpar.processor.private_mounts import NO_GUARD, Guard
from daskpar.results import Counts
from daskpar.rundir.probe import NodeNeeds

if TYPE_CHECKING:
    from distributed import Future

logger = logging.getLogger(__name__)

LOSSES = 3
"""Nodes that may be lost under a command before its step fails."""
POLL_SECONDS = 0.25
NODE_SECONDS = 300.0
"""Without any node, for the cluster to bring one."""
LOOK_SECONDS = 1.0
"""How often to look for one."""
GOODBYE_SECONDS = 1.0
"""How long a node that was sent SIGTERM with its command takes to begin to end, at most."""


class NodeLeft(Exception):
    """The node of a command ends, and the command with it."""


@dataclass(frozen=True, kw_only=True)
class CommandSettings:
    """What a node needs to run a command."""

    run_id: str
    step: str
    command: str
    cwd: str
    environment: dict[str, str] = field(default_factory=dict)
    stdout: str
    stderr: str
    timeout: float | None = None
    guard: Guard = NO_GUARD
    """What the command can't change."""
    fetching: Fetching | None = None
    """Inputs that are fetched from URLs before it."""
    storage: StorageOptions = field(default_factory=StorageOptions)
    """How they are opened."""
    python: str = ""
    """The Python of the command, where it has one of its own."""
    attempt: int = 0
    """How many nodes were lost under it before."""


def run_command(settings: CommandSettings) -> int:
    """The Dask task of a command step; returns the exit code.

    That is 128 + N for a death by signal N, as in a shell.
    """
    worker = get_worker()
    plugin = worker.plugins.get(plugin_name(settings.run_id))
    if not isinstance(plugin, NodePlugin):
        raise RuntimeError(f"run {settings.run_id} is not known to worker {worker.address}; it has ended")
    fetched = nullcontext(settings) if settings.fetching is None else _fetched(plugin, settings)
    secede()  # a command may run for days, and must not keep Dask's slots from other tasks
    with fetched as here:
        return 137 if here is None else _run_here(plugin, here)


@contextmanager
def _fetched(plugin: NodePlugin, settings: CommandSettings) -> Iterator[CommandSettings | None]:
    """The settings with the places on this node where the inputs are that it has fetched; None: it was
    killed before. Raises DataUnreached where they can't be had.
    """
    from daskpar.processor.fetch_process import FetchProcess

    assert settings.fetching is not None
    killed = threading.Event()
    if not plugin.begin_command(settings.step, settings.attempt, _Killed(killed)):
        killed.set()
    order = FetchOrder(fetching=settings.fetching, storage=settings.storage)
    fetch = FetchProcess(order, settings.environment, plugin.worker.local_directory)
    try:
        if trouble := fetch.wait(killed):
            raise DataUnreached(trouble)
        here = fetch.fetching
        yield (
            None
            if killed.is_set()
            else replace(
                settings,
                command=here.here(settings.command),
                environment=here.values_here(settings.environment),
            )
        )
    finally:
        plugin.end_command(settings.step, settings.attempt)
        fetch.close()


@dataclass(frozen=True)
class _Killed:
    """Stands for a command whose inputs are being fetched."""

    event: threading.Event

    def kill(self) -> None:
        """End the wait for them."""
        self.event.set()


def _run_here(plugin: NodePlugin, settings: CommandSettings) -> int:
    # `python` in a command is the Python that daskpar runs in, also where no environment is activated. A
    # Python of its own comes with its own PATH.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    runner = CommandRunner(
        command=settings.command,
        cwd=settings.cwd,
        environment={**({} if settings.python else {"PATH": path}), **settings.environment},
        python=settings.python,
        stdout_path=settings.stdout,
        stderr_path=settings.stderr,
        timeout=settings.timeout,
        guard=settings.guard,
    )
    if not plugin.begin_command(settings.step, settings.attempt, runner):
        runner.kill()
    try:
        code = runner.run()
        # SIGTERM goes to all processes of a job at once. The command of a node that goes, too, has not
        # failed: it runs again elsewhere.
        if code and plugin.leaves_within(GOODBYE_SECONDS):
            raise NodeLeft(plugin.worker.address)
        return code
    finally:
        plugin.end_command(settings.step, settings.attempt)


def kill_command(dask_worker: Any, run_id: str, step: str, attempt: int) -> None:
    """Runs on a worker: end the command of a step and everything that it has started.

    Also where the command is only about to begin.
    """
    plugin = dask_worker.plugins.get(plugin_name(run_id))
    if plugin is not None:
        plugin.kill_command(step, attempt)


@dataclass(kw_only=True)
class CommandExecution:
    """Runs one command on one node of the cluster, and on another one when that is lost.

    `before_again` clears the outputs in between.
    """

    cluster: Cluster
    settings: CommandSettings
    publish: Callable[[Event], None]
    before_again: Callable[[], object]
    needs: Callable[[], NodeNeeds] | None = None
    """What a node must see for it; None where all is this machine."""
    _left_out: set[str] = field(default_factory=set)
    _gone: set[str] = field(default_factory=set)
    """Workers that are about to end; the scheduler may not know yet."""
    _silent: set[str] = field(default_factory=set)
    """Workers of which it was said that they do not answer."""
    _stop: threading.Event = field(default_factory=threading.Event)
    stop_reason: str = ""
    node_timeout: float = NODE_SECONDS
    """How long to wait for a node where there is none, in seconds."""

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Kill the command, from any thread."""
        self.stop_reason = reason
        self._stop.set()

    def run(self) -> int | None:
        """The exit code, or None when it was stopped.

        Raises InfrastructureLost when its nodes keep being lost, or none comes.
        """
        self.cluster.sizing.want(self.settings.step, 1)
        try:
            return self._run_attempts()
        finally:
            self.cluster.sizing.release(self.settings.step)

    def _run_attempts(self) -> int | None:
        for attempt in range(LOSSES):
            if attempt:
                self.before_again()
            worker = self._worker(attempt)
            if not worker:
                return None
            done, code = self._attempt(worker, attempt)
            if done:
                return code
        raise InfrastructureLost(
            f"step {self.settings.step}: the node that ran its command was lost {LOSSES} times; {RESUME}"
        )

    def _worker(self, attempt: int) -> str:
        """A worker that sees what the command needs, once there is one; empty when the step was stopped
        before.
        """
        while workers := self._workers():
            # Another node for each attempt, as far as there is one: the last one may be what was wrong.
            worker = workers[attempt % len(workers)]
            try:
                trouble = node_lacks(self.cluster.client, self.needs(), worker) if self.needs else ""
            except Exception as error:  # whatever it is, it is this node's trouble alone
                trouble = f"{type(error).__name__}: {error}"
            if not trouble:
                return worker
            self._left_out.add(worker)
            text = f"node {worker} can't run the command: {trouble}; the node is left out"
            self.publish(Warned(time=time(), step=self.settings.step, text=text))
        return ""

    def _workers(self) -> list[str]:
        """The workers that may do, once there is one; empty when the step was stopped before."""
        since = monotonic()
        while not self._stop.is_set():
            self._check_connection()
            found = self.cluster.refresh()
            if workers := [one for one in found if one not in self._left_out | self._gone]:
                return workers
            may_wait_long = self.cluster.brings_nodes and not self._left_out  # a queue may be long
            if monotonic() - since > self.node_timeout and not may_wait_long:
                raise InfrastructureLost(
                    f"step {self.settings.step}: no node is left for its command and none came within "
                    f"{self.node_timeout:g} s; {RESUME}"
                )
            self._tell_silent()
            self._show("waiting for a node")
            self._stop.wait(LOOK_SECONDS)
        return []

    def _tell_silent(self) -> None:
        if silent := self.cluster.silent - self._silent:
            self._silent |= silent
            self.publish(Warned(time=time(), step=self.settings.step, text=in_words(silent)))

    def _check_connection(self) -> None:
        if not self.cluster.connected:
            raise InfrastructureLost(f"step {self.settings.step}: {SCHEDULER_GONE}")

    def _show(self, doing: str) -> None:
        self.publish(Progress(time=time(), step=self.settings.step, counts=Counts(), running=1, doing=doing))

    def _attempt(self, worker: str, attempt: int) -> tuple[bool, int | None]:
        client, step = self.cluster.client, self.settings.step
        ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        future = client.submit(
            run_command,
            replace(self.settings, attempt=attempt),
            key=f"daskpar-{step}-command-{self.settings.run_id}-{monotonic()}",
            workers=[worker],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        future.add_done_callback(ended.put)
        missed = 0
        try:
            while True:
                try:
                    ended.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    pass
                else:
                    return self._ended(future)
                if self._stop.is_set():
                    self._kill(worker, attempt)
                    return True, None
                self._check_connection()
                # A worker is lost when it is not there twice: one look that does not find it ends no attempt.
                if worker in self.cluster.workers():
                    missed = 0
                elif (missed := missed + 1) > 1:
                    self.cluster.forget(worker)
                    return False, None
                self._show("running the command")
        finally:
            future.release()

    def _kill(self, worker: str, attempt: int) -> None:
        run, of = self.cluster.client.run, self.settings
        try:
            bounded(
                run,
                kill_command,
                run_id=of.run_id,
                step=of.step,
                attempt=attempt,
                workers=[worker],
                on_error="ignore",
            )
        except Exception:
            logger.warning(
                "worker %s could not be asked to end its command; it ends with the run", worker, exc_info=True
            )

    def _ended(self, future: Future[Any]) -> tuple[bool, int | None]:
        if future.status == "finished":
            return True, int(future.result())
        if future.status == "error":
            error = future.exception()
            if isinstance(error, NodeLeft):
                self._gone.update(error.args)
                return False, None
            raise InfrastructureLost(
                f"step {self.settings.step}: the command could not be started: {error!r}"
            ) from error
        return False, None
