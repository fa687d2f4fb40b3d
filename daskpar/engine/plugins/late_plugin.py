"""Takes a run's node plugin off a worker that got it when the run was over: it would stay there for ever.

A worker may join in the moment in which the plugin is taken off all others, or stand still when it is asked
who it is, and answer when nobody wants to know any more.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from distributed import protocol

if TYPE_CHECKING:
    from distributed import Scheduler, Worker, WorkerPlugin

logger = logging.getLogger(__name__)


def is_kept(dask_scheduler: Scheduler, name: str) -> bool:
    """Runs on the scheduler: whether workers that join get this plugin, for its run goes on."""
    return name in dask_scheduler.worker_plugins


async def leave_if_over(worker: Worker, name: str, plugin: WorkerPlugin) -> None:
    """Ask the scheduler whether the run of a plugin that was just set up goes on; take it off where not.

    Who ends a run first has the scheduler forget the plugin, and then all workers: so one that is still kept
    will be taken off.
    """
    try:
        answer = await worker.scheduler.run_function(
            function=protocol.pickle.dumps(is_kept),
            args=protocol.pickle.dumps(()),
            kwargs=protocol.pickle.dumps({"name": name}),
        )
    except OSError:  # without a scheduler the worker ends
        return
    if answer.get("status") == "OK" and not answer["result"] and worker.plugins.get(name) is plugin:
        logger.info("%s came when its run was over", name)
        await worker.plugin_remove(name=name)
