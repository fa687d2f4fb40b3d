"""What the driver asks, through `client.run`, about files on a worker that does not see the run directory."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from daskpar.engine.plugins.node import plugin_of
from daskpar.engine.shipped.parcels import files_of_data
from daskpar.outputs.file_upload import files_below
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from distributed import Worker

Wanted = tuple[str, int, int]
"""Path of a file, offset, and how many bytes at most."""


@frozen
class FarFile:
    """A file or folder below one that the driver asks for."""

    name: str
    """Its path from there; empty where that itself is a file."""
    mode: int
    size: int
    mtime_ns: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)


async def node_folder(dask_worker: Worker, run_id: str) -> str:
    """The folder that this worker has for the run."""
    return (await asyncio.to_thread(plugin_of(dask_worker, run_id).folder)).path


async def read_pieces(dask_worker: Worker, run_id: str, wanted: Sequence[Wanted]) -> list[bytes]:
    """Pieces of files; an empty one for what is not there."""
    check_place(dask_worker, run_id, [path for path, _, _ in wanted])
    return await asyncio.to_thread(lambda: [_piece(*each) for each in wanted])


async def list_below(dask_worker: Worker, run_id: str, path: str) -> list[FarFile] | None:
    """All that lies at and below a path, links followed; None where there is nothing."""
    check_place(dask_worker, run_id, [path])
    return await asyncio.to_thread(_list, path)


async def filled_names(dask_worker: Worker, run_id: str, filled: str) -> list[tuple[str, str]]:
    """The files in the output folders of a command: the name of the output, and the path in it."""
    check_place(dask_worker, run_id, [filled])
    return await asyncio.to_thread(
        lambda: [(name.partition("/")[0], name.partition("/")[2]) for _, name in files_below(filled)]
    )


async def remove_paths(dask_worker: Worker, run_id: str, paths: Sequence[str]) -> None:
    """Remove what a command has left, once it is with the driver."""
    for path in paths:
        await asyncio.to_thread(remove_tree, path)


def check_place(dask_worker: Worker, run_id: str, paths: Sequence[str]) -> None:
    """Raises RuntimeError where paths do not lie in the folder that this worker has for the run.

    A worker that was started anew under the address of another one has not what that had: nothing may count
    as empty for that.
    """
    folder = plugin_of(dask_worker, run_id).known_folder
    if not folder or not all(path.startswith(f"{folder}/") for path in paths):
        raise RuntimeError(
            f"worker {dask_worker.address} has been started anew since the command began there"
        )


def remove_tree(path: str) -> None:
    """Remove a file, or a folder with all in it, where there is one."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)


def _piece(path: str, offset: int, most: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(most)
    except FileNotFoundError:
        return b""


def _list(path: str) -> list[FarFile] | None:
    if not os.path.exists(path):
        return None
    found = []
    for each, name in files_of_data(path, ""):
        seen = os.stat(each)
        found.append(FarFile(name, seen.st_mode, seen.st_size, seen.st_mtime_ns))
    return found
