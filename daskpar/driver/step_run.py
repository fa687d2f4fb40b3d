"""One step in its folder of the run directory: what it depends on is written down, its outputs are made, it
runs, its end is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from daskpar.events import Event, StepEnded, StepKind, StepStarted, Warned
from daskpar.jobspec.model import CommandStep, PipelineJob, Step
from daskpar.outputs.journal_reader import has_commits
from daskpar.rundir.fingerprint import (
    INPUTS,
    begun_fingerprint,
    plans_the_same,
    seen_inputs,
    step_fingerprint,
)
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepFolder, StepState

if TYPE_CHECKING:
    from daskpar.engine.cluster import Cluster
    from daskpar.engine.command_step import CommandStepRun
    from daskpar.engine.parallel_step import ParallelStepRun
    from daskpar.results import StepResult

SEEN_SECONDS = 10.0
"""How long a step that was stopped waits for its input files to be looked at."""
PLANNED_FROM = "planned_from"
"""In `StepState.extra`: the fingerprint that the plan was made from, where what the step depends on may
differ from it by now: after --allow-changes, and where not all input files were looked at."""


class Seen:
    """What a step depends on, looked at on a thread of its own unless it is `known` from an earlier process:
    first all but the input files (`begin`), then those (`find`)."""

    def __init__(
        self,
        find: Callable[[], Mapping[str, object]],
        known: Mapping[str, object],
        begin: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._find = find
        self._begin = begin
        self._found = dict(known)
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._trouble: Exception | None = None

    def start(self, save: Callable[[Mapping[str, object]], None]) -> None:
        """Begin; `save` gets what is found while the step still runs, and never after `close`."""
        if INPUTS not in self._found:
            self._thread = threading.Thread(
                target=self._look, args=(save,), name="daskpar-fingerprint", daemon=True
            )
            self._thread.start()

    def begun(self) -> None:
        """After `start`: returns once all but the input files is saved, which it is before any code of the
        user's runs. Raises what stood in the way."""
        if self._thread is not None:
            self._begun.wait()
        if not self._found and self._trouble is not None:
            raise self._trouble

    def close(self, seconds: float | None = None) -> dict[str, object]:
        """What is known, the input files too where they were looked at to the end in time."""
        if self._thread is not None:
            self._thread.join(seconds)
        with self._lock:
            self._closed = True
            return self._found

    @property
    def gap(self) -> str:
        """After `close`: a sentence where the input files are not known, else nothing."""
        if INPUTS in self._found:
            return ""
        error = self._trouble
        why = f" ({str(error) or type(error).__name__})" if error is not None else " in time"
        return f"not all input files could be looked at{why}: when this run is resumed, nobody knows whether some are new or gone"

    def _look(self, save: Callable[[Mapping[str, object]], None]) -> None:
        try:
            if not self._found:
                self._take(self._begin(), save)
            self._begun.set()
            if INPUTS not in self._found:
                self._take({INPUTS: self._find()}, save)
        except Exception as error:  # a full disk, a store that refuses: the step's own work may not need what was asked for here
            self._trouble = error
        finally:
            self._begun.set()

    def _take(self, found: Mapping[str, object], save: Callable[[Mapping[str, object]], None]) -> None:
        with self._lock:
            if not self._closed:
                together = {**self._found, **found}
                save(together)
                self._found = together


@dataclass(frozen=True, kw_only=True)
class OneStep:
    """Runs `step` of `job`. `resumed`: an earlier process of this run may have begun it; `allow_changes`:
    what it depends on may differ.
    """

    step: Step
    job: PipelineJob
    directory: RunDirectory
    session: str
    cluster: Cluster
    ready: Callable[[], object]
    publish: Callable[[Event], None]
    datastores: Mapping[str, str]
    resumed: bool
    allow_changes: bool
    opened: Any = None
    """Its input, where it was opened already."""

    def run(self, begun: Callable[[CommandStepRun | ParallelStepRun], None]) -> StepResult:
        """Run to the end; `begun` hears of what can be stopped."""
        from daskpar.driver.plan_text import shown_settings
        from daskpar.outputs.output_folders import there_before

        step, folder = self.step, self.directory.step(self.step.name)
        earlier = folder.state()
        kind = StepKind.COMMAND if isinstance(step, CommandStep) else StepKind.PARALLEL
        began = time()
        if earlier is not None and earlier.completed:
            self._forget_what_follows()
        not_ours: list[Path | str] = [*written(self.job), self.job.spec]

        def begin() -> dict[str, object]:
            return begun_fingerprint(step, self.directory.path, not_ours)

        known: Mapping[str, object] = {}
        if earlier is None:
            folder.keep_before(there_before(step))
        else:  # what an earlier process did is never without a fingerprint
            known = (earlier.fingerprint if self.resumed and not self.allow_changes else {}) or begin()
        planned_from = self._planned_from(folder, earlier)
        state = StepState(
            step=step.name, kind=kind, status="running", fingerprint=known, started=began, extra=planned_from
        )
        folder.save(state)
        # The code is looked at beside the planning, input files beside the work: asking millions of them for
        # their times takes a while.
        seen = Seen(lambda: seen_inputs(step, not_ours), known, begin)
        seen.start(lambda found: folder.save(replace(state, fingerprint=found)))
        self.publish(
            StepStarted(
                time=began, step=step.name, kind=kind, folder=str(folder.path), settings=shown_settings(step)
            )
        )
        self._prepare_outputs(again=earlier is not None)
        running = self._running(state, seen)
        begun(running)
        result = running.run()
        fingerprint = seen.close(None if result.status == "completed" else SEEN_SECONDS)
        if result.status != "completed" and kind == StepKind.PARALLEL and seen.gap:
            self.publish(Warned(time=time(), step=step.name, text=seen.gap))
        folder.save(
            replace(
                state,
                status=result.status,
                reason=result.reason,
                counts=result.counts,
                fingerprint=fingerprint,
                exit_code=result.exit_code,
                ended=time(),
                seconds=result.seconds + (earlier.seconds if earlier is not None else 0.0),
                outputs=result.outputs,
                rows=(getattr(step, "append_row_to", None) or "") if result.status == "completed" else "",
            )
        )
        drop_parts(self.directory, folder.state())
        self.publish(StepEnded(time=time(), result=result))
        return result

    def _running(self, state: StepState, seen: Seen) -> CommandStepRun | ParallelStepRun:
        from daskpar.engine.command_step import CommandStepRun
        from daskpar.engine.parallel_step import ParallelStepRun

        folder = self.directory.step(self.step.name).path
        if isinstance(self.step, CommandStep):
            seen.begun()
            return CommandStepRun(
                step=self.step,
                run_id=self.session,
                run_directory=self.directory.path,
                folder=folder,
                cluster=self.cluster,
                publish=self.publish,
                before_again=lambda: self._prepare_outputs(again=True),
                data=[*written(self.job), *given(self.job)],
            )

        def ready() -> None:
            seen.begun()
            self.ready()

        return ParallelStepRun(
            step=self.step,
            run_id=self.session,
            run_directory=self.directory.path,
            folder=folder,
            cluster=self.cluster,
            ready=ready,
            publish=self.publish,
            datastores=self.datastores,
            retry_failed=self.resumed,
            plans_the_same=lambda: self._plans_the_same(state),
            opened=self.opened,
        )

    def _planned_from(self, folder: StepFolder, earlier: StepState | None) -> dict[str, object]:
        """The fingerprint that a plan of an earlier process was made from, where that may not be what the
        step depends on from now on.
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
            step_fingerprint(self.step, self.directory.path, [*written(self.job), self.job.spec])
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
        """What stays where the outputs of these steps are moved aside: outputs of the others, what was there
        before, and what the job is made of."""
        from daskpar.outputs.output_folders import unchanged

        kept = [str(self.job.spec), str(self.directory.path), *given(self.job)]
        for step in self.job.steps:
            kept += [str(step.code)] if step.code is not None else []
            if step.name in names:
                kept += unchanged(self.directory.step(step.name).before())
            else:
                kept += [output.path for output in step.outputs.values()]
        return kept

    def _forget_what_follows(self) -> None:
        """A completed step runs again: what was made of its output is set aside and made again, the last
        steps first.
        """
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


def written(job: PipelineJob) -> list[str]:
    """What the steps of a job write: neither code nor input, wherever it lies."""
    return [output.path for step in job.steps for output in step.outputs.values()]


def given(job: PipelineJob) -> list[str]:
    """What the steps of a job read that none of them writes."""
    made = set(written(job))
    return [
        data.path
        for step in job.steps
        for data in step.inputs.values()
        if data.is_data and data.path and data.path not in made
    ]


def drop_parts(directory: RunDirectory, state: StepState | None) -> None:
    """Remove the parts of a step whose output is complete, unless `--retry-failed` may want to put it
    together anew.
    """
    from daskpar.rows.registry import store_of

    if state is not None and state.completed and not state.counts.failed:
        store_of(directory.step(state.step)).remove()
