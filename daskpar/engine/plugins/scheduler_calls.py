"""Questions to the scheduler (`client.run_on_scheduler`), whose answers belong to whoever asks."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Scheduler


def services(dask_scheduler: Scheduler) -> list[str]:
    """Runs on the scheduler: names of what it serves beside itself, such as `dashboard`."""
    return list(dask_scheduler.services)


def last_heartbeat(dask_scheduler: Scheduler, address: str) -> tuple[float, float] | None:
    """Runs on the scheduler: seconds since the last heartbeat of the worker at `address`, and between two.

    None where it does not know the worker.
    """
    from distributed import scheduler

    worker = dask_scheduler.workers.get(address)
    if worker is None:
        return None
    return time() - worker.last_seen, scheduler.heartbeat_interval(len(dask_scheduler.workers))
