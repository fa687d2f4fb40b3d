"""Runs one step with its folder in the run directory, from its fingerprint to the record of how it ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from daskpar.driver.background_fingerprint import BackgroundFingerprint
from daskpar.driver.inputs_beside import InputsBeside
from daskpar.driver.planned_files import PlannedFiles
from daskpar.events import Event, StepEnded, StepKind, StepStarted, Warned
from daskpar.jobspec.model import CommandStep, PipelineJob, Step
from daskpar.outputs.journal_reader import has_commits
from daskpar.results import Counts, Status, StepResult
from daskpar.rundir.fingerprint import (
    INPUTS,
    fingerprint_without_inputs,
    plans_the_same,
    seen_beside,
    seen_inputs,
    step_fingerprint,
)
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepFolder, StepState
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.batches.plan import PlanSummary
    from daskpar.batches.selection import Selection
    from daskpar.data.files import FileList
    from daskpar.data.tables.table import Table
    from daskpar.engine.cluster import Cluster
    from daskpar.engine.step_run import StepRun

FINGERPRINT_SECONDS = 10.0
"""How long a step that did not complete waits for its input files to be looked at."""
PLANNED_FROM = "planned_from"
"""In `StepState.extra`: the fingerprint that the plan was made from, where what the step depends on may
differ from it by now: after --allow-changes, and where not all input files were looked at."""


@frozen(kw_only=True)
class StepLifecycle:
    """Runs `step` of `job` and keeps in its folder what a later process of this run needs to know."""

    step: Step
    job: PipelineJob
    directory: RunDirectory
    session: str
    cluster: Cluster
    ready: Callable[[], object]
    publish: Callable[[Event], None]
    datastores: Mapping[str, str]
    resumed: bool
    """Whether an earlier process of this run may have begun it."""
    allow_changes: bool
    """Whether what it depends on may differ from then."""
    opened: Table | FileList | None = None
    """Its input, where it was opened already."""
    planned_ahead: Callable[[], PlanSummary] | None = None
    """Waits for its plan, where that is being made already."""
    selection: Selection | None = None
    """The mini-batches that are asked for; None: all."""
    drop_parts: Callable[[StepState], None] = lambda _: None
    """Removes what is needed no more once the step has ended so."""

    def run(self, on_start: Callable[[StepRun], None]) -> StepResult:
        """Run to the end; `on_start` gets the running step, so that it can be stopped."""
        from daskpar.driver.plan_text import shown_rows, shown_settings

        step, folder = self.step, self.directory.step(self.step.name)
        earlier = folder.state()
        if earlier is not None and earlier.completed:
            self._forget_what_follows()
        state = self._running_state(folder, earlier)
        folder.save(state)
        # The code is looked at while the step plans, input files when they are planned: a long list is looked
        # at once for both.
        planned = PlannedFiles(folder.plan, trusted=not (self.resumed and self.allow_changes))
        if isinstance(step, CommandStep):
            planned.settle()
        fingerprint = BackgroundFingerprint(
            lambda: seen_inputs(
                step,
                self._neither_code_nor_input,
                planned=planned.wait(),
                before=_files_of(earlier),
                datastores=self.datastores,
            ),
            state.fingerprint,
            self._fingerprint_without_inputs,
        )
        fingerprint.start(lambda found: folder.save(replace(state, fingerprint=found)))
        beside = InputsBeside(lambda: seen_beside(step, self._neither_code_nor_input))
        self.publish(
            StepStarted(
                time=state.started or time(),
                step=step.name,
                kind=StepKind(state.kind),
                folder=str(folder.path),
                settings=shown_settings(step),
                sources=shown_rows(step),
                outputs={name: output.path for name, output in step.outputs.items()},
            )
        )
        self._prepare_outputs(again=earlier is not None)
        beside.wait_begun()
        running = self._step_run(state, fingerprint, planned.settle)
        on_start(running)
        try:
            result = running.run()
        finally:
            planned.settle()
        result = replace(result, notes=(*result.notes, *beside.changed()))
        self._keep_end(folder, state, result, fingerprint, earlier.seconds if earlier is not None else 0.0)
        self.publish(StepEnded(time=time(), result=result))
        return result

    @property
    def _neither_code_nor_input(self) -> list[Path | str]:
        """Paths that may lie among the step's code and inputs, but are neither: outputs and the spec."""
        return [*output_paths(self.job), self.job.spec]

    def _fingerprint_without_inputs(self) -> dict[str, object]:
        return fingerprint_without_inputs(self.step, self.directory.path, self._neither_code_nor_input)

    def _running_state(self, folder: StepFolder, earlier: StepState | None) -> StepState:
        """What is kept of the step while it runs; `earlier` is what an earlier process has kept."""
        from daskpar.outputs.output_folders import there_before

        began = time()
        known: Mapping[str, object] = {}
        if earlier is None:
            folder.keep_before(there_before(self.step))
        else:  # the plan and commits of an earlier process must never be without a fingerprint
            keeps = self.resumed and not self.allow_changes
            known = (earlier.fingerprint if keeps else {}) or self._fingerprint_without_inputs()
        return StepState(
            step=self.step.name,
            kind=StepKind.COMMAND if isinstance(self.step, CommandStep) else StepKind.PARALLEL,
            status=Status.RUNNING,
            number=[step.name for step in self.job.steps].index(self.step.name),
            counts=Counts().counting_on(earlier.counts) if earlier is not None and self.resumed else Counts(),
            fingerprint=known,
            started=began,
            extra=self._planned_from(folder, earlier),
        )

    def _keep_end(
        self,
        folder: StepFolder,
        state: StepState,
        result: StepResult,
        fingerprint: BackgroundFingerprint,
        seconds_before: float,
    ) -> None:
        """Write down how the step ended, and drop what is needed no more."""
        completed = result.status == Status.COMPLETED
        # A completed step without its whole fingerprint could not tell later whether it is still valid.
        found = fingerprint.close(None if completed else FINGERPRINT_SECONDS)
        if not completed and state.kind == StepKind.PARALLEL and fingerprint.gap:
            self.publish(Warned(time=time(), step=self.step.name, text=fingerprint.gap))
        ended = state.with_result(
            result,
            ended=time(),
            seconds_before=seconds_before,
            fingerprint=found,
            rows=_rows_place(self.step),
        )
        folder.save(ended)
        self.drop_parts(ended)

    def _step_run(
        self,
        state: StepState,
        fingerprint: BackgroundFingerprint,
        on_planned: Callable[[], object] = lambda: None,
    ) -> StepRun:
        folder = self.directory.step(self.step.name)
        if isinstance(self.step, CommandStep):
            from daskpar.engine.command_step import CommandStepRun

            fingerprint.wait_for_code()
            return CommandStepRun(
                step=self.step,
                run_id=self.session,
                run_directory=self.directory.path,
                folder=folder,
                cluster=self.cluster,
                publish=self.publish,
                before_again=lambda: self._prepare_outputs(again=True),
                goes_on=self.resumed and not self.allow_changes,
                data=[*output_paths(self.job), *outside_inputs(self.job)],
            )

        from daskpar.engine.parallel_step import ParallelStepRun

        def ready() -> None:
            fingerprint.wait_for_code()
            self.ready()

        return ParallelStepRun(
            step=self.step,
            run_id=self.session,
            folder=folder,
            cluster=self.cluster,
            publish=self.publish,
            ready=ready,
            datastores=self.datastores,
            run_directory=self.directory.path,
            data=[*output_paths(self.job), *outside_inputs(self.job)],
            retry_failed=self.resumed,
            counts_before=state.counts,
            time_limit=self.step.settings.job_timeout,
            plans_the_same=lambda: self._plans_the_same(state),
            on_planned=on_planned,
            opened=self.opened,
            planned_ahead=self.planned_ahead,
            takes_changes=self.resumed and self.allow_changes,
            selection=self.selection,
        )

    def _planned_from(self, folder: StepFolder, earlier: StepState | None) -> dict[str, object]:
        """For `StepState.extra`: what the plan of an earlier process was made from.

        Empty where that is what the step depends on from now on.
        """
        if earlier is None or not self.resumed or not (folder.plan.exists() or has_commits(folder.journal)):
            return {}
        if not earlier.extra.get(PLANNED_FROM) and not self.allow_changes and INPUTS in earlier.fingerprint:
            return {}
        return {PLANNED_FROM: earlier.extra.get(PLANNED_FROM) or earlier.fingerprint}

    def _plans_the_same(self, state: StepState) -> bool:
        """Whether a plan made now would be that of an earlier process."""
        old = state.extra.get(PLANNED_FROM)
        now = (
            step_fingerprint(
                self.step,
                self.directory.path,
                self._neither_code_nor_input,
                before=old if isinstance(old, Mapping) else None,
                datastores=self.datastores,
            )
            if old is not None
            else {}
        )
        return old is None or (isinstance(old, Mapping) and plans_the_same(old, now))

    def _prepare_outputs(self, *, again: bool) -> None:
        from daskpar.outputs.output_folders import prepare_outputs

        keep = self._not_made_by({self.step.name}) if again else ()
        for note in prepare_outputs(self.step, again=again, keep=keep):
            self.publish(Warned(time=time(), step=self.step.name, text=note))

    def _not_made_by(self, names: Collection[str]) -> list[str]:
        """Paths that are not moved aside together with the outputs of the steps `names`.

        These are the outputs of other steps, what was there before, and the job's own code, spec and inputs.
        """
        from daskpar.outputs.output_folders import unchanged

        kept = [str(self.job.spec), str(self.directory.path), *outside_inputs(self.job)]
        for step in self.job.steps:
            kept += [str(step.code)] if step.code is not None else []
            if step.name in names:
                kept += unchanged(self.directory.step(step.name).before())
            else:
                kept += [output.path for output in step.outputs.values()]
        return kept

    def _forget_what_follows(self) -> None:
        """Set aside the steps that read this one's output, since it runs again; the last ones first."""
        from daskpar.outputs.output_folders import set_outputs_aside

        stale = {self.step.name}
        for other in self.job.steps:
            if stale & set(other.needs):
                stale.add(other.name)
        for other in reversed(self.job.steps):
            if (
                other.name == self.step.name
                or other.name not in stale
                or self.directory.step(other.name).state() is None
            ):
                continue
            notes = set_outputs_aside(other, keep=self._not_made_by(stale))
            aside = self.directory.set_aside(other.name)
            notes.append(
                f"Step {other.name} runs again, as {self.step.name} does; what was kept of it is now {aside}."
            )
            for note in notes:
                self.publish(Warned(time=time(), step=self.step.name, text=note))


def _files_of(earlier: StepState | None) -> Mapping[str, Any] | None:
    """What an earlier process has kept of the step's input files."""
    found = earlier.fingerprint.get(INPUTS) if earlier is not None else None
    return found if isinstance(found, Mapping) else None


def output_paths(job: PipelineJob) -> list[str]:
    """Where the steps of a job write."""
    return [output.path for step in job.steps for output in step.outputs.values()]


def outside_inputs(job: PipelineJob) -> list[str]:
    """Paths that the steps of a job read and that none of them writes."""
    made = set(output_paths(job))
    return [
        data.path
        for step in job.steps
        for data in step.inputs.values()
        if data.is_data and data.path and data.path not in made
    ]


def _rows_place(step: Step) -> str:
    """As `StepState.rows`."""
    place = getattr(step, "append_row_to", None) or ""
    return f"{place.rstrip('/')}/" if getattr(step, "append_row_folder", False) else place
