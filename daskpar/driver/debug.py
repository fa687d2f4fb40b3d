"""One mini-batch of a spec or a run, apart from any run: as the value that `run()` gets, or in a debugger."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.datastores import Written, own_options
from daskpar.driver.found_mini_batch import Found, Name, Wanted, find_in_child, find_one
from daskpar.driver.options import Options, mounts_inputs
from daskpar.errors import UsageError

if TYPE_CHECKING:
    import pandas

    from daskpar.driver.trial import Stops, Trial
    from daskpar.environments.environment_choices import WrittenHow
    from daskpar.jobspec.given_spec import GivenSpec

Source = str | os.PathLike[str] | Mapping[str, Any] | Any
"""A job as `daskpar.run` takes it, a run directory, or a `Run`."""


@own_options()
def mini_batch(
    source: Source,
    mini_batch: Name = 0,
    *,
    step: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
) -> pandas.DataFrame | list[str]:
    """What `run()` gets for one mini-batch: a DataFrame, or the list of its files.

    `source`: a job as `daskpar.run` takes it, a run directory or a `Run`. `mini_batch`: its index, a file
    (its path or the end of it), or its key (`"store=7"`, `{"store": 7}`). `step`: where several have
    mini-batches. `inputs`, `overrides`, `datastores`, `components`, `assets`: as those of `daskpar.run`. Only
    this mini-batch is read, and what planning takes: the metadata of a table, or all of it where rows are
    grouped by keys and no run has done that. No code of the user's is run.

    Raises SpecError, UsageError, InputError or RunDirectoryError.
    """
    from daskpar.batches.plan import Plan

    wanted = _wanted(source, mini_batch, step, inputs, overrides, datastores, mounts=True)
    wanted = replace(
        wanted, components=components or {}, assets=assets or {}, environments=environments or {}
    )
    with tempfile.TemporaryDirectory(prefix="daskpar-mini-batch-", ignore_cleanup_errors=True) as folder:
        found = find_one(wanted, Path(folder))
        return Plan.open(found.plan).load(found.index)  # type: ignore[return-value]


def debug(
    source: Source,
    mini_batch: Name | None = None,
    *,
    step: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
    at_once: bool = False,
    port: int | None = None,
) -> Trial:
    """Run `init()` and one mini-batch in this process, with arguments, variables and context as in a run.

    Stops in pdb where an exception was raised (`at_once`: before `run()` too; `port`: an editor's debugger,
    by debugpy). Nothing is written to the step's outputs: they are folders of this try. `mini_batch`: as in
    `daskpar.mini_batch`; without it the first one of a spec, and that of the first failure of a run. Working
    folder, variables and `sys.argv` are those of a processor meanwhile, for all threads, and put back at the
    end; a call in another thread waits for that.

    Returns what came of it: `succeeded`, `failure`, `returned`, `appended`, `folder`, `error`. What the
    script raises is not raised here. Raises SpecError, UsageError, InputError, RunDirectoryError or, where
    the debugger is left, Interrupted.
    """
    from daskpar.driver.trial import Stops

    stops = Stops(at_once=at_once, port=port)
    _check(stops)
    # Links: a process that goes on can't make folders read-only for a while.
    wanted = _wanted(source, mini_batch, step, inputs, overrides, datastores, mounts=False)
    wanted = replace(
        wanted, components=components or {}, assets=assets or {}, environments=environments or {}
    )
    return _tried(wanted, find_one, stops, print, own_process=False)


def debug_here(
    source: Path,
    mini_batch: str | None,
    *,
    step: str | None,
    overrides: Mapping[str, str],
    datastores: Mapping[str, Written],
    components: Mapping[str, str],
    assets: Mapping[str, str],
    environments: Mapping[str, WrittenHow],
    stops: Stops,
    say: Callable[[str], None],
) -> Trial:
    """As `debug`, in a process that is there for nothing else: `daskpar debug`."""
    _check(stops)
    wanted = _wanted(source, mini_batch, step, {}, overrides, datastores, mounts=mounts_inputs(Options()))
    wanted = replace(wanted, components=components, assets=assets, environments=environments)
    return _tried(wanted, find_in_child, stops, say, own_process=True)


def _check(stops: Stops) -> None:
    if stops.port is None:
        return
    from daskpar.driver.user_pdb import check_debugpy

    if not 0 <= stops.port < 65536:
        raise UsageError(f"--listen {stops.port} is no port: 0 (any that is free) to 65535")
    check_debugpy()


def _wanted(
    source: Source,
    mini_batch: Name | None,
    step: str | None,
    inputs: Mapping[str, Any] | None,
    overrides: Mapping[str, str] | None,
    datastores: Mapping[str, Written] | None,
    *,
    mounts: bool,
) -> Wanted:
    return Wanted(
        source=_source(source),
        step=step,
        mini_batch=mini_batch,
        overrides=overrides or {},
        datastores=datastores or {},
        inputs=inputs or {},
        mounts=mounts,
    )


def _source(source: Source) -> Path | GivenSpec:
    """The job or run directory that is meant; UsageError for what is none."""
    from daskpar.driver.result import Run
    from daskpar.jobspec.from_objects import spec_of

    found = spec_of(source.path if isinstance(source, Run) else source)
    if isinstance(found, Path) and not found.exists():
        raise UsageError(f"there is no spec and no run directory at {found}")
    return found


@own_options()
def _tried(
    wanted: Wanted,
    find: Callable[[Wanted, Path], Found],
    stops: Stops,
    say: Callable[[str], None],
    *,
    own_process: bool,
) -> Trial:
    scratch = Path(tempfile.mkdtemp(prefix="daskpar-debug-"))
    try:
        found = find(wanted, scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    from daskpar.driver.trial import try_one

    return try_one(found, scratch, stops, say, own_process=own_process)
