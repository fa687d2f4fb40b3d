"""The door to this folder: a file becomes a checked JobDefinition, and with a run directory a PipelineJob."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daskpar.errors import Problem
from daskpar.jobspec.declarations import JobSource, as_pipeline, read_job
from daskpar.jobspec.model import PipelineJob
from daskpar.jobspec.overrides import apply_given, apply_overrides
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.resolve import build_job
from daskpar.jobspec.scope import Layout
from daskpar.jobspec.yaml_source import read_yaml

NO_RUN = Path("/RUN")
"""Stands for the run directory in a job that has none yet."""


@dataclass(frozen=True, kw_only=True)
class JobDefinition:
    """A job that was read and checked, before it has a run directory."""

    name: str
    """`name`, else `display_name`, else the file's stem."""
    spec: Path
    """Absolute path of the YAML file."""
    preview: PipelineJob
    """The job as it would run, the run directory being `/RUN`."""
    warnings: tuple[Problem, ...]
    """Unknown keys, near misses and the like: the job runs, but perhaps not as its author thinks."""
    source: JobSource

    @property
    def notes(self) -> tuple[str, ...]:
        """What was read and has no effect here, one sentence each."""
        return self.preview.notes


def load_job(
    path: str | Path,
    *,
    overrides: Mapping[str, str] | None = None,
    folders: Mapping[str, Path] | None = None,
    given: Mapping[str, str] | None = None,
    datastores: Mapping[str, str] | None = None,
    begun: bool = False,
) -> JobDefinition:
    """Read and check a pipeline, or a parallel or command component, which is taken as a pipeline of one
    step.

    `overrides`: `inputs.NAME`, `outputs.NAME`, a setting such as `instance_count` (of every parallel step) or
    `jobs.STEP.SETTING`, each with its value as text; `folders`: key -> where its relative paths start, where
    that is not the working directory. `given`: inputs, `NAME` or `STEP.NAME`, put at paths where nothing
    needs to be yet. `datastores`: name -> folder or URL; None: not known yet, so any name is taken for one.
    `begun`: for a run that goes on, whose outputs may be there already. Nothing of the user's is run. Raises
    SpecError with all mistakes, UsageError for a key of `overrides` or `given` that the job does not have.
    """
    problems = Problems()
    spec = Path(os.path.abspath(path))
    document = read_yaml(spec, problems)
    tree = as_pipeline(document, spec, problems) if document else None
    if tree is None:
        problems.raise_errors()
        raise AssertionError("a file that can't be read has a problem recorded")
    placed = apply_overrides(tree, overrides or {}, folders or {})
    source = read_job(
        apply_given(placed.tree, given or {}),
        spec,
        placed.settings,
        problems,
        given=frozenset((given or {}).values()),
    )
    layout = Layout(run_directory=NO_RUN, datastores=datastores or {}, any_datastore=datastores is None)
    preview = build_job(source, layout, problems, check_files=True, begun=begun)
    problems.raise_errors()
    return JobDefinition(
        name=source.name, spec=spec, preview=preview, warnings=problems.warnings, source=source
    )


def resolve_job(
    definition: JobDefinition,
    *,
    run_directory: Path,
    datastores: Mapping[str, str] | None = None,
    begun: bool = False,
) -> PipelineJob:
    """The job with every path filled in for one run; `begun` as in `load_job`.

    Outputs without a path go to RUN/outputs/NAME (the pipeline's) or RUN/steps/STEP/outputs/NAME; the default
    datastore is RUN/datastores/default unless `datastores` says where it is. Raises SpecError for a datastore
    that is not known.
    """
    problems = Problems()
    layout = Layout(run_directory=Path(os.path.abspath(run_directory)), datastores=datastores or {})
    job = build_job(definition.source, layout, problems, check_files=False, begun=begun)
    problems.raise_errors()
    return job
