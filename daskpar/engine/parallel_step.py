"""One parallel step from its input to its outputs: plan, run, assemble. What it has committed survives
whatever ends it.
"""

from __future__ import annotations

import logging
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING

import numpy as np

from daskpar.batches.plan import Plan, PlanSummary
from daskpar.batches.plan_writer import write_plan
from daskpar.batches.records import unpack
from daskpar.engine.cluster import Cluster
from daskpar.engine.execution import Execution
from daskpar.engine.execution_result import Commit, ExecutionResult
from daskpar.engine.planning import make_plan, open_with_keys
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.engine.rules.clocks import Patience, progress_timeout
from daskpar.engine.rules.counter import Tally, Thresholds
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.errors import (
    DaskparError,
    InfrastructureLost,
    InputError,
    JobFailed,
    PlanDamaged,
    RunDirectoryError,
)
from daskpar.events import Event, Progress, StepPlanned, Warned
from daskpar.jobspec.model import ParallelStep
from daskpar.outputs.assembly import assemble, check_space
from daskpar.outputs.early_copy import EarlyCopy, remove_stale
from daskpar.outputs.journal_reader import has_commits
from daskpar.outputs.ledger import Ledger
from daskpar.paths import StepPaths
from daskpar.processor.protocol import Flushed, ProcessorSettings
from daskpar.results import Counts, StepResult
from daskpar.rows.registry import format_of, store_of
from daskpar.rundir.step_folder import StepFolder

if TYPE_CHECKING:
    from daskpar.data.files import FileList
    from daskpar.data.tables.table import Table

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 1.0
"""Work of a block on few processors; it grows with their number, so that the scheduler sees about a hundred
blocks a second at most.
"""

STOPPING_SECONDS = 20.0
"""For a grouping that took too long to end its processors."""


def block_seconds(processors: int) -> float:
    """Work of a block in seconds: 1, up to 10 on 1,000 processors and more."""
    return min(10.0, max(BLOCK_SECONDS, processors / 100))


@dataclass(kw_only=True)
class ParallelStepRun:
    """Runs one parallel step in `folder` of a run directory; `stop` may be called from any thread."""

    step: ParallelStep
    run_id: str
    run_directory: Path
    folder: Path
    cluster: Cluster
    ready: Callable[[], object]
    """Returns once the cluster is open; it is opened while the input is listed."""
    publish: Callable[[Event], None]
    datastores: Mapping[str, str]
    retry_failed: bool = False
    plans_the_same: Callable[[], bool] = lambda: True
    """Whether a plan that is made anew is certainly the one of an earlier process of this run; takes as long
    as looking at all files.
    """
    opened: Table | FileList | None = None
    """The input where it was opened already."""
    _stopped: str = ""
    _at_once: bool = False
    _planned_too_long: bool = False
    _current: Execution | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """End the step: nothing new is started, running calls are killed after two seconds (or at once)."""
        with self._lock:
            self._stopped, self._at_once = reason, at_once or self._at_once
            if self._current is not None:
                self._current.stop(reason, at_once=at_once)

    def run(self) -> StepResult:
        """Run to the end; never raises for what the step did, only for our own mistakes."""
        began = monotonic()
        result = StepResult(step=self.step.name, status="completed")
        try:
            summary = self._plan()
            self._check_output(summary)
            self._run_planned(summary, result)
        except JobFailed as error:
            result.status, result.reason, result.error = "failed", str(error), error
        except InfrastructureLost as error:
            result.status, result.reason, result.error = "lost", str(error), error
        except DaskparError as error:
            result.status, result.reason, result.error = "failed", str(error), error
        if self._stopped and result.status in ("failed", "lost") and not result.counts.failed:
            result.status, result.reason = "interrupted", self._stopped
        result.seconds = monotonic() - began
        result.outputs = {name: output.path for name, output in self.step.outputs.items()}
        return result

    # -- plan
    # ----------------------------------------------------------------------------------------------------------------------

    def _plan(self) -> PlanSummary:
        """The plan in the step's folder: the one of an earlier process of this run where there is one, else
        made now.

        Listing and grouping have the patience of `first_task_creation_timeout`; each grouped part counts as
        progress.
        """
        folder = self.folder / "plan"
        if (folder / "plan.json").exists() or has_commits(StepFolder(self.folder).journal):
            try:
                return Plan.reopen(folder).summary
            except PlanDamaged as error:
                self._plan_anew(error)
        self._progress("listing the input")
        done: list[PlanSummary | BaseException] = []
        ended = threading.Event()
        self._moved = monotonic()

        def work() -> None:
            try:
                done.append(make_plan(self.step, folder, opened=self._open(), execute=self._group))
            except BaseException as error:  # handed to the step's own thread below
                done.append(error)
            ended.set()

        thread = threading.Thread(target=work, name=f"daskpar-plan-{self.step.name}", daemon=True)
        thread.start()
        patience = self.step.settings.first_task_creation_timeout
        while not ended.wait(0.2):
            if self._stopped and self._current is None:
                raise InfrastructureLost(self._stopped)
            if monotonic() - self._moved > patience:
                with self._lock:
                    grouping, self._planned_too_long = self._current, True
                    if grouping is not None:
                        grouping.stop("first_task_creation_timeout", at_once=True)
                if grouping is not None:
                    ended.wait(STOPPING_SECONDS)  # its processors are not to outlive the step
                raise JobFailed(
                    f"{'grouping' if grouping is not None else 'listing'} the input took longer than {patience:g} s without progress "
                    "(first_task_creation_timeout); raise --first_task_creation_timeout in program_arguments"
                )
        found = done[0]
        if isinstance(found, BaseException):
            raise found
        for text in found.warnings:
            self.publish(Warned(time=time(), step=self.step.name, text=text))
        return found

    def _plan_anew(self, error: PlanDamaged) -> None:
        """A plan that lost something is made again, which gives the same mini-batches of the same input."""
        if not self.plans_the_same():
            raise RunDirectoryError(
                f"{error}. It can't be made anew, for what it was made from has changed since, or may have: undo the change and resume, or "
                "start a new run."
            ) from error
        self.publish(
            Warned(time=time(), step=self.step.name, text=f"{error}; the plan is made anew from the input")
        )

    def _open(self) -> Table | FileList | None:
        step = self.step
        if self.opened is not None or step.settings.rank_mini_batch_count > 0:
            return self.opened
        data = step.inputs[step.input_data[0]]
        try:
            return open_with_keys(data, step.partition_keys, self.datastores)
        except InputError as error:
            made = f" that step {data.made_by} wrote" if data.made_by else ""
            raise InputError(f"{error} (input {data.name!r}{made}, {data.where})") from error

    def _group(self, name: str, argv: Sequence[str], count: int) -> None:
        """Run one pass of the grouping as an internal step: same processors, same retries, no thresholds of
        the user's.
        """
        self.ready()
        plan = self.folder / "plan" / f"{name}-numbers"
        write_plan(plan, kind="numbers", count=count)
        settings = replace(
            self._settings(plan, tabular=True),
            step=f"{self.step.name}.{name}",
            entry_script="daskpar.batches.grouping",
            code=None,
            arguments=tuple(argv),
            spare_server=True,  # hence the user's environment too: the step itself takes it over
            append_row=False,
            returns_measured=False,
            logs=str(self.folder / "plan" / f"{name}-logs"),
            max_retries=2,
            run_timeout=max(3600.0, self.step.settings.task_overhead_timeout),
            profiling_module="",
        )
        tally = Tally(Thresholds(mini_batch_error_threshold=0), Counts(planned=count))
        outcome = self._execute(
            settings, tally, [(0, count)], commit=self._count_progress, doing=name.replace("-", " ")
        )
        if outcome.status != "completed":
            failure = outcome.first_failure
            detail = f": {failure.message}\n{failure.trace}" if failure is not None else ""
            if outcome.status == "failed":
                raise InputError(
                    f"the input could not be grouped by {', '.join(self.step.partition_keys)}: {outcome.reason}{detail}"
                )
            raise outcome.error or InfrastructureLost(outcome.reason)

    def _count_progress(self, flushed: Flushed) -> np.ndarray:
        self._moved = monotonic()
        return unpack(flushed.records)

    # -- run
    # -----------------------------------------------------------------------------------------------------------------------

    def _run_planned(self, summary: PlanSummary, result: StepResult) -> None:
        step, settings = self.step, self.step.settings
        ledger = Ledger.open(
            self.folder,
            summary.count,
            step=step.name,
            retry_failed=self.retry_failed,
            row_format=format_of(step),
        )
        try:
            for note in ledger.notes:
                self.publish(Warned(time=time(), step=step.name, text=note))
            thresholds = Thresholds(
                error_threshold=settings.error_threshold,
                mini_batch_error_threshold=settings.mini_batch_error_threshold,
                allowed_failed_percent=settings.allowed_failed_percent,
            )
            tally = Tally(thresholds, ledger.commits.counts())
            missing = ledger.commits.missing()
            self.ready()
            self._announce(summary, ledger)
            with self._early_copy(ledger) as early_copy:
                outcome = ExecutionResult()
                if missing:
                    own = self._settings(self.folder / "plan", tabular=summary.tabular)
                    outcome = self._execute(own, tally, missing, commit=ledger.commit)
                self._conclude(outcome, ledger, tally, early_copy, result)
        finally:
            ledger.close()

    def _conclude(
        self,
        outcome: ExecutionResult,
        ledger: Ledger,
        tally: Tally,
        early_copy: EarlyCopy | None,
        result: StepResult,
    ) -> None:
        """What the step's end means: its counts, the verdict, and the output where it is completed."""
        if ledger.earlier_failures and (
            outcome.first_failure is None or ledger.earlier_failures[0].time < outcome.first_failure.time
        ):
            outcome.first_failure = ledger.earlier_failures[0]
        result.counts, result.first_failure, result.error = tally.counts, outcome.first_failure, outcome.error
        result.status, result.reason = outcome.status, outcome.reason
        if outcome.status == "completed" and (
            reason := tally.closing_verdict(allow_empty=self.step.settings.allow_empty)
        ):
            result.status, result.reason = "failed", reason
        if result.status == "completed":
            self._assemble(ledger, tally, early_copy)

    def _nodes_and_processors(self) -> tuple[int, int]:
        """How many of each take part, as the cluster is now."""
        from daskpar.engine.rules.allocation import processors_per_node

        wanted, there = self.step.instance_count, len(self.cluster.facts)
        nodes = there if wanted == -1 else min(wanted, there)
        processors = processors_per_node(
            list(self.cluster.facts.values())[:nodes], self.step.max_concurrency_per_instance
        )
        return nodes, sum(processors.values())

    def _announce(self, summary: PlanSummary, ledger: Ledger) -> None:
        nodes, processors = self._nodes_and_processors()
        if nodes < self.step.instance_count:
            text = f"{self.step.instance_count} nodes are asked for (instance_count), the cluster has {nodes}; the step runs on those"
            self.publish(Warned(time=time(), step=self.step.name, text=text))
        self.publish(
            StepPlanned(
                time=time(),
                step=self.step.name,
                mini_batches=summary.count,
                items=summary.items,
                size_bytes=summary.size_bytes,
                already_done=ledger.already_done,
                nodes=nodes,
                processors=processors,
            )
        )

    def _execute(
        self,
        settings: ProcessorSettings,
        tally: Tally,
        missing: list[tuple[int, int]],
        *,
        commit: Commit,
        doing: str = "",
    ) -> ExecutionResult:
        own = self.step.settings
        plan = Plan.open(settings.plan)
        sizer = BlockSizer(target=block_seconds(self._nodes_and_processors()[1]), breaks=plan.breaks())
        execution = Execution(
            cluster=self.cluster,
            settings=settings,
            dispatcher=Dispatcher(missing, sizer),
            tally=tally,
            patience=Patience(
                progress=progress_timeout(
                    given=own.progress_update_timeout,
                    run=settings.run_timeout,
                    overhead=settings.overhead_timeout,
                    init=settings.init_timeout,
                ),
            ),
            commit=commit,
            publish=self.publish,
            instance_count=self.step.instance_count,
            processors_wanted=self.step.max_concurrency_per_instance,
            doing=doing,
            charged_items=lambda index: plan.items(index) or 1,
        )
        with self._lock:
            self._current = execution
            if self._planned_too_long:
                execution.stop("first_task_creation_timeout", at_once=True)
            if self._stopped:
                execution.stop(self._stopped, at_once=self._at_once)
        try:
            return execution.run()
        finally:
            with self._lock:
                self._current = None

    def _settings(self, plan: Path, *, tabular: bool) -> ProcessorSettings:
        step, own = self.step, self.step.settings
        paths = StepPaths(self.folder)
        parts, logs, work = paths.parts, self.folder / "logs", self.folder / "work"
        output_dir = (
            Path(step.append_row_to).parent
            if step.append_row_to and "://" not in step.append_row_to
            else self.folder / "outputs"
        )
        for folder in (parts, logs, work, output_dir):
            folder.mkdir(parents=True, exist_ok=True)
        return ProcessorSettings(
            run_id=self.run_id,
            step=step.name,
            node=0,
            python=sys.executable,
            processors=1,
            entry_script=step.entry_script,
            code=str(step.code) if step.code is not None else None,
            arguments=step.arguments,
            environment=dict(step.environment_variables),
            plan=str(plan),
            store=store_of(paths),
            shared=str(parts),
            logs=str(logs),
            work=str(work),
            working_dir=str(self.folder),
            output_dir=str(output_dir),
            logging_level=own.logging_level,
            append_row=step.append_row_to is not None,
            row_format=format_of(step),
            returns_measured=step.append_row_to is not None or own.error_threshold >= 0,
            tabular=tabular,
            max_retries=own.max_retries,
            run_timeout=own.timeout,
            overhead_timeout=own.task_overhead_timeout,
            init_timeout=own.init_timeout,
            memory_limit=own.processor_memory,
            nice=own.nice,
            profiling_module=own.profiling_module,
            resource_interval=own.resource_monitor_interval,
            session=secrets.token_hex(4),
        )

    # -- outputs
    # -------------------------------------------------------------------------------------------------------------------

    def _check_output(self, summary: PlanSummary) -> None:
        """Before the first mini-batch: is there room for parts and output, and may they be written?"""
        if self.step.append_row_to is not None:
            check_space(store_of(StepPaths(self.folder)), self.step.append_row_to, 0)

    def _early_copy(self, ledger: Ledger) -> AbstractContextManager[EarlyCopy | None]:
        remove_stale(self.folder)
        if self.step.append_row_to is None:
            return nullcontext()
        return EarlyCopy(ledger, self.folder, self.step.append_row_to)

    def _assemble(self, ledger: Ledger, tally: Tally, early_copy: EarlyCopy | None) -> None:
        if not ledger.commits.complete:
            missing = sum(stop - start for start, stop in ledger.commits.missing())
            raise RuntimeError(
                f"the step ended well, but {missing} of {ledger.commits.count} mini-batches have no outcome"
            )
        if self.step.append_row_to is None or early_copy is None:
            return

        def progress(done: int, total: int) -> None:
            percent = 100 * done // max(1, total)
            self.publish(
                Progress(
                    time=time(),
                    step=self.step.name,
                    counts=tally.counts,
                    running=0,
                    doing=f"assembling {percent} %",
                )
            )

        assemble(
            ledger.commits,
            ledger.store,
            self.step.append_row_to,
            row_format=ledger.row_format,
            schema=ledger.schema,
            progress=progress,
            start=early_copy.take(),
        )

    def _progress(self, doing: str) -> None:
        self.publish(Progress(time=time(), step=self.step.name, counts=Counts(), running=0, doing=doing))
