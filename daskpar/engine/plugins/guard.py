"""The guard: a Dask scheduler plugin that cleans up after a run whose driver has vanished."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

from daskpar.engine.plugins.node import plugin_name
from daskpar.engine.plugins.tracker import tracker_name
from daskpar.engine.plugins.wanted_nodes import want_nodes
from daskpar.results import Counts

if TYPE_CHECKING:
    from distributed import Scheduler

logger = logging.getLogger(__name__)


def guard_name(run_id: str) -> str:
    """Name of the guard of a run."""
    return f"daskpar-guard-{run_id}"


class Guard(SchedulerPlugin):
    """Watches the driver's Dask client, whose id is `driver`.

    Without its driver nothing of a run can be committed: processors and commands end, and no worker that
    joins later hears of the run.
    """

    def __init__(self, *, run_id: str, driver: str) -> None:
        self.name = guard_name(run_id)
        self.run_id = run_id
        self.driver = driver

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Called by Dask when a client has closed its connection, or lost it."""
        if client == self.driver:
            scheduler.loop.add_callback(self.clear, scheduler)

    async def clear(self, scheduler: Scheduler) -> None:
        """Take everything of the run away from the scheduler and its workers."""
        logger.info("the driver of run %s has gone: its processors end", self.run_id)
        want_nodes(scheduler, self.run_id, None)
        for name in [name for name in scheduler.plugins if name.startswith(tracker_name(self.run_id, ""))]:
            await scheduler.plugins[name].close()
            scheduler.remove_plugin(name)
        try:
            await scheduler.unregister_worker_plugin(None, plugin_name(self.run_id))
        except Exception:
            logger.warning(
                "some workers could not be told that the driver of run %s has gone",
                self.run_id,
                exc_info=True,
            )
        scheduler.plugins.pop(self.name, None)


async def remove_tracker(
    dask_scheduler: Any, name: str, asked: list[str], counts: Counts | None = None
) -> None:
    """Runs on the scheduler (`client.run_on_scheduler`): the tracker `name` listens no more.

    `asked`: addresses of the workers that were asked to open its step; `counts`: the driver's, which are
    those of the tracker and of the mini-batches that were divided.
    """
    tracker = dask_scheduler.plugins.get(name)
    if tracker is not None:
        if counts is not None:
            tracker.counter.counts = counts
        await tracker.close(asked)
        dask_scheduler.remove_plugin(name)
