"""The first phase of a parallel step: lists its input, groups it by keys if asked for, writes the plan."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import numpy as np

from daskpar.batches.plan import Plan, PlanSummary
from daskpar.batches.plan_changes import take_changes
from daskpar.batches.plan_writer import write_plan
from daskpar.batches.records import unpack
from daskpar.datastores import carried
from daskpar.engine.execution import Execution
from daskpar.engine.execution_result import Commit, ExecutionResult
from daskpar.engine.planning import make_plan
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.errors import InfrastructureLost, InputError, JobFailed, PlanDamaged, RunDirectoryError
from daskpar.jobspec.model import ParallelStep
from daskpar.outputs.journal_reader import has_commits
from daskpar.processor.protocol import Flushed, ProcessorSettings
from daskpar.results import Counts, Status
from daskpar.rundir.step_folder import StepFolder
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from daskpar.data.files import FileList
    from daskpar.data.tables.table import Table

TICK_SECONDS = 0.2
"""Between two looks at the clock while the plan is made."""
STOPPING_SECONDS = 20.0
"""For a grouping that took too long to end its processors."""
TOO_LONG = "first_task_creation_timeout"


class MakeExecution(Protocol):
    """Makes what runs the mini-batches `missing` of the plan that `settings` names; it does not start."""

    def __call__(
        self,
        settings: ProcessorSettings,
        counter: ThresholdCounter,
        missing: list[tuple[int, int]],
        *,
        commit: Commit,
        doing: str,
    ) -> Execution: ...


@mutable(kw_only=True)
class PlanPhase:
    """Makes the plan of `step` in its folder, or takes that of an earlier process of this run.

    Listing and grouping may take `first_task_creation_timeout` without progress; each part that is grouped is
    progress.
    """

    step: ParallelStep
    folder: StepFolder
    open_input: Callable[[], Table | FileList | None]
    """Opens the input; None where the step has none."""
    planned_ahead: Callable[[], PlanSummary] | None = None
    """Waits for the plan, where it is being made already; there was none before."""
    plans_the_same: Callable[[], bool]
    """Whether a plan that is made anew is certainly the one of an earlier process of this run. Takes as long
    as looking at all files.
    """
    takes_changes: bool = False
    """Whether the files of an earlier process' plan may be others by now (--allow-changes)."""
    ready: Callable[[], object]
    """Returns once the cluster is open."""
    settings: Callable[[Path], ProcessorSettings]
    """Settings of the step's processors for a plan in a folder."""
    make_execution: MakeExecution
    run_execution: Callable[[Execution], ExecutionResult]
    stopped: Callable[[], str]
    """Why the step was stopped, empty while it was not."""
    progress: Callable[[str], None]
    warn: Callable[[str], None]
    _moved: float = 0.0
    """When there was progress last."""
    _grouping: Execution | None = None
    _took_too_long: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> PlanSummary:
        """The plan that the step goes by.

        Raises InputError for an input that can't be read or grouped, JobFailed when it takes too long,
        RunDirectoryError for a damaged plan that can't be made anew, and InfrastructureLost when the step is
        stopped or the nodes are lost.
        """
        summary = self._summary()
        for text in summary.warnings:  # also of a plan that was made ahead, and could tell nobody
            self.warn(text)
        return summary

    def _summary(self) -> PlanSummary:
        plan = self.folder.plan
        if self.planned_ahead is None and ((plan / "plan.json").exists() or has_commits(self.folder.journal)):
            try:
                found = Plan.reopen(plan)
                if self.takes_changes:
                    take_changes(found)
                return found.summary
            except PlanDamaged as error:
                self._check_plans_the_same(error)
        self.progress("listing the input")
        return self._in_time()

    def _check_plans_the_same(self, error: PlanDamaged) -> None:
        # A plan that is made again of the same input has the same mini-batches, so what is committed stays
        # valid. Of another input it would not be.
        if not self.plans_the_same():
            raise RunDirectoryError(
                f"{error}. It can't be made anew, for what it was made from has changed since, or may have: "
                "undo the change and resume, or start a new run."
            ) from error
        self.warn(f"{error}; the plan is made anew from the input")

    def _in_time(self) -> PlanSummary:
        """Make the plan on a thread of its own, which is left behind when it takes too long."""
        made: list[PlanSummary | BaseException] = []
        ended = threading.Event()
        self._moved = monotonic()

        def work() -> None:
            try:
                made.append(
                    make_plan(self.step, self.folder.plan, opened=self.open_input(), execute=self._group)
                    if self.planned_ahead is None
                    else self.planned_ahead()
                )
            except BaseException as error:  # handed to the step's own thread below
                made.append(error)
            ended.set()

        thread = threading.Thread(target=carried(work), name=f"daskpar-plan-{self.step.name}", daemon=True)
        thread.start()
        timeout = self.step.settings.first_task_creation_timeout
        while not ended.wait(TICK_SECONDS):
            # A grouping is stopped by itself; listing can't be, and is left behind.
            if (reason := self.stopped()) and self._grouping is None:
                raise InfrastructureLost(reason)
            if monotonic() - self._moved > timeout:
                what = "grouping" if self._stop_grouping(ended) else "listing"
                raise JobFailed(
                    f"{what} the input took longer than {timeout:g} s without progress ({TOO_LONG}); "
                    f"raise --{TOO_LONG} in program_arguments"
                )
        summary = made[0]
        if isinstance(summary, BaseException):
            raise summary
        return summary

    def _stop_grouping(self, ended: threading.Event) -> bool:
        """End the grouping that is under way, and any that is about to begin; whether there was one."""
        with self._lock:
            grouping, self._took_too_long = self._grouping, True
            if grouping is not None:
                grouping.stop(TOO_LONG, at_once=True)
        if grouping is not None:
            ended.wait(STOPPING_SECONDS)  # its processors are not to outlive the step
        return grouping is not None

    def _group(self, name: str, argv: Sequence[str], count: int) -> None:
        """Run pass `name` of the grouping for the numbers 0 .. `count` - 1, with `argv` for its script.

        It is an internal step: same processors, same retries, none of the user's thresholds.
        """
        self.ready()
        plan = self.folder.plan / f"{name}-numbers"
        write_plan(plan, kind="numbers", count=count)
        settings = replace(
            self.settings(plan),
            step=f"{self.step.name}.{name}",
            entry_script="daskpar.batches.grouping",
            code=None,
            own_python="",  # what groups rows is ours, whatever the script runs in
            container=None,
            arguments=tuple(argv),
            spare_server=True,  # hence the user's environment too: the step itself takes it over
            append_row=False,
            returns_measured=False,
            logs=str(self.folder.plan / f"{name}-logs"),
            max_retries=2,
            internal=True,
            in_flight=0,
            azure_async=False,
            rate_limit=None,
            run_timeout=max(3600.0, self.step.settings.task_overhead_timeout),
            profiling_module="",
        )
        counter = ThresholdCounter(Thresholds(mini_batch_error_threshold=0), Counts(planned=count))
        execution = self.make_execution(
            settings, counter, [(0, count)], commit=self._count_progress, doing=name.replace("-", " ")
        )
        self._check_grouped(self._run_grouping(execution))

    def _run_grouping(self, execution: Execution) -> ExecutionResult:
        with self._lock:
            self._grouping = execution
            if self._took_too_long:
                execution.stop(TOO_LONG, at_once=True)
        try:
            return self.run_execution(execution)
        finally:
            with self._lock:
                self._grouping = None

    def _check_grouped(self, outcome: ExecutionResult) -> None:
        if outcome.status == Status.COMPLETED:
            return
        failure = outcome.first_failure
        detail = f": {failure.message}\n{failure.trace}" if failure is not None else ""
        if outcome.status == Status.FAILED:
            keys = ", ".join(self.step.partition_keys)
            raise InputError(f"the input could not be grouped by {keys}: {outcome.reason}{detail}")
        raise outcome.error or InfrastructureLost(outcome.reason)

    def _count_progress(self, flushed: Flushed) -> np.ndarray:
        self._moved = monotonic()
        return unpack(flushed.records)
