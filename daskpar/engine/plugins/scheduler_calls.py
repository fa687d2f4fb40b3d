"""Questions to the scheduler (`client.run_on_scheduler`), whose answers belong to whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Scheduler


def services(dask_scheduler: Scheduler) -> list[str]:
    """Runs on the scheduler: names of what it serves beside itself, such as `dashboard`."""
    return list(dask_scheduler.services)
