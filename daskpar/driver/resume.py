"""Writes down how a run was started, and opens it again, unless what its results depend on has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.atomic import OWNER_FILE, replace_file, replace_json
from daskpar.datastores import Written
from daskpar.driver.job_secrets import take_secrets
from daskpar.environments.environment_choices import WrittenHow, as_kept
from daskpar.errors import Problem, RunDirectoryError, UsageError
from daskpar.jobspec.model import ParallelStep, PipelineJob, Step
from daskpar.locations import resolve
from daskpar.masking import hidden, hidden_value
from daskpar.outputs.journal_reader import has_commits
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.driver.options import Options
    from daskpar.jobspec.given_spec import GivenSpec, KeptSpec
    from daskpar.jobspec.load import JobDefinition


def write_started_with(
    directory: RunDirectory,
    *,
    overrides: Mapping[str, str],
    staged: Mapping[str, str],
    datastores: Mapping[str, str],
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
    cluster: str = "",
    spec: GivenSpec | None = None,
    left_out: Sequence[str] = (),
) -> None:
    """Write down how the run was started, in addition to the spec, for a resume.

    That includes the working directory, from which relative paths in `overrides` start. `cluster`: the option
    that named it, such as `--scheduler tcp://host:8786`. What looks like a secret is left out: a resume asks
    for it. `spec`: the job where it has no file; `left_out`: keys of secrets that the run directory does not
    keep of it.
    """
    kept = {key: hidden_value(key, text) for key, text in overrides.items()}
    places = {name: hidden(place) for name, place in datastores.items()}
    value = {
        "folder": os.getcwd(),
        "overrides": kept,
        "given": dict(staged),  # the key's older name: runs of earlier versions have it too
        "datastores": places,
        "components": _from_here(components or {}),
        "assets": {name: hidden(place) for name, place in _from_here(assets or {}).items()},
        "environments": as_kept(environments or {}),
        "cluster": hidden(cluster),
        "spec_folder": _folder_of_spec(directory, spec),
        "left_out": {
            "--set": [
                *(key for key, text in overrides.items() if kept[key] != text),
                *(key for key in left_out if key not in overrides),
            ],
            "--datastore": [name for name, place in datastores.items() if places[name] != place],
            "--asset": [name for name, place in (assets or {}).items() if hidden(place) != place],
        },
    }
    replace_json(directory.started_with, value, mode=OWNER_FILE)


def _from_here(places: Mapping[str, str]) -> dict[str, str]:
    """Places with those that are relative to the working directory made absolute."""
    return {name: resolve(place, Path.cwd(), {}) for name, place in places.items()}


def _folder_of_spec(directory: RunDirectory, spec: GivenSpec | None) -> str | None:
    """Where relative paths start in a job without a file, seen from the run directory; None for one with."""
    if spec is None:
        return None
    return "." if spec.folder == directory.path else str(spec.folder)


def spec_of_run(directory: RunDirectory, started: Mapping[str, Any]) -> tuple[Path, Path | None]:
    """The file with the job of a run, and where relative paths in it start (None: from its own folder).

    It is the user's, or the one that the run directory keeps. `started`: what `started-with.json` says.
    """
    folder = started.get("spec_folder")
    return (
        (Path(directory.identity.spec), None)
        if folder is None
        else (directory.kept_spec, directory.path / folder)
    )


def keep_spec(directory: RunDirectory, kept: KeptSpec, files: Mapping[str, bytes]) -> None:
    """Write a job that has no file, and what belongs to it, into the run directory."""
    for name, content in files.items():
        path = directory.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    replace_file(directory.kept_spec, kept.text.encode(), mode=OWNER_FILE)


def _warn_of_other_machine(directory: RunDirectory, cluster: str, options: Options) -> tuple[Problem, ...]:
    """A warning where the run was started on a cluster, and is resumed on this machine."""
    if not cluster or not options.is_local:
        return ()
    what = f"the run was started with {cluster}, and goes on on this machine: give {cluster} to go on there."
    return (Problem(file=str(directory.path), line=None, path="", what=what),)


@frozen(kw_only=True)
class Reopened:
    """A run that is opened to be resumed."""

    directory: RunDirectory
    job: PipelineJob | None
    """As the spec says now."""
    options: Options
    """Those of the resume, joined with those of the start."""
    warnings: tuple[Problem, ...] = ()
    """The grave ones of the spec, and what can't be known about changes."""


def reopen(
    path: Path, options: Options, ahead: Callable[[PipelineJob, Options], object] = lambda *_: None
) -> Reopened:
    """Open a run to resume it, locked.

    `ahead` is called once the job is known: to look for changes may take as long as to list its inputs.
    The job is None where nothing is left to do: the run is completed, and nothing of it is to be tried again.

    Raises RunDirectoryError when something that shapes the plan or reaches a script has changed since, unless
    `allow_changes`.
    """
    directory = RunDirectory.open(path)
    try:
        return _reopen(directory, options, ahead)
    except BaseException:
        directory.close()
        raise


def _reopen(
    directory: RunDirectory, options: Options, ahead: Callable[[PipelineJob, Options], object]
) -> Reopened:
    from daskpar.driver.options import mounts_inputs
    from daskpar.driver.step_pythons import with_pythons
    from daskpar.jobspec.load import resolve_job
    from daskpar.named_places import Assets, all_datastores

    if directory.identity.status == "completed":
        states = [folder.state() for folder in directory.steps()]
        again = any(state is not None and state.counts.to_retry for state in states)
        if not (options.retry_failed and again):
            return Reopened(directory=directory, job=None, options=options)
    started = StartedWith.of(
        directory,
        options.overrides,
        options.datastores,
        options.components,
        options.assets,
        options.environments,
        given_spec=options.given_spec,
    )
    refuse_moved(directory, started.staged)
    given, definition = options.given_spec, started.definition(directory)
    datastores = all_datastores(started.datastores)
    job = resolve_job(
        definition,
        datastores=datastores,
        assets=Assets(started.assets),
        resumed=True,
        mounts=mounts_inputs(options),
    )
    job = with_pythons(job, started.environments, here=options.is_here)
    take_secrets(job)
    ahead(job, options)
    unknown = [] if options.allow_changes else _refuse_changes(directory, job, datastores)
    if given is not None and definition.kept is not None:
        keep_spec(directory, definition.kept, given.files)
    _forget_uncertain_plans(directory, job)
    directory.resumed()
    return Reopened(
        directory=directory,
        job=job,
        options=replace(
            options,
            overrides=started.overrides,
            datastores=started.datastores,
            components=started.components,
            assets=started.assets,
            environments=started.environments,
        ),
        warnings=(
            *_warn_of_other_machine(directory, started.cluster, options),
            *(warning for warning in job.warnings if warning.grave),
            *(Problem(file=str(directory.path), line=None, path="", what=text) for text in unknown),
        ),
    )


@frozen(kw_only=True)
class StartedWith:
    """How a run was started, in addition to its spec, joined with what is given now."""

    spec: GivenSpec | Path
    spec_folder: Path | None
    """Where relative paths in the spec start; None: from its own folder."""
    overrides: Mapping[str, str]
    folders: Mapping[str, Path]
    """Key of `overrides` -> where its relative paths start, where that is not the working directory."""
    datastores: Mapping[str, Written]
    components: Mapping[str, str]
    assets: Mapping[str, str]
    environments: Mapping[str, WrittenHow]
    staged: Mapping[str, str]
    cluster: str

    @classmethod
    def of(
        cls,
        directory: RunDirectory,
        overrides: Mapping[str, str],
        datastores: Mapping[str, Written],
        components: Mapping[str, str],
        assets: Mapping[str, str],
        environments: Mapping[str, WrittenHow],
        given_spec: GivenSpec | None = None,
    ) -> StartedWith:
        """What a run directory says of it. UsageError where a secret has to be given again."""
        started = _read_started_with(directory)
        if given_spec is not None:  # it has the secrets of the job again
            started["left_out"]["--set"] = [
                key for key in started["left_out"]["--set"] if key in started["overrides"]
            ]
        _refuse_left_out(started, {"--set": overrides, "--datastore": datastores, "--asset": assets})
        folder = Path(started.get("folder", "."))
        spec, spec_folder = spec_of_run(directory, started)
        return cls(
            spec=given_spec or spec,
            spec_folder=spec_folder,
            overrides={**started["overrides"], **overrides},
            folders={key: folder for key in started["overrides"] if key not in overrides},
            datastores={**started["datastores"], **datastores},
            components={**started.get("components", {}), **components},
            assets={**started.get("assets", {}), **assets},
            environments={**started.get("environments", {}), **environments},
            staged=started["given"],
            cluster=started.get("cluster", ""),
        )

    def definition(self, directory: RunDirectory) -> JobDefinition:
        """The job of the run, as its spec is now. RunDirectoryError where the spec is gone."""
        from daskpar.jobspec.load import read_definition
        from daskpar.named_places import Components

        spec = self.spec
        if isinstance(spec, Path) and not spec.is_file():
            raise RunDirectoryError(
                f"the spec {spec} of this run is gone; put it back to resume, or `export "
                f"{directory.path} --partial FILE`"
            )
        return read_definition(
            spec,
            folder=self.spec_folder,
            overrides=self.overrides,
            folders=self.folders,
            staged=self.staged,
            run_directory=directory.path,
            components=Components(self.components),
        )


def _read_started_with(directory: RunDirectory) -> dict[str, Any]:
    try:
        started: dict[str, Any] = json.loads(directory.started_with.read_text())
    except (OSError, ValueError) as error:
        raise RunDirectoryError(
            f"{directory.path} does not say how its run was started ({error}): it ended before "
            "anything ran. Start a new run."
        ) from error
    return started


def refuse_moved(directory: RunDirectory, staged: Mapping[str, str]) -> None:
    """RunDirectoryError where a run directory was moved that holds data from Python: its plans know that data
    by its old place, and processors would wait for it there. `staged`: input -> that place.
    """
    for name, place in staged.items():
        if place != str(directory.staged_inputs / name) and not os.path.exists(place):
            was = Path(place).parents[1]
            raise RunDirectoryError(
                f"{directory.path} was {was} when it started, and its data, which was given from Python, is "
                f"known by that place: move it back to {was} to go on, or start a new run. Rows can be read "
                f"where it is (`daskpar export {directory.path} --partial FILE`, or its outputs)"
            )


def _refuse_changes(directory: RunDirectory, job: PipelineJob, datastores: Mapping[str, str]) -> list[str]:
    """RunDirectoryError where something has changed; else what is not known, one sentence each."""
    changes, unknown = changes_since(directory, job, datastores)
    if changes:
        listed = "\n".join(f"  - {change}" for change in changes)
        raise RunDirectoryError(
            "this run can't go on, because what its results depend on has "
            f"changed since it started:\n{listed}\n"
            "Start a new run, undo the changes, or pass --allow-changes to mix old and new results "
            "(the mini-batches stay as planned)."
        )
    return unknown


def _refuse_left_out(started: Mapping[str, Any], given: Mapping[str, Mapping[str, object]]) -> None:
    """UsageError where a secret that the run was started with has to be given again."""
    again = [
        f"{option} '{name}=...'"
        for option, names in started.get("left_out", {}).items()
        for name in names
        if name not in given[option]
    ]
    if again:
        raise UsageError(
            "this run was started with secrets, which are not written down. Give them again to go on: "
            f"{' '.join(again)}"
        )


def changes_since(
    directory: RunDirectory, job: PipelineJob, datastores: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """What has changed for the steps that were started, and what is not known of that: one sentence each."""
    from daskpar.rundir.fingerprint import INPUTS, differences, step_fingerprint
    from daskpar.rundir.seen_files import changed_after, first_few

    changes, unknown = [], []
    # The spec may lie among the code; its values are compared one by one.
    written = [output.path for step in job.steps for output in step.outputs.values()]
    for step in job.steps:
        state = directory.step(step.name).state()
        if state is None or state.status == "skipped":
            continue
        skip: list[Path | str] = [*written, job.spec]
        now: Mapping[str, Any] = step_fingerprint(
            step, directory.path, skip, before=state.fingerprint, datastores=datastores
        )
        if state.fingerprint:
            changes += [f"step {step.name}: {text}" for text in differences(state.fingerprint, now)]
        if not (_inputs_unknown(step, state) and has_commits(directory.step(step.name).journal)):
            continue
        newer = {
            name: found
            for name, seen in now[INPUTS].items()
            if (found := changed_after(seen, state.started or 0.0))
        }
        changes += [
            f"step {step.name}: files of input {name}: {first_few(found)} changed after it began"
            for name, found in newer.items()
        ]
        unknown.append(
            f"step {step.name} ended before all its input files had been looked at. No local one was "
            "changed since; whether some are new, "
            "gone, or changed at a URL is not known: start a new run if so"
        )
    return changes, unknown


def changes_of_call(directory: RunDirectory, spec: GivenSpec) -> list[str]:
    """What would be another in the steps of a completed run, were it started now with `spec`."""
    from daskpar.driver.options import Options, mounts_inputs
    from daskpar.jobspec.load import load_job
    from daskpar.named_places import all_datastores

    started = _read_started_with(directory)
    refuse_moved(directory, started["given"])
    job = load_job(
        spec,
        staged=started["given"],
        run_directory=directory.path,
        datastores=all_datastores(started["datastores"]),
        resumed=True,
        mounts=mounts_inputs(Options()),
    )
    return changes_since(directory, job, started["datastores"])[0]


def _inputs_unknown(step: Step, state: StepState) -> bool:
    """Whether a parallel step ended before its input files were looked at."""
    # A command runs from its beginning in each resume, so it does not matter there.
    from daskpar.rundir.fingerprint import INPUTS

    return isinstance(step, ParallelStep) and INPUTS not in state.fingerprint


def _forget_uncertain_plans(directory: RunDirectory, job: PipelineJob) -> None:
    """Remove plans of which nothing is committed and whose input files were not looked at to the end."""
    for step in job.steps:
        folder = directory.step(step.name)
        state = folder.state()
        if state is not None and _inputs_unknown(step, state) and not has_commits(folder.journal):
            folder.forget_plan()
