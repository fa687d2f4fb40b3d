"""Loads a job, for all callers outside this folder: its file is read once, filled in and checked whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path

from daskpar.jobspec.bare_components import is_bare, with_stand_ins
from daskpar.jobspec.declarations import read_job
from daskpar.jobspec.declared_job import DeclaredJob
from daskpar.jobspec.deployments import (
    DATA,
    MODEL,
    deployment_as_pipeline,
    is_deployment,
    rows_as_text,
    with_kind_of_data,
)
from daskpar.jobspec.given_spec import GivenSpec, KeptSpec
from daskpar.jobspec.job_kinds import as_pipeline, job_name
from daskpar.jobspec.model import PipelineJob
from daskpar.jobspec.overrides import apply_overrides, apply_staged
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.resolve import build_job
from daskpar.jobspec.spec_locations import RunLocations
from daskpar.jobspec.steps_apart import StepsApart
from daskpar.jobspec.yaml_source import read_yaml, texts
from daskpar.paths import RunPaths
from daskpar.value_classes import frozen

NO_RUN = Path("/RUN")
"""The run directory of a job that is only checked."""


@frozen(kw_only=True)
class JobDefinition:
    """A job that was read; its bindings (`${{...}}`) are not filled in yet."""

    declared: DeclaredJob
    run_directory: Path
    """Where the job is going to run; absolute."""
    problems: Problems
    """What is wrong so far; `resolve_job` adds to a copy and raises all of it at once."""
    kept: KeptSpec | None = None
    """Of a job without a file: what the run directory keeps for a resume."""

    @property
    def may_resume_from(self) -> bool:
        """Whether a step may have `--resume_from`; only then is it worth resolving the job to find out."""
        steps = self.declared.steps.values()
        settings = (setting for step in steps for setting in step.overrides)
        written: Iterator[str] = chain(
            settings, texts(self.declared.tree), *(texts(step.tree) for step in steps)
        )
        return any("resume_from" in text or "resume-from" in text for text in written)


def read_definition(
    path: str | Path | GivenSpec,
    *,
    folder: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    folders: Mapping[str, Path] | None = None,
    staged: Collection[str] = (),
    run_directory: Path | Callable[[str], Path] = NO_RUN,
    components: Mapping[str, str] | None = None,
    bare: bool = False,
) -> JobDefinition:
    """Read a pipeline, or a parallel or command component or a batch deployment, which is taken as a pipeline
    of one step.

    `path`: of a YAML file, whose relative paths start in `folder` (its own, where none is given), or a job
    that was given from Python.
    `overrides`: `inputs.NAME`, `outputs.NAME`, a setting such as `instance_count` (of every parallel step) or
    `jobs.STEP.SETTING`, each with its value as text; `folders`: key -> where its relative paths start, where
    that is not the working directory. `staged`: inputs, `NAME` or `STEP.NAME`, that are going to be staged in
    the run directory. `run_directory`: a path that need not exist, or what chooses one by the job's name.
    `components`: name of a registered component -> its file. `bare`: a component is checked alone, and what
    its inputs need is a warning.

    Raises SpecError for a file that can't be read, UsageError for a key of `overrides` or `staged` that the
    job does not have.
    """
    problems = Problems()
    given = path if isinstance(path, GivenSpec) else None
    if isinstance(path, GivenSpec):
        spec, document = Path(path.label), path.document(problems)
    else:
        spec = Path(os.path.abspath(path))
        document = read_yaml(spec, problems, folder=folder)
    deployed = document is not None and document.is_mapping and is_deployment(document)
    tree = None
    if document is not None:
        tree = (
            deployment_as_pipeline(document, spec, problems, components or {})
            if deployed
            else as_pipeline(document, spec, problems)
        )
    if tree is None or document is None:
        problems.raise_errors()
        raise AssertionError("a file that can't be read has a problem recorded")
    placed = apply_overrides(tree, overrides or {}, folders or {})
    chosen = run_directory if isinstance(run_directory, Path) else run_directory(job_name(placed.tree, spec))
    run = Path(os.path.abspath(chosen))
    spec = RunPaths(run).kept_spec if given else spec
    places = {name: str(RunPaths(run).staged_inputs / name) for name in staged}
    tree, settings = apply_staged(placed.tree, places), placed.settings
    absent: frozenset[str] = frozenset()
    scoring = (
        deployed and tree.get("inputs", DATA) is not None and document.get("code_configuration") is not None
    )
    if scoring:
        tree = with_kind_of_data(tree)
        as_text = rows_as_text(tree)
        settings = {
            name: {**as_text.get(name, {}), **settings.get(name, {})} for name in {*as_text, *settings}
        }
    if bare and is_bare(document):
        tree, absent = with_stand_ins(tree, problems)
    declared = read_job(
        tree,
        spec,
        settings,
        problems,
        staged_paths=absent.union(places.values()),
        registered=components,
        model_input=MODEL if scoring else "",
    )
    return JobDefinition(
        declared=declared, run_directory=run, problems=problems, kept=given.kept(tree) if given else None
    )


def resolve_job(
    definition: JobDefinition,
    *,
    datastores: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    resumed: bool = False,
    mounts: bool = True,
    apart: StepsApart | None = None,
) -> PipelineJob:
    """The job with every binding and path filled in for its run directory. Nothing of the user's is run.

    Outputs without a path go to RUN/outputs/NAME (the pipeline's) or RUN/steps/STEP/outputs/NAME; the default
    datastore is RUN/datastores/default unless `datastores` says where it is. `datastores`: name -> folder or
    URL; None: any name is taken for one. `assets`: name of registered data or of a model -> folder, file or
    URL. `resumed`: the run was started before, so its outputs may be there.
    `mounts`: whether the nodes can make an input read-only for scripts in its own place. `apart`: steps
    that write elsewhere than the spec says.

    Raises SpecError with all mistakes.
    """
    problems = definition.problems.copy()
    run = RunLocations(
        run_directory=definition.run_directory,
        datastores={} if datastores is None else datastores,
        any_datastore=datastores is None,
        assets={} if assets is None else assets,
        mounts=mounts,
        apart=apart,
    )
    job = build_job(definition.declared, run, problems, check_files=True, resumed=resumed)
    problems.raise_errors()
    return job


def load_job(
    path: str | Path | GivenSpec,
    *,
    folder: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    folders: Mapping[str, Path] | None = None,
    staged: Collection[str] = (),
    run_directory: Path | Callable[[str], Path] = NO_RUN,
    datastores: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    components: Mapping[str, str] | None = None,
    bare: bool = False,
    resumed: bool = False,
    mounts: bool = True,
) -> PipelineJob:
    """Read and check a job: `read_definition` and `resolve_job`, whose arguments these are."""
    definition = read_definition(
        path,
        folder=folder,
        overrides=overrides,
        folders=folders,
        staged=staged,
        run_directory=run_directory,
        components=components,
        bare=bare,
    )
    return resolve_job(definition, datastores=datastores, assets=assets, resumed=resumed, mounts=mounts)
