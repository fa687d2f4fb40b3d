"""Runs the command of a step on one node of the cluster, and on another one when that is lost."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import field, replace
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from daskpar.engine.cluster import RESUME, SCHEDULER_GONE, Cluster, bounded
from daskpar.engine.command_task import (
    NodeLeft,
    NodeSilent,
    NodeUnfit,
    kill_command,
    run_command,
    upload_outputs,
)
from daskpar.engine.heartbeats import WorkerFrozen, is_heard, while_heard
from daskpar.engine.introductions import in_words
from daskpar.engine.node_probe import view_of
from daskpar.errors import DaskparError, InfrastructureLost, Interrupted
from daskpar.events import Event, Progress, Warned
from daskpar.outputs.upload_log import WITHOUT_INDEX
from daskpar.processor.command_settings import CommandSettings
from daskpar.results import Counts
from daskpar.rundir.probe import NodeNeeds, NodeView
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from distributed import Future

    from daskpar.engine.far_command import FarCommand, FarTry
    from daskpar.outputs.step_uploads import StepUploads

logger = logging.getLogger(__name__)

LOSSES = 3
"""Nodes that may be lost under a command before its step fails."""
POLL_SECONDS = 0.25
NODE_SECONDS = 300.0
"""Without any node, for the cluster to bring one."""
LOOK_SECONDS = 1.0
"""How often to look for one."""


@mutable(kw_only=True)
class CommandExecution:
    """Runs one command on one node of the cluster, and on another one when that is lost.

    `before_again` clears the outputs in between.
    """

    cluster: Cluster
    settings: CommandSettings
    publish: Callable[[Event], None]
    before_again: Callable[[], object]
    lay_out: Callable[[], object] = lambda: None
    """Makes what a node that sees the run directory finds there."""
    needs: Callable[[], NodeNeeds] | None = None
    """What a node must see for it; None where all is this machine."""
    far: FarCommand | None = None
    """For nodes that do not see the run directory; None: they can't run it."""
    _left_out: set[str] = field(default_factory=set)
    """Workers that can't run it, until the cluster loses them: who comes under that address then is another
    one.
    """
    _frozen: set[str] = field(default_factory=set)
    """Workers without heartbeats, until they are heard again."""
    _trouble: str = ""
    """What was wrong with the node that was left out last."""
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
        attempt = losses = 0
        while losses < LOSSES:
            if attempt:
                self.before_again()
            worker, view = self._worker(attempt)
            if not worker:
                return None
            try:
                if view.far:
                    done, code = self._attempt_far(worker, view, attempt)
                else:
                    self.lay_out()
                    done, code = self._attempt(worker, self.settings, attempt)
            except NodeUnfit as unfit:
                self._leave_out(worker, str(unfit))
            else:
                if done:
                    return code
                losses += 1
            attempt += 1
        raise InfrastructureLost(
            f"step {self.settings.step}: the node that ran its command was lost {LOSSES} times; {RESUME}"
        )

    def _worker(self, attempt: int) -> tuple[str, NodeView]:
        """A worker that sees what the command needs, or can be sent it, once there is one, and what it sees;
        empty when the step was stopped before.
        """
        while found := self._workers():
            # Another node for each attempt, as far as there is one: the last one may be what was wrong. One
            # that sees the run directory needs nothing sent.
            workers = sorted(found, key=lambda address: address in self.cluster.far)
            worker = workers[attempt % len(workers)]
            try:
                view = self._view(worker)
            except WorkerFrozen as error:
                self._frozen.add(worker)
                self._trouble = f"node {worker}: {error}"
                self._warn(f"{self._trouble}; the command takes another node, or this one when it answers")
                continue
            trouble = view.trouble or (view.far if self.far is None else "")
            if not trouble:
                return worker, view
            self._leave_out(worker, trouble)
        return "", NodeView()

    def _view(self, worker: str) -> NodeView:
        if self.needs is None:
            return NodeView()
        try:
            client, needs, far = self.cluster.client, self.needs(), self.cluster.far.get(worker, "")
            view = while_heard(client, worker, lambda: view_of(client, needs, worker, far))
        except WorkerFrozen:
            raise
        except Exception as error:  # whatever it is, it is this node's trouble alone
            return NodeView(f"{type(error).__name__}: {error}")
        if view.far:
            self.cluster.far[worker] = view.far
        return view

    def _leave_out(self, worker: str, trouble: str) -> None:
        self._left_out.add(worker)
        self._trouble = trouble
        self._warn(f"node {worker} can't run the command: {trouble}; the node is left out")

    def _warn(self, text: str) -> None:
        self.publish(Warned(time=time(), step=self.settings.step, text=text))

    def _workers(self) -> list[str]:
        """The workers that may do, once there is one; empty when the step was stopped before."""
        since = monotonic()
        while not self._stop.is_set():
            self._check_connection()
            found = self.cluster.refresh()
            for away in (self._left_out, self._gone, self._frozen):
                away.intersection_update(found)
            self._frozen -= {one for one in self._frozen if is_heard(self.cluster.client, one)}
            if workers := [one for one in found if one not in self._left_out | self._gone | self._frozen]:
                return workers
            may_wait_long = self.cluster.brings_nodes and not self._left_out  # a queue may be long
            if monotonic() - since > self.node_timeout and not may_wait_long:
                last = f" (the last one: {self._trouble})" if self._trouble else ""
                raise InfrastructureLost(
                    f"step {self.settings.step}: no node is left for its command{last} and none came within "
                    f"{self.node_timeout:g} s; {RESUME}"
                )
            self._tell_silent()
            self._show("waiting for a node")
            self._stop.wait(LOOK_SECONDS)
        return []

    def _tell_silent(self) -> None:
        if silent := self.cluster.silent - self._silent:
            self._silent |= silent
            self._warn(in_words(silent))

    def _check_connection(self) -> None:
        if not self.cluster.connected:
            raise InfrastructureLost(f"step {self.settings.step}: {SCHEDULER_GONE}")

    def _show(self, doing: str) -> None:
        self.publish(Progress(time=time(), step=self.settings.step, counts=Counts(), running=1, doing=doing))

    def _attempt(self, worker: str, settings: CommandSettings, attempt: int) -> tuple[bool, int | None]:
        """Whether the command has come to its end on this node, and its exit code; None: it was stopped."""
        future = self._submit(run_command, worker, replace(settings, attempt=attempt))
        try:
            ended = self._await(future, worker, attempt, "running the command")
            return self._ended(future) if ended else (ended is None, None)
        finally:
            future.release()

    def _attempt_far(self, worker: str, view: NodeView, attempt: int) -> tuple[bool, int | None]:
        """The same on a node that does not see the run directory."""
        assert self.far is not None
        try:
            with self.far.on(worker, view, attempt) as one:
                one.follower.start()
                done, code = self._attempt(worker, one.here, attempt)
                if not done:
                    return False, None
                with nullcontext() if code is not None else suppress(NodeSilent, Interrupted):
                    one.bring(-1 if code is None else code)
                if code == 0 and self.far.uploads is not None:
                    done, code = self._upload(worker, one, self.far.uploads, attempt)
                one.is_over = done and code is not None
                return done, code
        except Interrupted:
            return True, None
        except NodeSilent as error:
            if self._stop.is_set():
                return True, None
            self._warn(f"what the command has made can't be had from node {worker}: {error}; it runs again")
            return False, None

    def _upload(
        self, worker: str, one: FarTry, uploads: StepUploads, attempt: int
    ) -> tuple[bool, int | None]:
        """Have the node upload what the command has written there; as `_attempt`."""
        token = one.begin_upload(uploads)
        future = self._submit(upload_outputs, worker, replace(one.here, attempt=attempt), token)
        try:
            if not (ended := self._await(future, worker, attempt, "uploading")):
                return ended is None, None
            if future.status == "error":
                error = future.exception()
                raise error if isinstance(error, DaskparError) else NodeSilent(repr(error))
            if future.status != "finished":
                return False, None
            uploads.count([(WITHOUT_INDEX, token)])
            return True, 0
        finally:
            future.release()

    def _submit(self, task: Callable[..., object], worker: str, *arguments: object) -> Future[Any]:
        step = self.settings.step
        return self.cluster.client.submit(
            task,
            *arguments,
            key=f"daskpar-{step}-command-{self.settings.run_id}-{monotonic()}",
            workers=[worker],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )

    def _await(self, future: Future[Any], worker: str, attempt: int, doing: str) -> bool | None:
        """Whether a task has ended on a node; False: the node is lost, None: the step was stopped."""
        ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        future.add_done_callback(ended.put)
        missed = 0
        while True:
            try:
                ended.get(timeout=POLL_SECONDS)
            except queue.Empty:
                pass
            else:
                return True
            if self._stop.is_set():
                self._kill(worker, attempt)
                return None
            self._check_connection()
            # A worker is lost when it is not there twice: one look that does not find it ends no attempt.
            if worker in self.cluster.workers():
                missed = 0
            elif (missed := missed + 1) > 1:
                self.cluster.forget(worker)
                self._warn(f"node {worker} was lost while it was {doing}")
                return False
            self._show(doing)

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
                self._warn(f"node {', '.join(error.args)} ends, and the command with it")
                return False, None
            if isinstance(error, NodeSilent):
                return False, None
            if isinstance(error, NodeUnfit):
                raise error
            raise InfrastructureLost(
                f"step {self.settings.step}: the command could not be started: {error!r}"
            ) from error
        return False, None
