"""Runs a job from beginning to end: opens the cluster, runs the steps in order, records and reports."""

from __future__ import annotations

import secrets
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import field, replace
from time import monotonic, time
from typing import TYPE_CHECKING

from daskpar.datastores import carried
from daskpar.driver.disk_refusals import refused_by_a_disk
from daskpar.driver.interrupts import interrupts
from daskpar.driver.machine_limits import refused_by_a_limit
from daskpar.driver.options import Options
from daskpar.driver.result import Run, outputs_of
from daskpar.driver.startup import Startup, named_compute
from daskpar.driver.step_lifecycle import StepLifecycle
from daskpar.errors import DaskparError, InfrastructureLost, Problem, UsageError
from daskpar.events import Event, RunEnded, RunStarted, StepEnded, Warned, Watcher
from daskpar.jobspec.model import ParallelStep, PipelineJob, Step
from daskpar.masking import hidden_tree
from daskpar.named_places import all_datastores
from daskpar.processor import prestart
from daskpar.processor.fetching import fetch_ahead
from daskpar.reports.event_bus import EventBus
from daskpar.reports.hints import HintCollector
from daskpar.reports.warning_collector import WarningCollector
from daskpar.results import Status, StepResult, status_of
from daskpar.rows.registry import store_of
from daskpar.rundir.run_directory import RunDirectory
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from daskpar.engine.cluster import Cluster
    from daskpar.engine.page_link import PageLink
    from daskpar.engine.step_run import StepRun
    from daskpar.reports.live_facts import LiveFacts
    from daskpar.rundir.step_folder import StepState


@mutable
class PipelineRun:
    """The steps of one job under way.

    Each starts when those it needs have completed; independent ones run at the same time.
    """

    job: PipelineJob
    directory: RunDirectory
    options: Options
    resumed: bool = False
    warnings: Sequence[Problem] = ()
    results: dict[str, StepResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.options.is_local and (named := named_compute(self.job)):
            self.options = replace(self.options, compute=named)
            prestart.close_all()
            fetch_ahead.close_all()
        self._running: dict[str, StepRun | None] = {}
        """Steps under way; None: about to begin."""
        self._threads: list[threading.Thread] = []
        self._removals: list[threading.Thread] = []
        self._changed = threading.Condition()
        self.may_have_run_steps = False
        """Whether any step may have run."""
        self._stop_reason = ""
        self._step_warnings = WarningCollector()
        self._hints = HintCollector()
        self._page: PageLink | None = None
        # New for each driver process of a run: what an earlier one has left on a cluster is not ours.
        session = self.directory.identity.id + (f"-{secrets.token_hex(3)}" if self.resumed else "")
        self._startup = Startup(
            self.job, self.directory, self.options, all_datastores(self.options.datastores), session
        )

    def run(self) -> Run:
        """Run all steps; `run.json` says how the run ended, whatever happened."""
        began, began_at = monotonic(), time()
        try:
            self._startup.start()
            self._write_effective_spec()
        except BaseException as error:
            self._startup.close()
            if refused := refused_by_a_disk(error, self.directory.path):
                raise InfrastructureLost(refused) from error
            raise
        self._facts = self._live_facts()
        watchers = [*self._watchers(), self._step_warnings, self._hints, self._facts]
        bus = EventBus([*watchers, *self.options.watchers])
        self.publish: Callable[[Event], None] = bus.publish
        status, reason = Status.LOST, "daskpar itself failed"
        try:
            with interrupts(lambda why, at_once: self.stop(why, at_once=at_once), self._warn):
                self._publish_start(began_at)
                self.may_have_run_steps = True
                self._run_steps()
                status, reason = self._overall()
        except DaskparError as error:
            status, reason = status_of(error), str(error)
            if error.exit_code == UsageError.exit_code:
                raise
        finally:
            if self._page is not None:
                self._page.close(status, lambda: self._facts.settle(status, reason))
            self._startup.close()
            status, reason = self._record_end(status, reason)
            with suppress(KeyboardInterrupt):  # what is left then only takes up space
                for removal in self._removals:
                    removal.join()
            bus.publish(
                RunEnded(
                    time=time(),
                    status=status,
                    reason=reason,
                    seconds=monotonic() - began,
                    exit_code=status.exit_code,
                )
            )
            bus.close()
        return self._result(status, reason, monotonic() - began)

    def _publish_start(self, began: float) -> None:
        from daskpar.engine.page_link import page_address

        cluster = self._ready()
        dashboard = cluster.dashboard_link
        self.publish(
            RunStarted(
                time=began,
                name=self.job.name,
                spec=str(self.job.spec),
                run_directory=str(self.directory.path),
                steps=tuple(step.name for step in self.job.steps),
                dashboard=page_address(dashboard, cluster.run_id, alone=cluster.local),
                resumed=self.resumed,
                notes=self.job.notes,
                needs={step.name: step.needs for step in self.job.steps},
            )
        )
        for warning in [*self.warnings, *self._startup.notes]:
            self._warn(str(warning))
        if dashboard:
            self._open_page(cluster, began)

    def _live_facts(self) -> LiveFacts:
        from daskpar.reports.live_facts import LiveFacts

        return LiveFacts(self._startup.session, name=self.job.name, directory=str(self.directory.path))

    def _open_page(self, cluster: Cluster, began: float) -> None:
        """Give the run a page in the dashboard."""
        from daskpar.engine.page_link import PageLink

        self._page = PageLink(
            cluster, self._facts.answer, name=self.job.name, directory=str(self.directory.path), started=began
        )
        self._page.start()

    def _record_end(self, status: Status, reason: str) -> tuple[Status, str]:
        """Write down in `run.json` how the run ended; status and reason, others where that fails."""
        try:
            self.directory.update(status=status, reason=reason, exit_code=status.exit_code, ended=time())
        except DaskparError as error:
            # run.json goes on to say "running", as after a driver that died: the run can be resumed.
            if status == Status.COMPLETED:
                return Status.LOST, str(error)
            return status, f"{reason}; {error}"
        return status, reason

    def _ready(self) -> Cluster:
        """The open cluster; waits for it."""
        return self._startup.ready(lambda: self._stop_reason, self._warn)

    def _warn(self, text: str) -> None:
        self.publish(Warned(time=time(), step="", text=text))

    def _run_steps(self) -> None:
        waiting = {step.name: step for step in self.job.steps}
        while True:
            with self._changed:
                for step in [s for s in waiting.values() if all(n in self.results for n in s.needs)]:
                    del waiting[step.name]
                    self._start_or_skip(step)
                if not waiting and not self._running:
                    break
                self._changed.wait(0.5)
        for thread in self._threads:
            thread.join()

    def _start_or_skip(self, step: Step) -> None:
        blocked = [name for name in step.needs if self.results[name].status != Status.COMPLETED]
        failed = [
            name
            for name, result in self.results.items()
            if result.status not in (Status.COMPLETED, Status.PARTIAL, Status.SKIPPED)
        ]
        why = ""
        if self._stop_reason:
            why = self._stop_reason
        elif blocked:
            partial = self.results[blocked[0]].status == Status.PARTIAL
            why = f"step {blocked[0]} {'is partial, as asked' if partial else 'did not complete'}"
        elif failed and not self.job.continue_on_step_failure:
            why = f"step {failed[0]} did not complete (settings.continue_on_step_failure is off)"
        if why:
            result = StepResult(step=step.name, status=Status.SKIPPED, reason=why)
            self.results[step.name] = result
            self.publish(StepEnded(time=time(), result=result))
            return
        if self._is_done(step):
            return
        self._running[step.name] = None
        thread = threading.Thread(
            target=carried(self._run_step), args=(step,), name=f"daskpar-step-{step.name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _is_done(self, step: Step) -> bool:
        """Whether an earlier process has completed the step, and nothing of it is to be tried again."""
        state = self.directory.step(step.name).state() if self.resumed else None
        if state is None or not state.completed or (self.options.retry_failed and state.counts.to_retry):
            return False
        self._drop_parts(state)
        self.results[step.name] = state.result()
        return True

    def _run_step(self, step: Step) -> None:
        try:
            result = self._run_lifecycle(step)
        except DaskparError as error:
            result = StepResult(step=step.name, status=status_of(error), reason=str(error))
        except BaseException as error:  # a mistake of ours must not leave the run waiting for ever
            refused = refused_by_a_limit(error) or refused_by_a_disk(error, self.directory.path)
            reason = refused or (
                f"daskpar itself failed; please report this, `resume {self.directory.path}` goes on where it "
                f"was: {type(error).__name__}: {error}\n{traceback.format_exc()}"
            )
            result = StepResult(step=step.name, status=Status.LOST, reason=reason)
        with self._changed:
            self._running.pop(step.name, None)
            self.results[step.name] = result
            if result.status == Status.INTERRUPTED and not self._stop_reason:
                self._stop_reason = result.reason
            self._changed.notify_all()

    def _run_lifecycle(self, step: Step) -> StepResult:
        lifecycle = StepLifecycle(
            step=step,
            job=self.job,
            directory=self.directory,
            session=self._startup.session,
            cluster=self._ready(),
            ready=self._ready,
            publish=self.publish,
            datastores=self._startup.datastores,
            resumed=self.resumed,
            allow_changes=self.options.allow_changes,
            opened=self._startup.inputs.pop(step.name, None),
            planned_ahead=made.take if (made := self._startup.plans.get(step.name)) else None,
            selection=self.options.selection,
            drop_parts=self._drop_parts,
        )

        def keep_for_stop(running: StepRun) -> None:
            with self._changed:
                self._running[step.name] = running
                if self._stop_reason:
                    running.stop(self._stop_reason)

        return lifecycle.run(keep_for_stop)

    def _drop_parts(self, state: StepState) -> None:
        """Remove the part files of a step whose output is complete, while the run goes on; it may take time.

        They stay where `--retry-failed` may want to put the output together anew.
        """
        if state.completed and not state.counts.to_retry:
            store = store_of(self.directory.step(state.step))
            removal = threading.Thread(target=store.remove, name=f"daskpar-removal-{state.step}", daemon=True)
            try:
                removal.start()
            except RuntimeError:  # no thread can be had
                store.remove()
            else:
                self._removals.append(removal)

    # -- the end --------------------------------------------------------------------------------------------

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """End the run, which can be resumed: no new step, and no new call of `run()`.

        Calls under way are killed after two seconds, or at once.
        """
        self._stop_reason = self._stop_reason or reason
        for running in list(self._running.values()):
            if running is not None:
                running.stop(reason, at_once=at_once)

    def _overall(self) -> tuple[Status, str]:
        """Status and reason of the run: those of the first of the steps that ended worst."""
        for status in (Status.LOST, Status.INTERRUPTED, Status.FAILED, Status.PARTIAL):
            for name, result in self.results.items():
                if result.status == status:
                    stopped = status == Status.INTERRUPTED
                    if status == Status.PARTIAL:
                        return status, self._what_was_asked()
                    return status, result.reason if stopped else f"step {name}: {result.reason}"
        if self._stop_reason:
            return Status.INTERRUPTED, self._stop_reason
        return Status.COMPLETED, ""

    def _what_was_asked(self) -> str:
        """How much of each step was run, where only some of its mini-batches were asked for."""
        partial = (result for result in self.results.values() if result.status == Status.PARTIAL)
        return "; ".join(f"step {result.step}: {result.reason}" for result in partial)

    def _result(self, status: Status, reason: str, seconds: float) -> Run:
        from daskpar.reports.summary import summary_of_run

        text = summary_of_run(
            run_directory=self.directory.path,
            status=status,
            reason=reason,
            seconds=seconds,
            results=list(self.results.values()),
            hints=self._hints.texts,
            # Warnings of steps have been shown when they came, unless the display is off.
            warnings=[str(warning) for warning in self.warnings if warning.grave]
            + (self._step_warnings.texts if self.options.display is False else []),
        )
        return Run(
            path=self.directory.path,
            status=status,
            reason=reason,
            seconds=seconds,
            steps=dict(self.results),
            outputs=self._outputs(),
            summary=text,
        )

    def _outputs(self) -> dict[str, str]:
        """As `Run.outputs`: where rows of a whole step would be, there may be those of an earlier run."""
        found = outputs_of(self.results, {name: output.path for name, output in self.job.outputs.items()})
        so_far = {
            step.append_row_to: result.partial_rows
            for step in self.job.steps
            if isinstance(step, ParallelStep)
            and (result := self.results.get(step.name)) is not None
            and result.partial_rows
        }
        return {name: so_far.get(path, path) for name, path in found.items()}

    def _write_effective_spec(self) -> None:
        import yaml

        from daskpar.atomic import OWNER_FILE, replace_file

        text = yaml.safe_dump(hidden_tree(self.job.effective), sort_keys=False, allow_unicode=True)
        replace_file(self.directory.effective_spec, text.encode(), mode=OWNER_FILE)

    def _watchers(self) -> list[Watcher]:
        from daskpar.reports.watchers import watchers

        copied = [
            s.name for s in self.job.steps if isinstance(s, ParallelStep) and s.settings.copy_logs_to_parent
        ]
        return watchers(
            self.directory.path,
            display=self.options.display is not False,
            copy_logs=copied,
            summary_follows=self.options.summary_follows,
        )
