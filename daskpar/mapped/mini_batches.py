"""`map_mini_batches`: calls a function for every piece of data, with all that a parallel step promises."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar import atomic
from daskpar.datastores import own_options
from daskpar.errors import UsageError
from daskpar.jobspec import row_formats
from daskpar.jobspec.given_spec import GivenSpec
from daskpar.jobspec.program_arguments import driver_flags, join_arguments, split_arguments
from daskpar.locations import is_url
from daskpar.mapped.function_files import function_files
from daskpar.mapped.given_data import GivenData, given_data
from daskpar.mapped.same_call import CALL, INPUT, go_on
from daskpar.paths import RunPaths
from daskpar.processor.function_facts import FOLDER
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.driver.options import Options
    from daskpar.driver.result import Run

ENTRY_SCRIPT = "daskpar.processor.pickled_function"
ROWS = "rows"
"""The name of the output."""
_NAME = re.compile(r"[\w.-]{1,100}")


@own_options()
def map_mini_batches(
    function: Callable[..., Any] | type | str | os.PathLike[str],
    data: Any,
    *,
    mini_batch_size: int | str | None = None,
    partition_keys: Sequence[str] | None = None,
    init_args: Sequence[Any] = (),
    init_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    format: str | None = row_formats.PARQUET,
    columns: str = row_formats.SAME,
    output: str | os.PathLike[str] | None = None,
    timeout: float = 60,
    max_retries: int = 2,
    error_threshold: int = -1,
    mini_batch_error_threshold: int = -1,
    instance_count: int = 1,
    max_concurrency_per_instance: int | None = None,
    environment_variables: Mapping[str, str] | None = None,
    program_arguments: str | Sequence[str] = (),
    client: Client | None = None,
    scheduler: str | None = None,
    compute: str | None = None,
    worker_processes: bool = False,
    dashboard: str | None = "127.0.0.1:8787",
    display: bool | None = None,
    allow_changes: bool = False,
    retry_failed: bool = False,
) -> Run:
    """Call `function` for each mini-batch of `data`; the ended run, whose rows are what it returned.

    `function`: called with a mini-batch, and with the mini_batch_context where it takes two arguments. It may
    be defined in a notebook, be a lambda, or use variables round it: it is sent by cloudpickle to processors
    that are killed where a call hangs. It may be async: `program_arguments="--concurrent_mini_batches 20"`
    has so many of its calls in flight in each processor. A class is made once in each processor, with
    `init_args` and `init_kwargs`, and its objects are called (`shutdown()` at the end, where it has that).
    The path of a script with `init()` and `run(mini_batch)` does as well.

    `data`, and what a mini-batch of it is:

        pandas or Dask DataFrame  a DataFrame of about `mini_batch_size` bytes ("10mb"; default "1mb"), or
                                  the rows of one value of `partition_keys`
        Dask bag, list            a list of `mini_batch_size` elements (default 1)
        list of files, folder,    a list of `mini_batch_size` paths (default 1)
        pattern such as "*.png"
        path of an MLTable        rows or paths, as in a spec

    A path may be a URL, or azureml://datastores/NAME/paths/…, of the datastores in Dask's configuration.
    Frames and bags are computed once, by the workers, into the run directory. An index that has a name
    becomes a column.

    What it returns: a DataFrame, a list of mappings or values, one mapping (a row), or one value; a value
    without a name gets the column `value`. `format`: `parquet` (types stay), `jsonl`, `csv` or `text`; None
    where it is called for what it does and its returns are not kept. `columns`: `same`, or `union` where
    mini-batches may have different ones. `output`: the file (default: `outputs/rows.parquet` in the run
    directory). `Run.to_dask()`, `to_bag()` and `to_pandas()` read it.

    `timeout`: seconds for one call. `max_retries`: further tries after a failed one. `error_threshold`,
    `mini_batch_error_threshold`: failed items and mini-batches that are allowed, -1: any number. With an
    `error_threshold`, a call has to return an element for each item; without, any number of rows.
    `program_arguments`: as in a spec, such as "--processor_memory 4gb"; a script finds them in sys.argv. The
    rest is as for `run`.

    `name`: the run directory is `runs/NAME`. The same call again goes on with a run that did not complete,
    and reuses the rows of one that did; it says which. `run_dir` does so for any folder. It is refused where
    function, data or what shapes the rows has changed: `allow_changes` goes on with an unfinished run all the
    same. `retry_failed`: failed mini-batches of a completed run are run again.

    Raises UsageError, InputError or SpecError before anything runs, RunDirectoryError for a run directory
    that can't be used.
    """
    from daskpar.driver.options import Options

    if format is not None and format not in row_formats.FORMATS:
        raise UsageError(f"format is one of {', '.join(row_formats.FORMATS)}, or None; not {format!r}")
    options = Options(
        client=client,
        scheduler=scheduler,
        compute=compute,
        worker_processes=worker_processes,
        dashboard=dashboard,
        display=display,
        allow_changes=allow_changes,
        retry_failed=retry_failed,
    )
    given = given_data(data, mini_batch_size, partition_keys)
    if isinstance(function, str | os.PathLike):
        if init_args or init_kwargs:
            raise UsageError("init_args and init_kwargs are for a class; a script finds program_arguments")
        called = _script(function)
        if given.items:
            raise UsageError(
                "a script gets files or rows: for a list or bag of anything else give a function"
            )
    else:
        called = _function(
            function,
            init_args=init_args,
            init_kwargs=init_kwargs,
            named_rows=format not in (None, row_formats.TEXT),
            items=given.items,
            columns=given.columns,
            dtypes=given.dtypes,
        )
    arguments = (
        split_arguments(program_arguments) if isinstance(program_arguments, str) else program_arguments
    )
    flags = ["--append_row_format", format] if format else []
    if format and columns != row_formats.SAME:
        flags += ["--append_row_columns", columns]
    if format and error_threshold < 0:
        flags.append("--any_number_of_rows")
    wanted = driver_flags(arguments).values.get("isolate_failed_items", "")
    if given.items and wanted.lower() == "true":
        # Elements are in groups only because they are stored so. Of flags, the last one wins.
        arguments = (*arguments, "--isolate_failed_items", "groups")
    document: dict[object, Any] = {
        "type": "parallel",
        "name": called.name,
        "inputs": {INPUT: {"type": given.type, **({"path": given.path} if given.path else {})}},
        "input_data": f"${{{{inputs.{INPUT}}}}}",
        **({"mini_batch_size": given.mini_batch_size} if given.mini_batch_size else {}),
        **({"partition_keys": list(given.partition_keys)} if given.partition_keys else {}),
        "retry_settings": {"max_retries": max_retries, "timeout": timeout},
        "error_threshold": error_threshold,
        "mini_batch_error_threshold": mini_batch_error_threshold,
        "resources": {"instance_count": instance_count},
        "max_concurrency_per_instance": max_concurrency_per_instance,
        "environment_variables": dict(environment_variables or {}),
        "task": {
            "type": "run_function",
            **called.task,
            "program_arguments": join_arguments([*flags, *arguments]),
        },
    }
    if format:
        place = _place_of(output, f"./outputs/{ROWS}{_ending(format)}")
        document["outputs"] = {ROWS: {"type": "uri_file", "path": place}}
        document["task"]["append_row_to"] = f"${{{{outputs.{ROWS}}}}}"
    return _run(called, given, document, name, run_dir, options)


@frozen(kw_only=True)
class _Called:
    """What is called for each mini-batch."""

    name: str
    digest: str
    """Of a function; empty for a script, whose files are compared."""
    task: Mapping[str, Any]
    """Keys of the task in the spec."""
    files: Mapping[str, bytes]
    """What the run directory gets of it."""


def _function(function: Any, **facts: Any) -> _Called:
    made = function_files(function, **facts)
    name = re.sub(r"\W", "_", made.name, flags=re.ASCII)
    return _Called(
        name=f"_{name}" if name[:1].isdigit() else name,
        digest=made.digest,
        task={"code": f"./{FOLDER}", "entry_script": ENTRY_SCRIPT},
        files=made.files,
    )


def _script(path: str | os.PathLike[str]) -> _Called:
    script = Path(os.path.abspath(path))
    if not script.is_file():
        raise UsageError(
            f"there is no script {os.fspath(path)}; give a function, or the path of a Python file"
        )
    task = {"code": str(script.parent), "entry_script": script.name}
    return _Called(name=re.sub(r"\W", "_", script.stem, flags=re.ASCII), digest="", task=task, files={})


def _place_of(output: str | os.PathLike[str] | None, default: str) -> str:
    if output is None:
        return default
    text = os.fspath(output)
    return text if is_url(text) else os.path.abspath(text)


def _ending(row_format: str) -> str:
    return row_formats.FILE_ENDINGS.get(row_format, ".txt")


# -- new, or the same call again --


def _run(
    called: _Called,
    given: GivenData,
    document: Mapping[object, Any],
    name: str | None,
    run_dir: str | os.PathLike[str] | None,
    options: Options,
) -> Run:
    from daskpar.driver.start_run import start_run

    place, is_new = _place(name, run_dir, called.name)
    call = {"function": {"name": called.name, "digest": called.digest}, "data": given.token}
    spec = GivenSpec(
        label=f"map_mini_batches({called.name})",
        folder=place,
        mapping=document,
        files={**called.files, CALL: json.dumps(call, indent=2).encode()},
    )
    if not is_new and RunPaths(place).identity_file.is_file():
        earlier = go_on(place, spec, call, options)
        if earlier is not None:
            return earlier
    collections = {INPUT: given.staged} if given.staged is not None else {}
    try:
        return start_run(spec, collections, place, options)
    except BaseException:
        if is_new and place.is_dir() and not os.listdir(place):
            place.rmdir()
        raise


def _place(name: str | None, run_dir: str | os.PathLike[str] | None, called: str) -> tuple[Path, bool]:
    """The run directory, and whether it is one that nobody has named."""
    from daskpar.rundir.new_path import ELSEWHERE, make_folder, new_path

    if name is not None and run_dir is not None:
        raise UsageError("name and run_dir each say where the run is: give one of them")
    if name is not None:
        if not _NAME.fullmatch(name) or name.startswith("."):
            raise UsageError(
                f"name is letters, digits, _, - and dots, not {name!r}; run_dir takes any folder"
            )
        return Path(os.path.abspath(Path("runs") / name)), False
    if run_dir is not None:
        return Path(os.path.abspath(run_dir)), False
    while True:  # taken at once, for the job has to know its place before it is read
        place = new_path(called)
        with atomic.explained(f"The run directory {place} can't be made", ELSEWHERE):
            try:
                make_folder(place, atomic.OWNER_FOLDER)
            except FileExistsError:
                if not os.path.lexists(place):
                    raise  # `runs` is a file
                continue
        return place, True
