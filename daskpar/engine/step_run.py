"""The base class of step runs, one for each kind of step: it runs to its end once, and can be stopped."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field, replace
from time import monotonic, time
from typing import Protocol

from daskpar.engine.cluster import Cluster
from daskpar.errors import DaskparError
from daskpar.events import Event, Progress, Warned
from daskpar.jobspec.model import Step
from daskpar.results import Counts, Status, StepResult, status_of
from daskpar.rundir.step_folder import StepFolder
from daskpar.value_classes import mutable


class Stoppable(Protocol):
    """Work that another thread may end."""

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Start nothing more; `at_once`: wait for nothing that is under way."""


@mutable(kw_only=True)
class StepRun(ABC):
    """One step under way in `folder`; each kind of step has a class. `stop` may be called from any thread."""

    step: Step
    run_id: str
    folder: StepFolder
    cluster: Cluster
    publish: Callable[[Event], None]
    time_limit: float | None = None
    """Seconds after which it ends (`--job_timeout`); None: never for that."""
    _out_of_time: bool = False
    _stopped: str = ""
    """Why it was stopped; empty while it was not."""
    _at_once: bool = False
    _current: Stoppable | None = None
    """The part of the step that runs now, for `stop`."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """End the step: nothing new is started, running calls are killed after two seconds (or at once)."""
        with self._lock:
            self._stopped, self._at_once = reason, at_once or self._at_once
            if self._current is not None:
                self._current.stop(reason, at_once=at_once)

    def run(self) -> StepResult:
        """Run to the end. Never raises for what the step did, only for mistakes of daskpar itself."""
        began = monotonic()
        clock = self._clock()
        try:
            result = self._run() if self._has_environment() else self._stopped_result()
        except DaskparError as error:
            result = StepResult(step=self.step.name, status=status_of(error), reason=str(error))
        finally:
            if clock is not None:
                clock.cancel()
        result = self._judged(result)
        if self._out_of_time and result.status == Status.INTERRUPTED:
            # It did not end in time, which is its own failure: nobody has interrupted the run.
            result = replace(result, status=Status.FAILED)
        return replace(
            result,
            seconds=monotonic() - began,
            outputs={name: output.path for name, output in self.step.outputs.items()},
        )

    def _has_environment(self) -> bool:
        """Build the environment of the step here, if it has to be; False where it was stopped meanwhile."""
        if self.step.python is None or not self.step.python.build or not self.cluster.local:
            return True
        from daskpar.engine.own_python import have_built
        from daskpar.environments.tool_run import BuildStopped

        def show(what: str) -> None:
            doing = f"building its environment {what}"
            self.publish(Progress(time=time(), step=self.step.name, counts=Counts(), running=0, doing=doing))

        try:
            have_built(self.step, progress=show, stopped=lambda: self._stopped)
        except BuildStopped:
            return False
        return True

    def _stopped_result(self) -> StepResult:
        return StepResult(step=self.step.name, status=Status.INTERRUPTED, reason=self._stopped)

    def _clock(self) -> threading.Timer | None:
        """What stops the step when its time is up."""
        limit = self.time_limit
        if limit is None:
            return None

        def time_is_up() -> None:
            if not self._stopped:
                self._out_of_time = True
                self.stop(
                    f"it ran for {limit:g} s, which is its limit (--job_timeout, limits.timeout); "
                    "what is committed is kept: `python -m daskpar resume` goes on from here"
                )

        clock = threading.Timer(limit, time_is_up)
        clock.daemon = True
        clock.start()
        return clock

    @abstractmethod
    def _run(self) -> StepResult:
        """Do the step's work. May raise a DaskparError that ends it."""

    def _judged(self, result: StepResult) -> StepResult:
        """The result to report; a kind of step may change it where the step was stopped."""
        return result

    @contextmanager
    def _stoppable(self, work: Stoppable) -> Iterator[None]:
        """While it lasts, `work` is what `stop` ends; at once where the step was stopped already."""
        with self._lock:
            self._current = work
            # A stop that came before there was anything to stop.
            if self._stopped:
                work.stop(self._stopped, at_once=self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._current = None

    def _warn(self, text: str) -> None:
        self.publish(Warned(time=time(), step=self.step.name, text=text))
