"""The public functions: check a spec, say what it plans, run it in a new run directory, go on with a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from daskpar.batches.selection import selection
from daskpar.datastores import Written, own_options
from daskpar.driver.options import Options
from daskpar.errors import InputError, Problem, SpecError
from daskpar.named_places import Assets, Components, Datastores

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.driver.result import Run
    from daskpar.environments.environment_choices import WrittenHow

Spec: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Any
"""What a job may be given as; `run` says what each means."""


@own_options()
def validate(
    spec: Spec,
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
) -> tuple[Problem, ...]:
    """Check a spec, and the MLTables that it names, without running anything; its warnings.

    `spec`: as `run` takes it.
    `datastores`: name -> folder, URL or `{"url": ..., "storage_options": {...}}`, `components` and `assets`:
    name of what is registered in a workspace or registry -> its place, `environments`: name of an environment
    or of a step -> how it is had, as of `--environment`; on top of those in Dask's configuration. A component
    that is checked alone needs no values: a warning says which it needs to run.
    Raises SpecError with every mistake at once, each with file, line, path and what to do.
    """
    from daskpar.driver.named_tables import table_problems
    from daskpar.driver.step_pythons import with_pythons
    from daskpar.environments.environment_check import differences
    from daskpar.jobspec.from_objects import spec_of
    from daskpar.jobspec.load import load_job
    from daskpar.jobspec.script_imports import missing_imports

    job = load_job(
        spec_of(spec),
        overrides=overrides,
        datastores=Datastores(datastores or {}),
        components=Components(components or {}),
        assets=Assets(assets or {}),
        bare=True,
    )
    if problems := table_problems(job):
        raise SpecError(problems, job.warnings)
    job = with_pythons(job, environments)
    return (*job.warnings, *missing_imports(job), *differences(job))


def plan(
    spec: Spec,
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
) -> str:
    """What would run, as text: each effective value and where it came from, and the mini-batches.

    `spec`: as `run` takes it; the others as in `validate`. Runs no user code and leaves nothing behind.
    Raises SpecError for a spec with mistakes, InputError where the mini-batches of a step can't be planned.
    """
    from daskpar.driver.plan_text import plan_text
    from daskpar.jobspec.from_objects import spec_of

    text, troubles = plan_text(
        spec_of(spec),
        overrides=overrides or {},
        datastores=datastores or {},
        components=components,
        assets=assets,
        environments=environments,
    )
    if troubles:
        raise InputError("\n".join(troubles))
    return text


def run(
    spec: Spec,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    compute: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
    mini_batches: str | int | Iterable[int] | None = None,
    limit: int | None = None,
    worker_processes: bool = False,
    dashboard: str | None = "127.0.0.1:8787",
    display: bool | None = None,
) -> Run:
    """Run a pipeline job (or a parallel or command component) to its end.

    `spec`: path of the YAML file; YAML text of several lines; a mapping that says what the file would; or a
    job, component or node made with `azure-ai-ml`, or a pipeline function that takes no arguments. Relative
    paths in a mapping or a text start from the working directory, in an object of the SDK from the working
    directory in which it was made.

    `client`, `scheduler` (address) or `compute` (name below `daskpar.computes` in Dask's configuration)
    choose the Dask cluster, a local one in this process by default. `inputs`:
    pipeline input name -> literal, path, Dask or pandas DataFrame, or Dask bag of file paths; collections are
    computed once, into the run directory. `overrides`: as `--set`. `datastores`, `components`, `assets`,
    `environments`: as in `validate`. `run_dir`: default `runs/NAME-TIME` below the working directory.
    `mini_batches` (`"0,5,7-9"`, an index, indices) and `limit` (the first so many): only these of each
    parallel step; the run is then `partial`, and `resume` runs the rest.

    Returns the ended run, whatever its status; `.check()` raises for one that did not complete. Raises
    SpecError, UsageError or InputError when the job can't start.
    """
    options = Options(
        overrides=overrides or {},
        datastores=datastores or {},
        components=components or {},
        assets=assets or {},
        environments=environments or {},
        client=client,
        scheduler=scheduler,
        compute=compute,
        worker_processes=worker_processes,
        dashboard=dashboard,
        display=display,
        selection=selection(mini_batches, limit),
    )
    from daskpar.driver.start_run import start_run
    from daskpar.jobspec.from_objects import spec_of

    return start_run(spec_of(spec), inputs or {}, run_dir, options)


def resume(
    run: str | os.PathLike[str] | Run,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    compute: str | None = None,
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
    retry_failed: bool = False,
    allow_changes: bool = False,
    mini_batches: str | int | Iterable[int] | None = None,
    limit: int | None = None,
    worker_processes: bool = False,
    dashboard: str | None = "127.0.0.1:8787",
    display: bool | None = None,
) -> Run:
    """Go on with a run where it was: only what is not committed is run.

    `run`: a run directory, or what `daskpar.run` returned. `retry_failed`: a completed run's failed
    mini-batches too. `allow_changes`: go on although code, inputs or values that reach the script have
    changed since; the mini-batches of a step that had begun stay those of its plan. Thresholds, timeouts,
    retries, logging and compute settings are those of the spec as it is now. `mini_batches`, `limit`: as
    those of `run`; without them all that is left is run, also of a partial run.

    Raises RunDirectoryError for a directory that is none of ours, in use, of a newer version, or whose inputs
    changed.
    """
    options = Options(
        overrides=overrides or {},
        datastores=datastores or {},
        components=components or {},
        assets=assets or {},
        environments=environments or {},
        client=client,
        scheduler=scheduler,
        compute=compute,
        worker_processes=worker_processes,
        dashboard=dashboard,
        display=display,
        selection=selection(mini_batches, limit),
        retry_failed=retry_failed,
        allow_changes=allow_changes,
    )
    from daskpar.driver.start_run import resume_run

    return resume_run(Path(run) if isinstance(run, str | os.PathLike) else run.path, options)


__all__ = ["plan", "resume", "run", "validate"]
