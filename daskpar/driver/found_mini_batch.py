"""Finds one mini-batch of a spec or a run, planned as always, to be looked at apart from any run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.chosen_python import our_python
from daskpar.datastores import StorageOptions, Written, known_options, take_options
from daskpar.driver.job_secrets import take_secrets
from daskpar.environments.environment_choices import WrittenHow
from daskpar.errors import UsageError, nearest
from daskpar.jobspec.given_spec import GivenSpec
from daskpar.jobspec.load import JobDefinition, read_definition, resolve_job
from daskpar.jobspec.model import ParallelStep, PipelineJob
from daskpar.jobspec.steps_apart import StepsApart
from daskpar.locations import is_url
from daskpar.named_places import Assets, Components, all_datastores
from daskpar.paths import RunPaths
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.remote_call import call_in_child
from daskpar.results import Failure, Status, TryStatus
from daskpar.rundir.run_directory import RunDirectory
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.batches.plan import Plan
    from daskpar.outputs.commits import Commits
    from daskpar.outputs.journal_reader import JournalContents

Name = int | str | Mapping[str, Any]
"""A mini-batch by its index, a file or its key (`batches.mini_batch_names`)."""


@frozen(kw_only=True)
class Wanted:
    """Which mini-batch is asked for, and of what."""

    source: Path | GivenSpec
    """A spec (in its file, or given from Python), or a run directory."""
    step: str | None = None
    mini_batch: Name | None = None
    """None: the first one of a spec, and that of the first failure of a run."""
    overrides: Mapping[str, str]
    datastores: Mapping[str, Written]
    components: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=dict)
    environments: Mapping[str, WrittenHow] = field(default_factory=dict)
    inputs: Mapping[str, Any]
    """From Python: literals, paths, collections."""
    mounts: bool
    """Whether inputs can be made read-only in their place."""


@frozen(kw_only=True)
class Found:
    """One mini-batch, planned; nothing of it is read yet."""

    job: PipelineJob
    step: ParallelStep
    """Its outputs and the copies of its inputs lie in the scratch folder."""
    plan: Path
    index: int
    count: int
    """Mini-batches of the plan."""
    about: str
    """Its key, files or rows."""
    tabular: bool
    failure: Failure | None = None
    """How it failed in the run."""
    run: Path | None = None
    """The run directory, where it is one of a run."""
    run_id: str = "debug"
    notes: tuple[str, ...] = ()
    storage: StorageOptions = field(default_factory=StorageOptions)
    """Of the datastores, by which the process that runs it opens its files."""


@frozen(kw_only=True)
class _Chosen:
    """The step and, where they are known already, its plan and the mini-batch."""

    definition: JobDefinition
    datastores: Mapping[str, str]
    assets: Mapping[str, str]
    environments: Mapping[str, WrittenHow]
    step: str
    plan: Path
    mini_batch: Name
    staged: Mapping[str, Any]
    failure: Failure | None = None
    run: Path | None = None
    run_id: str = "debug"


def find_in_child(wanted: Wanted, scratch: Path) -> Found:
    """As `find_one`, in another process: this one has not even numpy loaded afterwards, which reads its
    variables only once.
    """
    server = None
    try:
        server = ForkServer()
        found: Found = call_in_child(server, find_one, wanted, scratch)
    except (EOFError, ConnectionError):  # the child was killed: the work is done here, where that can be seen
        return find_one(wanted, scratch)
    finally:
        if server is not None:
            server.kill()
    take_secrets(found.job)
    take_options(found.storage)
    return found


def find_one(wanted: Wanted, scratch: Path) -> Found:
    """Find the mini-batch, and plan its step in the folder `scratch` unless its run has done so.

    Raises SpecError, UsageError, InputError or RunDirectoryError, with what to do.
    """
    source = wanted.source
    if isinstance(source, Path) and source.is_dir():
        chosen = _of_run(source, wanted, scratch)
    else:
        chosen = _of_spec(wanted, scratch)
    job = resolve_job(
        chosen.definition,
        datastores=chosen.datastores,
        assets=Assets(chosen.assets),
        resumed=chosen.run is not None,
        mounts=wanted.mounts,
        apart=StepsApart(names=frozenset([chosen.step]), folder=scratch),
    )
    take_secrets(job)
    from daskpar.batches.mini_batch_names import find_mini_batch

    if chosen.staged:
        from daskpar.driver.staged_inputs import stage

        stage(chosen.staged, RunPaths(chosen.definition.run_directory).staged_inputs)
    step = next(step for step in job.steps if step.name == chosen.step)
    assert isinstance(step, ParallelStep)
    notes = [*_made_before(step, chosen.run), *_not_here(step, chosen.environments)]
    plan = _planned(step, chosen.plan, chosen.datastores)
    index = find_mini_batch(plan, chosen.mini_batch)
    failure = chosen.failure
    if failure is None and chosen.run is not None:  # one that was named
        failures = _failures(RunDirectory.open(chosen.run, lock=False), step.name)
        failure = next((each for each in failures if each.index == index), None)
    return Found(
        job=job,
        step=step,
        plan=chosen.plan,
        index=index,
        count=plan.count,
        about=plan.describe(index),
        tabular=plan.tabular,
        failure=failure,
        run=chosen.run,
        run_id=chosen.run_id,
        notes=(*notes, *map(str, job.warnings), *plan.planning_warnings),
        storage=known_options(),
    )


def _not_here(step: ParallelStep, environments: Mapping[str, WrittenHow]) -> list[str]:
    """What has to be said of a step that has a Python of its own: a debugger runs in this one."""
    from daskpar.driver.step_pythons import place_of
    from daskpar.environments.environment_choices import Choices

    how = Choices(environments).of(step)
    if how is None or not (place := place_of(how)):
        return []
    return [
        f"the step runs in {place} ({how.source}); here it runs in {our_python()}, "
        "which may have other packages"
    ]


def _planned(step: ParallelStep, folder: Path, datastores: Mapping[str, str]) -> Plan:
    from daskpar.batches.grouping import execute_here
    from daskpar.batches.plan import Plan
    from daskpar.engine.planning import make_plan, open_split

    if (folder / "plan.json").exists():
        return Plan.open(folder)
    opened = None
    if not step.settings.rank_mini_batch_count:
        opened = open_split(step, datastores)
    make_plan(step, folder, opened=opened, execute=execute_here)
    return Plan.open(folder)


# -- which step, of what


def _of_spec(wanted: Wanted, scratch: Path) -> _Chosen:
    from daskpar.driver.staged_inputs import split_inputs

    if isinstance(wanted.source, GivenSpec):
        for name, content in wanted.source.files.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    literals, collections = split_inputs(wanted.inputs)
    overrides = {**wanted.overrides, **{f"inputs.{name}": text for name, text in literals.items()}}
    definition = read_definition(
        wanted.source,
        overrides=overrides,
        staged=collections,
        run_directory=scratch,
        components=Components(wanted.components),
    )
    step = _choose(definition, wanted.step)
    return _Chosen(
        definition=definition,
        datastores=all_datastores(wanted.datastores),
        assets=wanted.assets,
        environments=wanted.environments,
        step=step,
        plan=RunPaths(scratch).step(step).plan,
        mini_batch=0 if wanted.mini_batch is None else wanted.mini_batch,
        staged=collections,
    )


def _of_run(source: Path, wanted: Wanted, scratch: Path) -> _Chosen:
    from daskpar.driver.resume import StartedWith

    if wanted.inputs:
        raise UsageError(f"a run has its inputs already; leave out {', '.join(wanted.inputs)}")
    directory = RunDirectory.open(source, lock=False)
    started = StartedWith.of(
        directory,
        wanted.overrides,
        wanted.datastores,
        wanted.components,
        wanted.assets,
        wanted.environments,
    )
    definition = started.definition(directory)
    step, name, failure = wanted.step, wanted.mini_batch, None
    if name is None:
        step, name, failure = first_failure(directory, step)
    step = _choose(definition, step)
    plan = directory.step(step).plan
    if not (plan / "plan.json").exists():  # the run's folder is not ours to write in
        plan = RunPaths(scratch).step(step).plan
    return _Chosen(
        definition=definition,
        datastores=all_datastores(started.datastores),
        assets=started.assets,
        environments=started.environments,
        step=step,
        plan=plan,
        mini_batch=name,
        staged={},
        failure=failure,
        run=directory.path,
        run_id=directory.identity.id,
    )


def _choose(definition: JobDefinition, step: str | None) -> str:
    """The name of the step that is meant: the only parallel one where none is named."""
    steps = definition.declared.steps
    parallel = [name for name, declared in steps.items() if declared.kind == "parallel"]
    if step is None and len(parallel) == 1:
        return parallel[0]
    if step is None:
        listed = ", ".join(parallel)
        raise UsageError(
            f"several steps have mini-batches: {listed}. Say which one: --step {parallel[0]}"
            if parallel
            else _no_mini_batches(", ".join(steps))
        )
    if step not in steps:
        definition.problems.raise_errors()
        hint = nearest(step, steps) or f"Its steps: {', '.join(steps)}."
        raise UsageError(f"the job has no step {step!r}. {hint}")
    if step not in parallel:
        raise UsageError(_no_mini_batches(step))
    return step


def _no_mini_batches(names: str) -> str:
    return (
        f"a command has no mini-batches ({names}), so there is nothing to debug here: the logs of a run have "
        "what it wrote (`daskpar logs RUN`), and `daskpar plan SPEC` shows the command as it runs"
    )


def _made_before(step: ParallelStep, run: Path | None) -> list[str]:
    """A note for each input that an earlier run of another step has left there.

    UsageError where what the step reads is still to be written.
    """
    notes = []
    for data in step.inputs.values():
        if not data.made_by or not data.is_data or is_url(data.path):
            continue
        partial = run is not None and _is_partial(run, data.made_by)
        go_on = f"step {data.made_by} is partial in that run (`daskpar resume {run}` runs the rest)"
        if os.path.exists(data.path):
            if partial:
                notes.append(f"the input {data.name} ({data.path}) is not complete: {go_on}")
            elif run is None:
                notes.append(f"the input {data.name} is what step {data.made_by} left at {data.path} earlier")
            continue
        what = f"step {step.name} reads what step {data.made_by} writes ({data.name}), and that is not there"
        then = (
            f"{run} has not come so far" if run else "run the job (that step to its end), and debug that run"
        )
        raise UsageError(f"{what}: {go_on if partial else then} (`daskpar debug RUN --step {step.name}`)")
    return notes


def _is_partial(run: Path, step: str) -> bool:
    """Whether only some mini-batches of the step were asked for, when it ran last."""
    state = RunDirectory.open(run, lock=False).step(step).state()
    return state is not None and state.status == Status.PARTIAL


# -- failures of a run


def first_failure(directory: RunDirectory, step: str | None) -> tuple[str, int, Failure | None]:
    """Step, mini-batch and text of the failure of a run that came first.

    Where import or `init()` failed, no mini-batch did, and any shows it: the first one that has not run.
    Raises UsageError where nothing has failed.
    """
    from daskpar.reports.run_status import steps_to_show

    folders = steps_to_show(directory, step)
    found = [(failure, folder.name) for folder in folders for failure in _failures(directory, folder.name)]
    if found:
        failure, name = min(found, key=lambda entry: entry[0].time)
        return name, failure.index, failure
    for folder in folders:
        state = folder.state()
        if state is not None and state.kind == "parallel" and state.status in ("failed", "lost"):
            return folder.name, 0, None
    raise UsageError(
        f"no mini-batch of {directory.path} has failed; name one: --mini-batch 0 (or a file, or KEY=VALUE)"
    )


def _failures(directory: RunDirectory, step: str) -> Sequence[Failure]:
    from daskpar.outputs.commits import Commits
    from daskpar.outputs.journal_reader import read_journal
    from daskpar.outputs.ledger import standing_failures

    journal = directory.step(step).journal
    if not journal.exists():
        return ()
    contents = read_journal(journal)
    if not contents.found:
        return ()
    commits = Commits.load(contents.planned, contents)
    return [*standing_failures(contents, commits), *_alone(contents, commits)]


def _alone(contents: JournalContents, commits: Commits) -> Iterator[Failure]:
    """How items failed that were told apart from the good ones of their mini-batch."""
    from daskpar.outputs.pieces import Divided

    divided = Divided.load(contents)
    for index in commits.with_failed_items():
        if index in divided and commits.status[index] != TryStatus.FAILED:
            for outcome in divided.failed_alone(index):
                if outcome.failure is not None:
                    yield outcome.failure
