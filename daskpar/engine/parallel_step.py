"""One parallel step from its input to its outputs: plan, run, assemble.

What it has committed survives whatever ends it: a resume goes on from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from daskpar.batches.plan import GROUPED, Plan, PlanSummary
from daskpar.batches.selection import Selection, common, size
from daskpar.engine.dividing import Dividing
from daskpar.engine.execution import Execution
from daskpar.engine.execution_result import Commit, ExecutionResult
from daskpar.engine.fetch_settings import fetching_of
from daskpar.engine.grouped_input import changed_since_grouped
from daskpar.engine.grouping_cluster import GroupingCluster
from daskpar.engine.input_copies import is_copied, lay_out_inputs, own_outputs, remove_inputs
from daskpar.engine.input_guard import guard_of
from daskpar.engine.node_probe import needs_of
from daskpar.engine.plan_phase import PlanPhase
from daskpar.engine.planning import WantedColumns, open_with_columns
from daskpar.engine.processor_settings import settings_of
from daskpar.engine.rules.allocation import processors_per_node
from daskpar.engine.rules.blame import subtract
from daskpar.engine.rules.block_size import block_seconds
from daskpar.engine.rules.clocks import Timeouts, progress_timeout
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.engine.rules.gpu_shares import shares_of_step
from daskpar.engine.rules.in_flight_dispatch import dispatcher_of
from daskpar.engine.step_mounts import mounts_of
from daskpar.engine.step_outputs import StepOutputs
from daskpar.engine.step_run import StepRun
from daskpar.errors import DaskparError, InputError, RowsDamaged, input_error
from daskpar.events import Event, Progress, StepPlanned
from daskpar.jobspec.model import ParallelStep
from daskpar.jobspec.second_copies import backs_up
from daskpar.outputs.early_copy import EarlyCopy
from daskpar.outputs.ledger import Ledger
from daskpar.outputs.part_check import REPAIR_ROUNDS, damage_in_words
from daskpar.processor.protocol import ProcessorSettings, SeenInput
from daskpar.results import (
    Counts,
    Reason,
    Status,
    StepResult,
    TryStatus,
    first_that_cost,
    status_of,
)
from daskpar.rows.registry import format_of
from daskpar.rundir.probe import NodeNeeds
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from daskpar.data.files import FileList
    from daskpar.data.tables.table import Table
    from daskpar.engine.far_nodes import FarNodes


@mutable(kw_only=True)
class ParallelStepRun(StepRun):
    """Runs one parallel step."""

    step: ParallelStep
    ready: Callable[[], object]
    """Returns once the cluster is open; it is opened while the input is listed."""
    datastores: Mapping[str, str]
    run_directory: Path
    retry_failed: bool = False
    plans_the_same: Callable[[], bool] = lambda: True
    """As `PlanPhase.plans_the_same`."""
    on_planned: Callable[[], object] = lambda: None
    """Called once the plan is there."""
    counts_before: Counts = Counts()  # frozen
    """Of earlier processes of the run: the journal does not hold all that they count."""
    opened: Table | FileList | None = None
    """The input where it was opened already."""
    planned_ahead: Callable[[], PlanSummary] | None = None
    """Waits for the plan where it is being made already."""
    data: Collection[str] = ()
    """What the steps of the job read and write: no code, wherever it lies."""
    takes_changes: bool = False
    """Whether the files of an earlier process' plan may be others by now (--allow-changes)."""
    selection: Selection | None = None
    """The mini-batches that are asked for; None: all."""
    _asked: int | None = None
    """How many have their outcome when all that are asked for have it; None: all of the plan."""
    _planned_of: Table | None = None
    """The table that this process has planned; None for a list of files, and for a plan that was there."""

    def __post_init__(self) -> None:
        self._grouping = GroupingCluster(self.cluster)
        self._outputs = StepOutputs(
            step=self.step, folder=self.folder, stopped=lambda: self._stopped, warn=self._warn
        )

    def _run(self) -> StepResult:
        with self._grouping:
            summary = self._plan()
        self.on_planned()
        self._outputs.check_room()
        return self._run_planned(summary)

    def _judged(self, result: StepResult) -> StepResult:
        # What goes wrong while a step stops follows from its being stopped, unless a mini-batch has failed.
        if self._stopped and result.status in (Status.FAILED, Status.LOST) and not result.counts.failed:
            return replace(result, status=Status.INTERRUPTED, reason=self._stopped)
        return result

    # -- plan ------------------------------------------------------------------------------------------------

    def _plan(self) -> PlanSummary:
        return PlanPhase(
            step=self.step,
            folder=self.folder,
            open_input=self._open_input,
            planned_ahead=self._take_planned if self.planned_ahead is not None else None,
            plans_the_same=self.plans_the_same,
            takes_changes=self.takes_changes,
            ready=self.ready,
            settings=lambda plan: self._settings(plan, tabular=True),
            make_execution=self._execution,
            run_execution=self._run_execution,
            stopped=lambda: self._stopped,
            progress=lambda doing: self._publish_progress(Counts(), doing),
            warn=self._warn,
        ).run()

    def _open_input(self) -> Table | FileList | None:
        from daskpar.data.files import FileList

        found = self._opened_input()
        self._planned_of = None if isinstance(found, FileList) else found  # a list may be long
        return found

    def _opened_input(self) -> Table | FileList | None:
        step = self.step
        if self.opened is not None or step.settings.rank_mini_batch_count > 0:
            return self.opened
        data, *others = (step.inputs[name] for name in step.input_data)
        with self._named_input():
            return open_with_columns(data, WantedColumns.of(step), self.datastores, others)

    def _take_planned(self) -> PlanSummary:
        assert self.planned_ahead is not None
        with self._named_input():
            return self.planned_ahead()

    @contextmanager
    def _named_input(self) -> Iterator[None]:
        """An InputError within says which input it is about."""
        data = self.step.inputs[self.step.input_data[0]]
        try:
            yield
        except InputError as error:
            made = f" that step {data.made_by} wrote" if data.made_by else ""
            raise input_error(error, f"{error} (input {data.name!r}{made}, {data.where})") from error

    # -- run -------------------------------------------------------------------------------------------------

    def _run_planned(self, summary: PlanSummary) -> StepResult:
        step, settings = self.step, self.step.settings
        ledger = Ledger.open(
            self.folder.path,
            summary.count,
            step=step.name,
            retry_failed=self.retry_failed,
            row_format=format_of(step),
        )
        ledger.uploads = self._outputs.uploads()
        try:
            for note in ledger.notes:
                self._warn(note)
            thresholds = Thresholds(
                error_threshold=settings.error_threshold,
                mini_batch_error_threshold=settings.mini_batch_error_threshold,
                allowed_failed_percent=settings.allowed_failed_percent,
            )
            counts = ledger.commits.counts().counting_on(self.counts_before)
            counter = ThresholdCounter(thresholds, counts)
            missing = ledger.commits.missing()
            left_out = False
            if self.selection is not None:
                chosen = common(missing, self.selection.of(summary.count, step.name))
                missing, left_out = chosen, chosen != missing
                self._asked = ledger.already_done + size(chosen) if left_out else None
            self.ready()
            self._announce(summary, ledger)
            with nullcontext() if left_out else self._outputs.early_copy(ledger) as early_copy:
                outcome = self._run_missing(summary, ledger, counter, missing)
                for repairs in range(1, REPAIR_ROUNDS + 2):
                    try:
                        return self._conclude(outcome, ledger, counter, early_copy)
                    except RowsDamaged as error:
                        if repairs > REPAIR_ROUNDS:
                            return self._given_up(outcome, counter, str(error))
                        counter, outcome = self._repair(summary, ledger, counter, outcome, repairs)
                raise AssertionError("the last round returns")
        finally:
            shutil.rmtree(self.folder.sent, ignore_errors=True)
            ledger.close()
            self._outputs.write_failed_items(ledger, whole=self._asked is None)

    def _run_missing(
        self,
        summary: PlanSummary,
        ledger: Ledger,
        counter: ThresholdCounter,
        missing: list[tuple[int, int]],
        *,
        repair: int = 0,
    ) -> ExecutionResult:
        if not missing:
            return ExecutionResult()
        settings, inputs = self._settings(self.folder.plan, tabular=summary.tabular), self.step.inputs
        split = [inputs[name] for name in self.step.input_data]
        own = replace(
            settings,
            repair=repair,
            uploads=ledger.uploads.uploads if ledger.uploads is not None else None,
            guard=guard_of(inputs, self.step.outputs, self.run_directory, settings.output_dir),
            seen=tuple(
                SeenInput(path=data.path, seen=data.seen, copied=is_copied(data))
                for data in split
                if data.is_laid_out
            ),
            fetching=fetching_of(self.step, self.folder, None if summary.tabular else self.folder.plan),
        )
        try:
            if any(data.is_laid_out for data in inputs.values()):
                self._publish_progress(counter.counts, "laying out inputs")
            lay_out_inputs(inputs.values(), str(self.run_directory), lambda: bool(self._stopped))
            outcome = self._execute(
                own, counter, missing, commit=ledger.commit, dividing=self._dividing(summary, ledger)
            )
            own_outputs(inputs.values(), [output.path for output in self.step.outputs.values()])
        finally:
            remove_inputs(inputs.values())
        return outcome

    def _repair(
        self,
        summary: PlanSummary,
        ledger: Ledger,
        counter: ThresholdCounter,
        outcome: ExecutionResult,
        repair: int,
    ) -> tuple[ThresholdCounter, ExecutionResult]:
        """Find all committed rows that are not as they were written, and run their mini-batches again."""
        self._publish_progress(counter.counts, "checking rows")
        found = ledger.revoke_damaged()
        if found.ranges:
            self._warn(f"{damage_in_words(found)}; these are run again")
        counter = ThresholdCounter(counter.thresholds, ledger.commits.counts().counting_on(counter.counts))
        counter.add_repeats(found.count)
        again = self._run_missing(summary, ledger, counter, found.ranges, repair=repair)
        return counter, again.after(outcome)

    def _given_up(self, outcome: ExecutionResult, counter: ThresholdCounter, error: str) -> StepResult:
        reason = (
            f"{error} Rows were damaged like that {REPAIR_ROUNDS + 1} times in this run, although they were "
            f"run again. Find out what writes into {self.folder.parts}, then `python -m daskpar resume` runs "
            "what is damaged again."
        )
        return StepResult(
            step=self.step.name,
            status=Status.LOST,
            reason=reason,
            counts=counter.counts,
            first_failure=outcome.first_failure,
        )

    def _conclude(
        self,
        outcome: ExecutionResult,
        ledger: Ledger,
        counter: ThresholdCounter,
        early_copy: EarlyCopy | None,
    ) -> StepResult:
        """What the end of the run means: its counts, the verdict, and the output where it is completed.

        Raises RowsDamaged where the output can't be put together of the rows that are there.
        """
        result = StepResult(
            step=self.step.name,
            status=outcome.status,
            reason=outcome.reason,
            counts=counter.counts,
            first_failure=first_that_cost(*ledger.earlier_failures, outcome.first_failure),
            notes=_on_changed(
                outcome.input_changed
                + sum(earlier.reason == Reason.INPUT_CHANGED for earlier in ledger.earlier_failures)
            )
            + outcome.notes
            + ((outcome.gathered,) if outcome.gathered else ())
            + self._on_grouped_input(),
        )
        if result.status != Status.COMPLETED:
            return result
        partial = self.selection is not None and not ledger.commits.complete
        # Those that are asked for may hold no row, where others do.
        allow_empty = self.step.settings.allow_empty or partial
        if reason := counter.closing_verdict(allow_empty=allow_empty):
            return replace(result, status=Status.FAILED, reason=reason)
        try:
            if ledger.uploads is not None:
                self._publish_progress(counter.counts, "uploading")
                status = ledger.commits.status
                ledger.uploads.finish(lambda index: status[index] == TryStatus.SUCCEEDED)
            if partial:
                return self._partial(result, ledger)
            self._assemble(ledger, counter, early_copy)
        except RowsDamaged:
            raise
        except DaskparError as error:
            return replace(result, status=status_of(error), reason=str(error))
        return result

    def _on_grouped_input(self) -> tuple[str, ...]:
        """What has to be said where rows were brought together of a table that is another one now."""
        table = self._planned_of
        if table is None or not self.step.partition_keys:
            return ()
        if not Plan.open(self.folder.plan).rows_are_gathered:
            return ()  # whoever reads a mini-batch looks at its files
        note = changed_since_grouped(table)
        return (note,) if note else ()

    def _nodes_and_processors(self) -> tuple[int, int]:
        """How many of each take part, as the cluster is now."""
        wanted, there = self.step.instance_count, len(self.cluster.facts)
        nodes = there if wanted == -1 else min(wanted, there)
        processors = processors_per_node(
            list(self.cluster.facts.values())[:nodes],
            self.step.max_concurrency_per_instance,
            shares_of_step(self.step),
        )
        return nodes, sum(processors.values())

    def _announce(self, summary: PlanSummary, ledger: Ledger) -> None:
        nodes, processors = self._nodes_and_processors()
        wanted = self.step.instance_count
        if nodes < wanted and not self.cluster.brings_nodes:
            self._warn(
                f"{wanted} nodes are asked for (instance_count), the cluster has {nodes}; "
                "the step runs on those"
            )
        self.publish(
            StepPlanned(
                time=time(),
                step=self.step.name,
                mini_batches=summary.count,
                items=summary.items,
                size_bytes=summary.size_bytes,
                already_done=ledger.already_done,
                asked=self._asked,
                nodes=nodes,
                processors=processors,
            )
        )

    def _execute(
        self,
        settings: ProcessorSettings,
        counter: ThresholdCounter,
        missing: list[tuple[int, int]],
        *,
        commit: Commit,
        dividing: Dividing | None,
    ) -> ExecutionResult:
        if dividing is not None:
            dividing.only = missing
            for index in dividing.begun_before():  # their pieces are run instead
                missing, _ = subtract(missing, index, index + 1)
        execution = self._execution(settings, counter, missing, commit=commit, dividing=dividing)
        return self._run_execution(execution)

    def _dividing(self, summary: PlanSummary, ledger: Ledger) -> Dividing | None:
        """What tells the items of failed mini-batches apart; None where these fail as a whole."""
        own = self.step.settings
        wanted = own.isolate_failed_items
        if not wanted or (summary.kind == GROUPED and wanted != "groups"):
            return None
        return Dividing(
            ledger=ledger,
            at_most=own.isolate_at_most,
            files=not summary.tabular,
            max_retries=own.max_retries,
            warn=self._warn,
        )

    def _run_execution(self, execution: Execution) -> ExecutionResult:
        with self._stoppable(execution):
            return execution.run()

    def _execution(
        self,
        settings: ProcessorSettings,
        counter: ThresholdCounter,
        missing: list[tuple[int, int]],
        *,
        commit: Commit,
        doing: str = "",
        dividing: Dividing | None = None,
    ) -> Execution:
        plan = Plan.open(settings.plan)
        dispatcher = dispatcher_of(
            missing,
            settings.in_flight,
            block_seconds(self._nodes_and_processors()[1]),
            plan.breaks(),
            backup=not doing and backs_up(self.step),
        )
        progress = progress_timeout(
            chosen=self.step.settings.progress_update_timeout,
            run=settings.run_timeout,
            overhead=settings.overhead_timeout,
            init=settings.init_timeout,
        )
        cluster = self._grouping.cluster() if doing else self.cluster
        return Execution(
            cluster=cluster,
            settings=settings,
            dispatcher=dispatcher,
            counter=counter,
            timeouts=Timeouts(progress=progress),
            commit=commit,
            publish=self._publish_of_asked,
            instance_count=self.step.instance_count,
            processors_wanted=self.step.max_concurrency_per_instance,
            doing=doing,
            dividing=dividing,
            needs=None if cluster.local else self._needs,
            far=None if cluster.local or doing else self._far_nodes(settings),
            charged_items=lambda index: plan.items(index) or 1,
            describe=plan.describe,
            origin=lambda: plan.origin,
        )

    def _far_nodes(self, settings: ProcessorSettings) -> FarNodes:
        from daskpar.engine.far_nodes import FarNodes

        return FarNodes(
            client=self.cluster.client,
            step=self.step,
            settings=settings,
            run_directory=self.run_directory,
            folder=self.folder.sent,
            tell=self._warn,
            known=self.cluster.far,
            skip=self.data,
        )

    def _needs(self) -> NodeNeeds:
        return needs_of(self.step, self.run_directory)

    def _settings(self, plan: Path, *, tabular: bool) -> ProcessorSettings:
        """What the processors of all nodes share, for the mini-batches of `plan`; makes their folders."""
        settings = settings_of(self.step, self.folder, plan, run_id=self.run_id, tabular=tabular)
        return replace(settings, mounts=mounts_of(self.step, self.run_directory))

    # -- outputs ---------------------------------------------------------------------------------------------

    def _assemble(self, ledger: Ledger, counter: ThresholdCounter, early_copy: EarlyCopy | None) -> None:
        def progress(done: int, total: int) -> None:
            self._publish_progress(counter.counts, f"assembling {100 * done // max(1, total)} %")

        self._outputs.assemble(ledger, early_copy, progress)

    def _partial(self, result: StepResult, ledger: Ledger) -> StepResult:
        """The end of a step of which only some mini-batches were asked for."""
        rows, counts = self._outputs.assemble_partial(ledger), result.counts
        reason = f"{counts.done:,} of {counts.planned:,} mini-batches, as asked"
        return replace(result, status=Status.PARTIAL, reason=reason, partial_rows=rows)

    def _publish_of_asked(self, event: Event) -> None:
        """Publish an event; progress counts to what is asked for, so that it is at its end then."""
        if self._asked is not None and isinstance(event, Progress):
            event = replace(event, counts=replace(event.counts, planned=self._asked))
        self.publish(event)

    def _publish_progress(self, counts: Counts, doing: str) -> None:
        self.publish(Progress(time=time(), step=self.step.name, counts=counts, running=0, doing=doing))


def _on_changed(mini_batches: int) -> tuple[str, ...]:
    """What has to be said where mini-batches failed because their files were not what was planned."""
    if not mini_batches:
        return ()
    failed = "1 mini-batch" if mini_batches == 1 else f"{mini_batches} mini-batches"
    return (
        f"the input changed while the step ran: {failed} failed because a file was not what was planned "
        "(INPUT_CHANGED in the logs names each); put the files back and resume with --retry-failed, "
        "or start a new run on what is there now",
    )
