"""Starts up a run: opens its inputs while fork servers and the cluster start."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from daskpar.datastores import carried
from daskpar.driver.builds_ahead import BuildsAhead
from daskpar.driver.import_ahead import import_ahead
from daskpar.driver.planning_ahead import PlanningAhead, may_plan_ahead, remove_stale
from daskpar.errors import DaskparError, InfrastructureLost, InputError, Interrupted, UsageError, input_error
from daskpar.jobspec.env_references import resolved_values
from daskpar.jobspec.model import Input, ParallelStep, PipelineJob, Step
from daskpar.locations import is_url

if TYPE_CHECKING:
    from daskpar.driver.options import Options
    from daskpar.engine.cluster import Cluster
    from daskpar.rundir.probe import NodeNeeds
    from daskpar.rundir.run_directory import RunDirectory

CLOSE_SECONDS = 30.0
"""How long the end of a run waits for a cluster that is still being opened, in order to close it."""


def named_compute(job: PipelineJob) -> str:
    """The compute that the job's steps name and Dask's configuration describes; empty where there is none.

    It is described at `daskpar.computes`. UsageError where steps name several: a run has one cluster.
    """
    import dask

    configured = dask.config.get("daskpar.computes", {}) or {}
    found = sorted({step.compute for step in job.steps if step.compute in configured})
    if len(found) > 1:
        raise UsageError(
            f"the steps name {len(found)} computes ({', '.join(found)}); a run has one "
            "cluster: choose it with --compute"
        )
    return found[0] if found else ""


@contextmanager
def started_ahead(job: PipelineJob, options: Options) -> Iterator[None]:
    """Start what takes longest as soon as the spec is read: imports, fork servers, and fetchers.

    These servers are those of the first parallel step of a run on this machine. Those that no node took are
    closed at the end.
    """
    from daskpar.processor import prestart
    from daskpar.processor.fetching import fetch_ahead

    try:
        start_servers(job, options)
        prestart.close_unprepared()
        threading.Thread(target=import_ahead, name="daskpar-import", daemon=True).start()
        yield
    finally:
        prestart.close_all()
        fetch_ahead.close_all()


def start_servers(job: PipelineJob, options: Options, completed: Collection[str] = ()) -> None:
    """Start fork servers and fetchers for the first parallel step of a local run, unless they wait.

    `completed`: steps that an earlier process of the run has completed. Another one may take fork servers of
    such a step, but hardly its fetchers: these end.
    """
    first = _first_parallel(job)
    if not options.is_local or first is None or (first.python is not None and not first.python.is_there):
        return
    if first.python is not None and first.python.container is not None:
        return  # what it needs to see is not known yet
    from daskpar.engine.server_needs import local_threads, looks_tabular
    from daskpar.processor.fetching import fetch_ahead
    from daskpar.processor.prestart import prestart

    nodes = max(1, first.instance_count)
    threads = local_threads(nodes, first.max_concurrency_per_instance)
    with suppress(OSError):  # the node tries again, and reports what is wrong
        environment = resolved_values(first.environment_variables, os.environ)
        own = first.python.python if first.python is not None else ""
        prestart(environment, tabular=looks_tabular(first), threads=threads, number=nodes, python=own)
        urls = [data.path for data in first.inputs.values() if data.is_fetched]
        if first.name in completed:
            fetch_ahead.close_all()
        elif urls:
            fetch_ahead.start_ahead(environment, urls, number=nodes)


def _first_parallel(job: PipelineJob) -> ParallelStep | None:
    return next((step for step in job.steps if isinstance(step, ParallelStep) and not step.needs), None)


def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


class Startup:
    """Opens the cluster and the inputs of one run, at the same time.

    `session` names the run on the cluster.
    """

    def __init__(
        self,
        job: PipelineJob,
        directory: RunDirectory,
        options: Options,
        datastores: Mapping[str, str],
        session: str,
    ) -> None:
        self.job = job
        self.directory = directory
        self.options = options
        self.datastores = datastores
        self.session = session
        self.cluster: Cluster | None = None
        self.inputs: dict[str, Any] = {}
        """Step -> its input, where it was opened already."""
        self.plans: dict[str, PlanningAhead] = {}
        """Step -> its plan, where that is being made already."""
        self.notes: list[str] = []
        """What was noticed meanwhile and hinders nothing."""
        self._builds = BuildsAhead(
            step for step in job.steps if step.python is not None and not self._is_done(step)
        )
        self._error: BaseException | None = None
        self._opened = threading.Event()

    def _is_done(self, step: Step) -> bool:
        """Whether an earlier process of the run has completed it."""
        state = self.directory.step(step.name).state()
        return state is not None and state.completed

    def start(self) -> None:
        """Open the cluster, and at the same time look at the inputs that exist before the run.

        Raises InputError for one that can't be read, and for an output that can't be written to its store:
        that stops the job before any user code runs.
        """
        start_servers(self.job, self.options, [step.name for step in self.job.steps if self._is_done(step)])
        if self.options.is_here:
            self._builds.start()
        if self.options.compute:
            from daskpar.engine.computes import load_class

            try:
                load_class(self.options.compute)
            except BaseException:
                self._opened.set()  # nobody opens it now, so nobody need wait for that
                raise
        threading.Thread(target=carried(self._open_cluster), name="daskpar-cluster", daemon=True).start()
        for step in self.job.steps:
            if (
                isinstance(step, ParallelStep)
                and step.input_data
                and step.settings.rank_mini_batch_count == 0
            ):
                data, *others = (step.inputs[name] for name in step.input_data)
                try:
                    self._open_early(step, data, others)
                except InputError as error:
                    raise input_error(
                        error, f"{error} (input {data.name!r} of step {step.name!r}, {data.where})"
                    ) from error

        self._check_stores()

    def _check_stores(self) -> None:
        """Try whether the outputs at URLs can be written, of all steps that are not done."""
        from daskpar.rundir.store_probe import check_written, folders_written

        tried: set[str] = set()
        for step in self.job.steps:
            state = self.directory.step(step.name).state()
            for folder, output in folders_written(step):
                if folder in tried or (state is not None and state.completed):
                    continue
                tried.add(folder)
                where = f" ({output.where})" if output is not None and output.where else ""
                what = f"the output {output.name!r}" if output is not None else folder
                what += f" of step {step.name!r}"
                try:
                    note = check_written(folder, what)
                except InputError as error:
                    text = str(error) if what in str(error) else f"{what}: {error}"
                    raise input_error(error, f"{text}{where}") from error
                self.notes += [note] if note else []

    def _open_early(self, step: ParallelStep, data: Input, others: Sequence[Input]) -> None:
        """Open and plan what the step splits, before the step starts, where a table makes that slow."""
        from daskpar.engine.planning import WantedColumns, open_with_columns, plan_ahead, plan_there
        from daskpar.outputs.journal_reader import has_commits

        folder = self.directory.step(step.name)
        remove_stale(folder.plan)
        if folder.state() is None:
            # An earlier process of this run made the plan, but never started the step: spec and input may
            # have changed since then.
            shutil.rmtree(folder.plan, ignore_errors=True)
        elif has_commits(folder.journal):
            return  # whether a plan that is lost may be made anew is for the step to find out
        if any(each.made_by is not None for each in (data, *others)) or (folder.plan / "plan.json").exists():
            return
        wanted = WantedColumns.of(step)
        if not step.partition_keys and data.type == "mltable":
            self._in_server(plan_ahead, data, step.by_size, wanted, folder.plan, self.datastores, others)
        elif may_plan_ahead(self.job, step, self.directory.path):
            # A store is listed by libraries that are loaded here in any case.
            call = _here if is_url(data.path) else self._in_server
            self.plans[step.name] = PlanningAhead(
                folder.plan,
                lambda place: call(plan_there, data, step.by_size, wanted, place, self.datastores),
            )
        elif data.type == "mltable":
            self.inputs[step.name] = self._in_server(open_with_columns, data, wanted, self.datastores, others)

    def _in_server(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in a fork server that waits for the first parallel step, which imports pandas
        anyway, or here where none does.

        Others that wait are of other runs in this process.
        """
        from daskpar.processor import prestart

        first = _first_parallel(self.job)
        if not self.options.is_local or first is None:
            return function(*arguments)
        environment = resolved_values(first.environment_variables, os.environ)
        return prestart.run_in_prestarted(environment, function, *arguments)

    def _open_cluster(self) -> None:
        try:
            from daskpar.engine.cluster import Cluster

            wanted = [step.instance_count for step in self.job.steps if isinstance(step, ParallelStep)]
            self.cluster = Cluster(
                run_id=self.session,
                client=self.options.client,
                scheduler=self.options.scheduler,
                compute=self.options.compute,
                workers=max([1, *wanted]),
                processes=self.options.worker_processes,
                dashboard=self.options.dashboard,
            )
            self.cluster.open()
            if not self.cluster.local:
                self._probe(self.cluster)
        except BaseException as error:  # raised again in `ready`, by whoever needs the cluster
            self._error = error
        self._opened.set()

    def _probe(self, cluster: Cluster) -> None:
        """Check that a node sees what each step needs; UsageError, with what to do, where none does.

        Where some do, the others are left out when a step opens on them.
        """
        from daskpar.driver.step_lifecycle import output_paths, outside_inputs
        from daskpar.engine.far_nodes import check_code
        from daskpar.engine.node_probe import needs_of, views_of

        asked: set[NodeNeeds] = set()
        for step in self.job.steps:
            needs = needs_of(step, self.directory.path, before_the_run=True)
            state = self.directory.step(step.name).state()
            if needs in asked or (state is not None and state.completed):
                continue
            asked.add(needs)
            views = views_of(cluster.client, needs, list(cluster.facts))
            cluster.far.update((address, view.far) for address, view in views.items() if view.far)
            # Who does not answer may be fit: it is asked again when a step opens on it.
            if views and len(views) == len(cluster.facts) and all(view.trouble for view in views.values()):
                address, view = next(iter(views.items()))
                raise UsageError(f"step {step.name!r}, node {address}: {view.trouble}")
            if views and all(view.far or view.trouble for view in views.values()):
                check_code(step, [*output_paths(self.job), *outside_inputs(self.job)], self.directory.path)

    def ready(self, stop_reason: Callable[[], str], say: Callable[[str], None] = lambda _: None) -> Cluster:
        """The open cluster; what went wrong is raised.

        Interrupted when `stop_reason` gives a reason while the cluster is waited for. `say` is told how long
        that takes.
        """
        while not self._opened.wait(0.2):
            if self.cluster is not None and not self.cluster.news.empty():
                say(self.cluster.news.get())
            if reason := stop_reason():
                raise Interrupted(reason)
        if isinstance(self._error, DaskparError):
            raise self._error
        if self._error is not None:
            raise InfrastructureLost(
                f"the Dask cluster could not be opened: {self._error!r}"
            ) from self._error
        assert self.cluster is not None
        return self.cluster

    def close(self) -> None:
        """Close the cluster; one that is still being opened is closed once it is there."""
        self._builds.close()
        for plan in self.plans.values():
            plan.drop()

        def close() -> None:
            self._opened.wait()
            if self.cluster is not None:
                self.cluster.close()

        closing = threading.Thread(target=close, name="daskpar-close", daemon=True)
        closing.start()
        closing.join(None if self._opened.is_set() else CLOSE_SECONDS)
