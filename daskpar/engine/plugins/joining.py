"""Makes a worker known to a run: what runs there, and on the scheduler, when it joins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskpar.engine.plugins.node import node_facts
from daskpar.engine.rules.allocation import NodeFacts

if TYPE_CHECKING:
    from distributed import Scheduler, Worker


async def introduce(dask_worker: Worker, version: str, name: str, plugin: bytes) -> NodeFacts:
    """Runs on a worker: give it the node plugin, where its daskpar is of this `version`; what it is.

    It may be asked again, and may have got the plugin from the scheduler when it joined.
    """
    facts = node_facts(dask_worker)
    if facts.version == version and name not in dask_worker.plugins:
        answer = await dask_worker.plugin_add(plugin=plugin, name=name)
        if answer["status"] != "OK":
            raise RuntimeError(f"the node plugin can't be set up: {answer}")
    return facts


def keep_for_joining(dask_scheduler: Scheduler, name: str, plugin: bytes) -> None:
    """Runs on the scheduler: workers that join from here on get the node plugin.

    Dask's own call would also send it to all that are there, and wait for the last of them.
    """
    dask_scheduler.worker_plugins[name] = plugin
