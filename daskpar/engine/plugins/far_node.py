"""What runs, through `client.run`, on a worker that does not see the run directory: it takes what it is sent,
and opens a step with places of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.batches.plan import Plan
from daskpar.batches.plan_arrow import PATHS, write_paths
from daskpar.batches.plan_files import checks_of_files
from daskpar.engine.input_copies import lay_out_inputs
from daskpar.engine.plugins.node import NodePlugin, plugin_of
from daskpar.engine.shipped.sent_step import SentStep, places_of, settings_here
from daskpar.errors import InfrastructureLost
from daskpar.processor.node_places import NodePlaces
from daskpar.processor.protocol import ProcessorSettings

if TYPE_CHECKING:
    from distributed import Worker


async def has_parcel(dask_worker: Worker, run_id: str, parcel: str) -> bool:
    """Whether a parcel is here."""
    folder = await asyncio.to_thread(plugin_of(dask_worker, run_id).folder)
    return folder.has(parcel)


async def take_piece(
    dask_worker: Worker, run_id: str, parcel: str, sender: str, offset: int, data: bytes
) -> None:
    """A piece of a parcel."""
    folder = plugin_of(dask_worker, run_id).folder()
    with _explained(parcel, folder.path):
        await asyncio.to_thread(folder.take_piece, parcel, sender, offset, data)


async def unpack(dask_worker: Worker, run_id: str, parcel: str, sender: str, target: str) -> None:
    """Lay out a parcel that is here in all its pieces."""
    folder = plugin_of(dask_worker, run_id).folder()
    with _explained(parcel, folder.path):
        await asyncio.to_thread(folder.unpack, parcel, sender, target)


@contextlib.contextmanager
def _explained(parcel: str, folder: str) -> Iterator[None]:
    """Say where it was that something could not be kept."""
    try:
        yield
    except (OSError, tarfile.TarError, ValueError) as error:
        what = parcel.rpartition("-")[0]
        raise InfrastructureLost(
            f"{socket.gethostname()} can't keep the {what} that it is sent in {folder}: "
            f"{getattr(error, 'strerror', None) or error}. Its Dask worker may need another --local-directory"
        ) from error


async def open_far_step(dask_worker: Worker, run_id: str, settings: ProcessorSettings, sent: SentStep) -> int:
    """Start a step's processors, once its code and plan are here; returns how many."""
    await asyncio.to_thread(_open, plugin_of(dask_worker, run_id), settings, sent)
    return settings.processors


def _open(plugin: NodePlugin, settings: ProcessorSettings, sent: SentStep) -> None:
    if settings.opened_as in plugin.steps:
        return  # asked a second time
    places = places_of(sent, settings, plugin.folder().path)
    here = settings_here(sent, settings, places)
    _move_plan(Path(here.plan), places, with_paths=bool(sent.inputs))
    for folder in (here.shared, here.logs, here.work, here.output_dir):
        os.makedirs(folder, exist_ok=True)
    inputs = [
        replace(data, path=places.text_here(data.path), seen=places.text_here(data.seen))
        for data in sent.laid_out
    ]
    lay_out_inputs(inputs, f"{places.root}/run")
    plugin.open(here)


def _move_plan(plan: Path, places: NodePlaces, *, with_paths: bool) -> None:
    """Have a plan name its files by the paths here; `with_paths`: those of a list may be among them."""
    path = plan / "plan.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    moved = places.here(document)
    if with_paths and "paths" in document:
        listed = plan / PATHS
        paths = [places.text_here(each) for each in Plan.open(plan).paths()]
        moved["paths"] = write_paths(listed, paths)
        moved["files"] = {**moved["files"], **checks_of_files([listed])}
    if table := moved.get("table"):
        moved["table"] = json.dumps(places.here(json.loads(table)))
    if moved != document:
        path.write_text(json.dumps(moved), encoding="utf-8")
