"""A command step: one shell text that runs once, below a fork server on a node, its output and exit code kept."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from distributed.worker import get_worker, secede

from daskpar.engine.cluster import Cluster
from daskpar.engine.node import NodePlugin, plugin_name
from daskpar.errors import InfrastructureLost
from daskpar.events import Counts, Event, Progress
from daskpar.processor.command import CommandRunner

if TYPE_CHECKING:
    from distributed import Future

logger = logging.getLogger(__name__)

LOSSES = 3
"""Nodes that may be lost under a command before its step fails."""
POLL_SECONDS = 0.25


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


def run_command(settings: CommandSettings) -> int:
    """The Dask task of a command step; returns the exit code, 128 + N for a death by signal N as a shell would."""
    worker = get_worker()
    plugin = worker.plugins.get(plugin_name(settings.run_id))
    if not isinstance(plugin, NodePlugin):
        raise RuntimeError(f"run {settings.run_id} is not known to worker {worker.address}; it has ended")
    secede()
    # `python` in a command is the Python that daskpar runs in, also where no environment is activated.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    runner = CommandRunner(
        command=settings.command,
        cwd=settings.cwd,
        environment={"PATH": path, **settings.environment},
        stdout_path=settings.stdout,
        stderr_path=settings.stderr,
        timeout=settings.timeout,
    )
    plugin.commands[settings.step] = runner
    try:
        return runner.run()
    finally:
        plugin.commands.pop(settings.step, None)


def kill_command(dask_worker: Any, run_id: str, step: str) -> None:
    """Runs on a worker: end the command of a step and everything it started."""
    plugin = dask_worker.plugins.get(plugin_name(run_id))
    if plugin is not None and (runner := plugin.commands.get(step)) is not None:
        runner.kill()


@dataclass(kw_only=True)
class CommandExecution:
    """Runs one command on one node of the cluster; on another one when that is lost, after `before_again` has cleared the outputs."""

    cluster: Cluster
    settings: CommandSettings
    publish: Callable[[Event], None]
    before_again: Callable[[], object]
    _stop: threading.Event = field(default_factory=threading.Event)
    stop_reason: str = ""

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Kill the command, from any thread."""
        self.stop_reason = reason
        self._stop.set()

    def run(self) -> int | None:
        """The exit code, or None when it was stopped. Raises InfrastructureLost when its nodes keep being lost."""
        for attempt in range(LOSSES):
            if attempt:
                self.before_again()
            workers = self.cluster.refresh()
            if not workers:
                break
            done, code = self._attempt(workers[attempt % len(workers)])
            if done:
                return code
        raise InfrastructureLost(f"step {self.settings.step}: the node of its command was lost {LOSSES} times, or no node is left")

    def _attempt(self, worker: str) -> tuple[bool, int | None]:
        client, step = self.cluster.client, self.settings.step
        ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        future = client.submit(
            run_command,
            self.settings,
            key=f"daskpar-{step}-command-{self.settings.run_id}-{monotonic()}",
            workers=[worker],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        future.add_done_callback(ended.put)
        try:
            while True:
                try:
                    ended.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    pass
                else:
                    return self._ended(future)
                if self._stop.is_set():
                    client.run(kill_command, run_id=self.settings.run_id, step=step, workers=[worker], on_error="ignore")
                    return True, None
                if client.status not in ("running", "connecting"):
                    raise InfrastructureLost("the Dask scheduler is gone")
                if worker not in client.scheduler_info(n_workers=-1)["workers"]:
                    return False, None
                self.publish(Progress(time=time(), step=step, counts=Counts(), running=1, doing="running the command"))
        finally:
            future.release()

    def _ended(self, future: Future[Any]) -> tuple[bool, int | None]:
        if future.status == "finished":
            return True, int(future.result())
        if future.status == "error":
            error = future.exception()
            raise InfrastructureLost(f"step {self.settings.step}: the command could not be started: {error!r}") from error
        return False, None


def lay_out_code(code: Path | None, folder: Path, leave_out: Path) -> None:
    """Make `folder` the working directory of a command: links to what lies in `code`, so that what the command writes stays out of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if code is None:
        return
    for entry in os.scandir(code):
        link = folder / entry.name
        if not link.is_symlink() and not link.exists() and not leave_out.is_relative_to(entry.path):
            link.symlink_to(entry.path)
