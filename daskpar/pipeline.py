"""The straight line of a run: load the spec, order its steps, run each, record, report."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from daskpar.errors import DaskparError, InfrastructureLost, InputError, Interrupted, JobFailed, Problem, RunDirectoryError, UsageError
from daskpar.events import Bus, Counts, Event, RunEnded, RunStarted, StepEnded, StepStarted, Warned, Watcher
from daskpar.outputs.run_directory import RunDirectory, StepState
from daskpar.spec.model import CommandStep, Input, ParallelStep, PipelineJob, Step

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.engine.cluster import Cluster
    from daskpar.engine.parallel_step import StepResult

EXIT_CODES = {"completed": 0, "failed": JobFailed.exit_code, "lost": InfrastructureLost.exit_code, "interrupted": Interrupted.exit_code}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a pipeline job, ended: what `daskpar.run` and `daskpar.resume` return."""

    path: Path
    """The run directory."""
    status: str
    """`completed`, `failed`, `interrupted` or `lost`."""
    reason: str
    """One sentence; empty when completed."""
    exit_code: int
    """Of the command line: 0 completed, 1 failed, 3 infrastructure lost, 130 interrupted."""
    seconds: float
    steps: Mapping[str, StepResult]
    """Step name -> status, reason, counts, seconds, outputs, first failure."""
    outputs: Mapping[str, str]
    """Path of every output: `STEP.NAME` of the steps', and `NAME` of the pipeline's own."""
    summary: str
    """What the terminal shows at the end."""

    @property
    def counts(self) -> Mapping[str, Counts]:
        """Step name -> counts of mini-batches and items."""
        return {name: result.counts for name, result in self.steps.items()}

    @property
    def logs(self) -> Mapping[str, Path]:
        """Step name -> root of its log tree."""
        return {name: self.path / "steps" / name / "logs" for name in self.steps}

    def check(self) -> Run:
        """This run, or JobFailed, InfrastructureLost or Interrupted with the reason when it did not complete."""
        kinds: dict[str, type[DaskparError]] = {"failed": JobFailed, "lost": InfrastructureLost, "interrupted": Interrupted}
        if self.status in kinds:
            raise kinds[self.status](self.reason)
        return self

    def __repr__(self) -> str:
        return f"<Run {self.path.name}: {self.status}{', ' + self.reason if self.reason else ''}>"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run, beside what the spec says."""

    overrides: Mapping[str, str] = field(default_factory=dict)
    """`--set`: `inputs.NAME`, `instance_count`, `jobs.STEP.SETTING` -> value."""
    datastores: Mapping[str, str] = field(default_factory=dict)
    """Name -> folder or URL, on top of `daskpar.datastores` in Dask's configuration."""
    client: Client | None = None
    scheduler: str | None = None
    compute: str | None = None
    worker_processes: bool = False
    dashboard: str | None = "127.0.0.1:8787"
    display: bool | None = None
    """Progress on the terminal or in the notebook; None: yes."""
    retry_failed: bool = False
    allow_changes: bool = False


def validate(spec: str | os.PathLike[str], overrides: Mapping[str, str] | None = None) -> tuple[Problem, ...]:
    """Check a spec without running anything; its warnings.

    Raises SpecError with every mistake at once, each with file, line, path and what to do.
    """
    from daskpar.spec.load import load_job

    return tuple(load_job(Path(spec), overrides=overrides or {}).warnings)


def run(
    spec: str | os.PathLike[str],
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    compute: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    datastores: Mapping[str, str] | None = None,
    worker_processes: bool = False,
    dashboard: str | None = "127.0.0.1:8787",
    display: bool | None = None,
) -> Run:
    """Run a pipeline job (or a parallel or command component) to its end.

    `spec`: path of the YAML file. `client`, `scheduler` (address) or `compute` (name below `daskpar.computes` in Dask's configuration)
    choose the Dask cluster, a local one in this process by default. `inputs`: pipeline input name -> literal, path, Dask or pandas
    DataFrame, or Dask bag of file paths; collections are computed once, into the run directory. `overrides`: as `--set`.
    `run_dir`: default `runs/NAME-TIME` below the working directory.

    Returns the ended run, whatever its status; `.check()` raises for one that did not complete. Raises SpecError, UsageError or
    InputError when the job can't start.
    """
    options = Options(
        overrides=overrides or {},
        datastores=datastores or {},
        client=client,
        scheduler=scheduler,
        compute=compute,
        worker_processes=worker_processes,
        dashboard=dashboard,
        display=display,
    )
    return _start(Path(spec), inputs or {}, run_dir, options)


def resume(
    run: str | os.PathLike[str] | Run,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    compute: str | None = None,
    overrides: Mapping[str, str] | None = None,
    retry_failed: bool = False,
    allow_changes: bool = False,
    worker_processes: bool = False,
    dashboard: str | None = "127.0.0.1:8787",
    display: bool | None = None,
) -> Run:
    """Go on with a run where it was: only what is not committed is run.

    `run`: a run directory, or what `daskpar.run` returned. `retry_failed`: a completed run's failed mini-batches too.
    `allow_changes`: go on although code, inputs or values that reach the script have changed since.
    Thresholds, timeouts, retries, logging and compute settings are those of the spec as it is now.

    Raises RunDirectoryError for a directory that is none of ours, in use, of a newer version, or whose inputs changed.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    from daskpar.resuming import reopen

    options = Options(
        overrides=overrides or {},
        client=client,
        scheduler=scheduler,
        compute=compute,
        worker_processes=worker_processes,
        dashboard=dashboard,
        display=display,
        retry_failed=retry_failed,
        allow_changes=allow_changes,
    )
    directory, job, options = reopen(path, options)
    with directory:
        if job is None:
            return completed_before(directory)
        return _Pipeline(job, directory, options, resumed=True).run()


def _start(spec: Path, inputs: Mapping[str, Any], run_dir: str | os.PathLike[str] | None, options: Options) -> Run:
    from daskpar.resuming import remember
    from daskpar.spec.load import load_job, resolve_job
    from daskpar.staging import split_inputs, stage

    literals, collections = split_inputs(inputs)
    overrides = {**options.overrides, **{f"inputs.{name}": value for name, value in literals.items()}}
    definition = load_job(spec, overrides=overrides, given={name: f"/given/{name}" for name in collections})
    if earlier := next(
        (s.settings.resume_from for s in definition.preview.steps if isinstance(s, ParallelStep) and s.settings.resume_from), ""
    ):
        return resume(
            _earlier_run(earlier, run_dir),
            client=options.client,
            scheduler=options.scheduler,
            compute=options.compute,
            overrides=overrides,
            worker_processes=options.worker_processes,
            dashboard=options.dashboard,
            display=options.display,
        )
    directory = RunDirectory.create(os.fspath(run_dir) if run_dir is not None else None, definition.name, spec.resolve())
    pipeline: _Pipeline | None = None
    try:
        with directory:
            given = stage(collections, directory.path / "inputs", options.client)
            if given:
                definition = load_job(spec, overrides=overrides, given=given)
            datastores = all_datastores(options.datastores)
            job = resolve_job(definition, run_directory=directory.path, datastores=datastores)
            remember(directory, overrides=overrides, given=given, datastores=datastores)
            pipeline = _Pipeline(job, directory, options, warnings=definition.warnings)
            return pipeline.run()
    except BaseException:
        if pipeline is None or not pipeline.begun:
            _leave_nothing(directory.path, made_parent=run_dir is None)
        raise


def _leave_nothing(run_directory: Path, *, made_parent: bool) -> None:
    """Remove what was made for a run that did not come about, `runs/` too where nothing else is in it."""
    shutil.rmtree(run_directory, ignore_errors=True)
    if made_parent:
        with suppress(OSError):
            run_directory.parent.rmdir()


def result_before(state: StepState) -> StepResult:
    """What an earlier process of this run has completed, as it is now."""
    from daskpar.engine.parallel_step import StepResult

    return StepResult(
        step=state.step, status=state.status, counts=state.counts, seconds=state.seconds, outputs=state.outputs, exit_code=state.exit_code
    )


def completed_before(directory: RunDirectory) -> Run:
    """A completed run that is left alone."""
    from daskpar.reports.summary import summary_of_run

    states = [state for folder in directory.steps() if (state := folder.state()) is not None]
    results = {state.step: result_before(state) for state in states}
    seconds = sum(state.seconds for state in states)
    text = summary_of_run(run_directory=directory.path, status="completed", reason="", seconds=seconds, results=list(results.values()))
    return Run(
        path=directory.path,
        status="completed",
        reason="",
        exit_code=0,
        seconds=seconds,
        steps=results,
        outputs={f"{name}.{output}": path for name, result in results.items() for output, path in result.outputs.items()},
        summary=f"This run is completed already; nothing is left to do.\n{text}",
    )


def _earlier_run(name: str, run_dir: str | os.PathLike[str] | None) -> Path:
    """The run directory that `--resume_from` names: a path, or the name of one beside the directory of new runs."""
    for candidate in (Path(name), Path("runs") / name, Path(run_dir).parent / name if run_dir is not None else Path(name)):
        if (candidate / "run.json").is_file():
            return candidate
    raise RunDirectoryError(f"--resume_from {name}: no run directory of that name here or below runs/")


def all_datastores(given: Mapping[str, str]) -> dict[str, str]:
    """Datastore name -> folder or URL: `daskpar.datastores` in Dask's configuration (files and environment), then `given`."""
    import dask

    configured = dask.config.get("daskpar.datastores", {}) or {}
    if not isinstance(configured, Mapping):
        raise UsageError("daskpar.datastores in Dask's configuration has to map names to folders or URLs")
    return {**{str(name): str(place) for name, place in configured.items()}, **given}


def named_compute(job: PipelineJob) -> str:
    """The compute that the job's steps name and Dask's configuration describes at `daskpar.computes`, empty where there is none.

    UsageError where steps name several of them: a run has one cluster.
    """
    import dask

    configured = dask.config.get("daskpar.computes", {}) or {}
    found = sorted({step.compute for step in job.steps if step.compute in configured})
    if len(found) > 1:
        raise UsageError(f"the steps name {len(found)} computes ({', '.join(found)}); a run has one cluster: choose it with --compute")
    return found[0] if found else ""


class _Seen:
    """What a step depends on, found out on a thread of its own; nothing to do where it is `known` from an earlier process."""

    def __init__(self, find: Callable[[], dict[str, object]], known: Mapping[str, object]) -> None:
        self._find = find
        self._found = dict(known)
        self._thread: threading.Thread | None = None

    def start(self, save: Callable[[Mapping[str, object]], None]) -> None:
        """Begin; `save` gets the answer while the step still runs."""
        if not self._found:
            self._thread = threading.Thread(target=self._look, args=(save,), name="daskpar-fingerprint", daemon=True)
            self._thread.start()

    def wait(self) -> dict[str, object]:
        """The answer."""
        if self._thread is not None:
            self._thread.join()
        return self._found

    def _look(self, save: Callable[[Mapping[str, object]], None]) -> None:
        self._found = self._find()
        with suppress(DaskparError):  # a full disk, say: the step's own writing says so
            save(self._found)


@dataclass
class _Pipeline:
    """The steps of one job under way: starts each when those it needs have completed, independent ones side by side."""

    job: PipelineJob
    directory: RunDirectory
    options: Options
    resumed: bool = False
    warnings: Sequence[Problem] = ()
    results: dict[str, StepResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self._is_local and (named := named_compute(self.job)):
            self.options = replace(self.options, compute=named)
        self._running: dict[str, Any] = {}
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self.begun = False
        """Whether any step may have run."""
        self._stop_reason = ""
        self._open_error: BaseException | None = None
        self._opened = threading.Event()
        self._cluster: Cluster | None = None
        self._inputs: dict[str, Any] = {}
        # Nothing that an earlier driver of this run may have left on a cluster is taken for ours.
        self._session = self.directory.identity.id + (f"-{secrets.token_hex(3)}" if self.resumed else "")

    # -- before anything runs ------------------------------------------------------------------------------------------------------

    def check_inputs(self) -> None:
        """Open the MLTables that exist before the run, so that one that can't be read stops the job before any user code runs."""
        self._prestart()
        for step in self.job.steps:
            if isinstance(step, ParallelStep) and step.input_data and step.settings.rank_mini_batch_count == 0:
                data = step.inputs[step.input_data[0]]
                try:
                    self._look_ahead(step, data)
                except InputError as error:
                    raise InputError(f"{error} (input {data.name!r} of step {step.name!r}, {data.where})") from error

    def _look_ahead(self, step: ParallelStep, data: Input) -> None:
        from daskpar.engine.planning import check_keys, open_input, plan_ahead
        from daskpar.processor import prestart

        datastores, plan = all_datastores(self.options.datastores), self.directory.step(step.name).plan
        if data.made_by is not None or (plan / "plan.json").exists():
            return
        if not step.partition_keys and data.type == "mltable":
            prestart.lend(plan_ahead, data, step.by_size, plan, datastores)
        elif data.type == "mltable":
            self._inputs[step.name] = opened = open_input(data, datastores)
            check_keys(opened, step.partition_keys)

    def _prestart(self) -> None:
        """Start what takes long to load first: fork servers of the first parallel step, then Dask."""
        first = next((s for s in self.job.steps if isinstance(s, ParallelStep) and not s.needs), None)
        if self._is_local and first is not None:
            from daskpar.engine.tabular import local_threads, looks_tabular
            from daskpar.processor.prestart import prestart

            nodes = max(1, first.instance_count)
            threads = local_threads(nodes, first.max_concurrency_per_instance)
            prestart(first.environment_variables, tabular=looks_tabular(first), threads=threads, number=nodes)
        threading.Thread(target=self._open_cluster, name="daskpar-cluster", daemon=True).start()

    @property
    def _is_local(self) -> bool:
        options = self.options
        return options.client is None and not options.scheduler and not options.compute and not options.worker_processes

    def _open_cluster(self) -> None:
        try:
            from daskpar.engine.cluster import Cluster

            wanted = [step.instance_count for step in self.job.steps if isinstance(step, ParallelStep)]
            self._cluster = Cluster(
                run_id=self._session,
                client=self.options.client,
                scheduler=self.options.scheduler,
                compute=self.options.compute,
                workers=max([1, *wanted]),
                processes=self.options.worker_processes,
                dashboard=self.options.dashboard,
            )
            self._cluster.open()
            if not self._cluster.in_process:
                self._probe(self._cluster)
        except BaseException as error:  # raised again in `_ready`, by whoever needs the cluster
            self._open_error = error
        self._opened.set()

    def _probe(self, cluster: Cluster) -> None:
        """Does every node reach the run directory? Raises UsageError with what to do where one does not."""
        from daskpar.outputs.probe import clear_probe, read_probe, write_probe

        folder, token = str(self.directory.path), self._session
        first, *others = list(cluster.facts)
        try:
            troubles = [cluster.client.run(write_probe, folder, token, workers=[first])[first]]
            troubles += cluster.client.run(read_probe, folder, token, workers=others).values() if others and not troubles[0] else []
            troubles += [read_probe(folder, token)] if not troubles[0] else []
        finally:
            clear_probe(folder, token)
        if found := [trouble for trouble in troubles if trouble]:
            raise UsageError(found[0])

    def _ready(self) -> None:
        while not self._opened.wait(0.2):
            if self._stop_reason:
                raise Interrupted(self._stop_reason)
        if isinstance(self._open_error, DaskparError):
            raise self._open_error
        if self._open_error is not None:
            raise InfrastructureLost(f"the Dask cluster could not be opened: {self._open_error!r}") from self._open_error

    # -- the line ------------------------------------------------------------------------------------------------------------------

    def run(self) -> Run:
        """Run all steps; the run directory says how it ended, whatever happened."""
        began = time()
        try:
            self.check_inputs()
            self._write_effective_spec()
        except BaseException:
            self.abandon()
            raise
        bus = Bus(self._watchers())
        self.publish: Callable[[Event], None] = bus.publish
        status, reason = "lost", "daskpar itself failed"
        try:
            with self._interrupts():
                self._ready()
                assert self._cluster is not None
                self.publish(
                    RunStarted(
                        time=began,
                        name=self.job.name,
                        spec=str(self.job.spec),
                        run_directory=str(self.directory.path),
                        steps=tuple(step.name for step in self.job.steps),
                        dashboard=self._cluster.dashboard_link,
                        resumed=self.resumed,
                        notes=self.job.notes,
                    )
                )
                for warning in self.warnings:
                    self.publish(Warned(time=time(), step="", text=str(warning)))
                self.begun = True
                self._run_steps()
                status, reason = self._overall()
        except DaskparError as error:
            status = {2: "failed", 3: "lost", 130: "interrupted"}.get(error.exit_code, "failed")
            reason = str(error)
            if error.exit_code == UsageError.exit_code:
                raise
        finally:
            if self._cluster is not None:
                self._cluster.close()
            try:
                self.directory.update(status=status, reason=reason, exit_code=EXIT_CODES[status], ended=time())
            except DaskparError as error:
                # Left as running by nobody, which is what a resume expects of a driver that died.
                status, reason = ("lost", str(error)) if status == "completed" else (status, f"{reason}; {error}")
            exit_code = EXIT_CODES[status]
            bus.publish(RunEnded(time=time(), status=status, reason=reason, seconds=time() - began, exit_code=exit_code))
            bus.close()
        return self._ended(status, reason, exit_code, time() - began)

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
        from daskpar.engine.parallel_step import StepResult

        blocked = [name for name in step.needs if self.results[name].status != "completed"]
        failed = [name for name, result in self.results.items() if result.status not in ("completed", "skipped")]
        why = ""
        if self._stop_reason:
            why = self._stop_reason
        elif blocked:
            why = f"step {blocked[0]} did not complete"
        elif failed and not self.job.continue_on_step_failure:
            why = f"step {failed[0]} did not complete (settings.continue_on_step_failure is off)"
        if why:
            self.results[step.name] = StepResult(step=step.name, status="skipped", reason=why)
            self.publish(StepEnded(time=time(), step=step.name, status="skipped", reason=why, counts=Counts(), seconds=0.0))
            return
        if self._is_done(step):
            return
        self._running[step.name] = None
        thread = threading.Thread(target=self._run_step, args=(step,), name=f"daskpar-step-{step.name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _is_done(self, step: Step) -> bool:
        """Whether an earlier process of this run has completed the step, and nothing of it is to be tried again."""

        state = self.directory.step(step.name).state() if self.resumed else None
        if state is None or not state.completed or (self.options.retry_failed and state.counts.failed):
            return False
        self._drop_parts(state)
        self.results[step.name] = result_before(state)
        return True

    def _run_step(self, step: Step) -> None:
        from daskpar.engine.parallel_step import StepResult

        try:
            result = self._run_one(step)
        except DaskparError as error:
            result = StepResult(step=step.name, status="lost" if error.exit_code == 3 else "failed", reason=str(error), error=error)
        except BaseException as error:  # our own mistake: it must not leave the run waiting for ever
            import traceback

            reason = f"daskpar itself failed: {type(error).__name__}: {error}\n{traceback.format_exc()}"
            result = StepResult(step=step.name, status="lost", reason=reason)
        with self._changed:
            self._running.pop(step.name, None)
            self.results[step.name] = result
            if result.status == "interrupted" and not self._stop_reason:
                self._stop_reason = result.reason
            self._changed.notify_all()

    def _run_one(self, step: Step) -> StepResult:
        from daskpar.outputs.fingerprint import step_fingerprint
        from daskpar.outputs.folders import prepare_outputs

        folder = self.directory.step(step.name)
        earlier = folder.state()
        kind = "command" if isinstance(step, CommandStep) else "parallel"
        began = time()
        if earlier is not None and earlier.completed:
            self._forget_what_follows(step)
        known = earlier.fingerprint if earlier is not None and self.resumed else {}
        state = StepState(step=step.name, kind=kind, status="running", fingerprint=known, started=began)
        folder.save(state)
        # What the results depend on is written down beside the work: asking millions of files for their times takes a while.
        seen = _Seen(lambda: step_fingerprint(step, self.directory.path, skip=self._written()), known)
        seen.start(lambda found: folder.save(replace(state, fingerprint=found)))
        self.publish(StepStarted(time=began, step=step.name, kind=kind, folder=str(folder.path), settings=self.settings_of(step)))
        prepare_outputs(step, again=earlier is not None)
        result = self._execute(step, folder.path)
        folder.save(
            replace(
                state,
                status=result.status,
                reason=result.reason,
                counts=result.counts,
                fingerprint=seen.wait(),
                exit_code=result.exit_code,
                ended=time(),
                seconds=result.seconds + (earlier.seconds if earlier is not None else 0.0),
                outputs=result.outputs,
            )
        )
        self._drop_parts(folder.state())
        self.publish(
            StepEnded(
                time=time(),
                step=step.name,
                status=result.status,
                reason=result.reason,
                counts=result.counts,
                seconds=result.seconds,
                outputs=result.outputs,
                first_failure=result.first_failure,
                exit_code=result.exit_code,
            )
        )
        return result

    def _drop_parts(self, state: StepState | None) -> None:
        """Remove the part files of a step whose output is complete, unless `--retry-failed` may want to put it together anew."""
        from daskpar.outputs.assembly import remove_parts

        if state is not None and state.completed and not state.counts.failed:
            remove_parts(self.directory.step(state.step).parts)

    def _forget_what_follows(self, step: Step) -> None:
        """A completed step runs again: what was made of its output is set aside and made again, the last steps first."""
        from daskpar.outputs.folders import set_outputs_aside

        stale = {step.name}
        for other in self.job.steps:
            if stale & set(other.needs):
                stale.add(other.name)
        for other in reversed(self.job.steps):
            if other.name == step.name or other.name not in stale or self.directory.step(other.name).state() is None:
                continue
            notes = set_outputs_aside(other)
            notes.append(
                f"Step {other.name} runs again, as {step.name} does; what was kept of it is now {self.directory.set_aside(other.name)}."
            )
            for note in notes:
                self.publish(Warned(time=time(), step=step.name, text=note))

    def abandon(self) -> None:
        """End what was started ahead of a run that does not come about."""
        from daskpar.processor import prestart

        prestart.drop()
        self._opened.wait(1.0)  # ending while Dask is being imported would leave a trace on the terminal

        def close() -> None:
            self._opened.wait()
            if self._cluster is not None:
                self._cluster.close()

        threading.Thread(target=close, name="daskpar-abandon", daemon=True).start()

    def _written(self) -> list[str]:
        """What the steps of this job write: neither code nor input, wherever it lies."""
        return [output.path for step in self.job.steps for output in step.outputs.values()]

    def _execute(self, step: Step, folder: Path) -> StepResult:
        from daskpar.engine.command_step import CommandStepRun
        from daskpar.engine.parallel_step import ParallelStepRun

        assert self._cluster is not None
        running: CommandStepRun | ParallelStepRun
        if isinstance(step, CommandStep):
            running = CommandStepRun(
                step=step,
                run_id=self._session,
                run_directory=self.directory.path,
                folder=folder,
                cluster=self._cluster,
                publish=self.publish,
            )
        else:
            running = ParallelStepRun(
                step=step,
                run_id=self._session,
                run_directory=self.directory.path,
                folder=folder,
                cluster=self._cluster,
                ready=self._ready,
                publish=self.publish,
                datastores=all_datastores(self.options.datastores),
                retry_failed=self.resumed,
                opened=self._inputs.pop(step.name, None),
            )
        with self._changed:
            self._running[step.name] = running
            if self._stop_reason:
                running.stop(self._stop_reason)
        return running.run()

    @staticmethod
    def settings_of(step: Step) -> dict[str, object]:
        """Effective settings of a step for display, each with where it came from."""
        from daskpar.showing import shown_settings

        return shown_settings(step)

    # -- the end -------------------------------------------------------------------------------------------------------------------

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """End the run, resumable: no new step, no new call of `run()`; running calls are killed after two seconds, or at once."""
        self._stop_reason = self._stop_reason or reason
        for running in list(self._running.values()):
            if running is not None:
                running.stop(reason, at_once=at_once)

    def _overall(self) -> tuple[str, str]:
        for status in ("lost", "interrupted", "failed"):
            for name, result in self.results.items():
                if result.status == status:
                    return status, f"step {name}: {result.reason}" if status != "interrupted" else result.reason
        if self._stop_reason:
            return "interrupted", self._stop_reason
        return "completed", ""

    def _ended(self, status: str, reason: str, exit_code: int, seconds: float) -> Run:
        from daskpar.reports.summary import summary_of_run

        outputs = {f"{name}.{output}": path for name, result in self.results.items() for output, path in result.outputs.items()}
        outputs |= {name: output.path for name, output in self.job.outputs.items()}
        text = summary_of_run(
            run_directory=self.directory.path, status=status, reason=reason, seconds=seconds, results=list(self.results.values())
        )
        return Run(
            path=self.directory.path,
            status=status,
            reason=reason,
            exit_code=exit_code,
            seconds=seconds,
            steps=dict(self.results),
            outputs=outputs,
            summary=text,
        )

    def _write_effective_spec(self) -> None:
        import yaml

        from daskpar.outputs.writing import replace_file

        text = yaml.safe_dump(dict(self.job.effective), sort_keys=False, allow_unicode=True)
        replace_file(self.directory.effective_spec, text.encode())

    def _watchers(self) -> list[Watcher]:
        from daskpar.reports.watchers import watchers

        copied = [s.name for s in self.job.steps if isinstance(s, ParallelStep) and s.settings.copy_logs_to_parent]
        return watchers(self.directory.path, display=self.options.display is not False, copy_logs=copied)

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and SIGHUP: the first one stops cleanly, the second one at once. Only the main thread may listen."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        seen = 0

        def hear(number: int, _: object) -> None:
            nonlocal seen
            seen += 1
            name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            # The handler runs between two steps of the main thread, which may hold the lock that stopping takes.
            threading.Thread(target=self.stop, args=(f"interrupted by {name}",), kwargs={"at_once": seen > 1}, daemon=True).start()
            if seen == 1:
                self.publish(Warned(time=time(), step="", text=f"{name}: stopping; what is committed is kept (again: stop at once)"))

        before = {}
        for wanted in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            # A run started by nohup is not to be ended by the hang-up it was shielded from.
            if signal.getsignal(wanted) is not signal.SIG_IGN:
                before[wanted] = signal.signal(wanted, hear)
        try:
            yield
        finally:
            for wanted, handler in before.items():
                signal.signal(wanted, handler)


__all__ = ["Options", "Run", "resume", "run", "validate"]
