"""Turns collections given from Python into files in the run directory, described by an MLTable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar import atomic
from daskpar.driver.staged_collections import Staged, named_column, write_list, write_table
from daskpar.errors import UsageError
from daskpar.locations import is_url

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.driver.options import Options


def split_inputs(inputs: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Split into what a spec can say itself (literals, paths: as text) and what has to be staged."""
    literals: dict[str, str] = {}
    collections: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, str | int | float | bool | Path):
            literals[name] = str(value)
        elif isinstance(value, Staged) or _kind(value):
            collections[name] = value
        else:
            raise UsageError(
                f"input {name!r} is a {type(value).__name__}; "
                "give text, a number, a path, a Dask or pandas DataFrame, or a Dask bag of paths"
            )
    return literals, collections


@contextmanager
def workers_of(options: Options) -> Iterator[Client | None]:
    """A client of the workers that are to write collections; None where this process does it.

    So for a cluster that is given or runs; one that is described only (`compute`) starts later.
    """
    if options.client is not None or not options.scheduler:
        yield options.client
        return
    from distributed import Client

    from daskpar.engine.cluster import CONNECT_SECONDS
    from daskpar.engine.greeting import address_in, check_greeting

    target = options.scheduler
    address = address_in(target, CONNECT_SECONDS) if target.endswith(".json") else target
    check_greeting(address, CONNECT_SECONDS, target)
    with Client(address, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        yield client


def stage(collections: Mapping[str, Any], folder: Path, client: Client | None = None) -> dict[str, str]:
    """Compute each collection once, into `folder/NAME`; input name -> that folder.

    A DataFrame becomes one Parquet file for each partition, rows and columns in their order, the index left
    out; a bag of file paths becomes a list of them. On a cluster the partitions are written by its workers,
    so `folder` has to be one that they reach.
    """
    with client.as_current() if client is not None else nullcontext():
        return {name: str(_stage(name, value, folder / name)) for name, value in collections.items()}


def _kind(value: Any) -> str:
    names = {f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(value).__mro__}
    for kind in ("pandas.DataFrame", "dask.DataFrame", "dask.Bag"):
        if kind in names:
            return kind
    return "dask.DataFrame" if "dask_expr.DataFrame" in names else ""


def _stage(name: str, value: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(value, Staged):
        value.write_into(folder, _compute)
        return folder
    kind = _kind(value)
    if kind == "dask.Bag":
        _write_list(name, _compute([value])[0], folder)
        return folder
    if kind == "pandas.DataFrame":
        write_partition(value, folder, 0)
    else:
        from dask.delayed import delayed

        write = delayed(write_partition, pure=False)
        _compute([write(part, folder, number) for number, part in enumerate(value.to_delayed())])
    write_table(folder)
    return folder


def _compute(collections: Sequence[Any]) -> Sequence[Any]:
    """Compute by the scheduler in force, by threads where there is none."""
    # Dask's own choice for bags would start a pool of processes.
    from dask.base import compute, get_scheduler

    results: Sequence[Any] = compute(
        *collections, scheduler=None if get_scheduler() is not None else "threads"
    )
    return results


def write_partition(frame: Any, folder: Path, number: int) -> None:
    """Write one partition as Parquet; a repeat leaves the same file."""
    path = folder / f"part-{number:06d}.parquet"
    what = f"input {folder.name!r}"
    with named_column(frame, what), atomic.replacing(path, durable=False, shared=True) as temporary:
        frame.to_parquet(temporary, engine="pyarrow", index=False)


def _write_list(name: str, items: list[Any], folder: Path) -> None:
    wrong = next((item for item in items if not isinstance(item, str)), None)
    if wrong is not None:
        raise UsageError(
            f"input {name!r} is a bag that holds a {type(wrong).__name__}; its elements have "
            "to be paths of files, as text"
        )
    write_list([item if is_url(item) else str(Path(item).absolute()) for item in items], folder)
