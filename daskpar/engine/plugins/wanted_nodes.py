"""Tells a scheduler how many nodes runs can use, so that clusters which adapt follow what is left to do.

Dask sees a few tasks of ours however much is left, and would let a cluster shrink in the middle of a step.
Who sizes a cluster (Dask's `Adaptive`, the Kubernetes operator, Coiled) asks its scheduler for a number: that
is at least ours from here on, and never below the nodes that have something to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Scheduler

_WANTED = "_daskpar_wanted_nodes"


def want_nodes(dask_scheduler: Scheduler, run_id: str, nodes: int | None) -> None:
    """Runs on the scheduler: run `run_id` can use so many nodes; None: it has ended."""
    scheduler: Any = dask_scheduler
    wanted: dict[str, int] | None = getattr(scheduler, _WANTED, None)
    if wanted is None:
        if nodes is None:
            return
        wanted = {}
        setattr(scheduler, _WANTED, wanted)
        _put_in_place(scheduler, wanted)
    if nodes is not None:
        wanted[run_id] = nodes
        return
    wanted.pop(run_id, None)
    if not wanted:
        delattr(scheduler, _WANTED)
        del scheduler.adaptive_target  # that of the class again
        scheduler.handlers["adaptive_target"] = scheduler.adaptive_target


def _put_in_place(scheduler: Any, wanted: dict[str, int]) -> None:
    own = scheduler.adaptive_target

    def adaptive_target(target_duration: Any = None) -> int:
        busy = sum(bool(state.processing) for state in scheduler.workers.values())
        return max(int(own(target_duration)), busy, sum(wanted.values()))

    scheduler.adaptive_target = scheduler.handlers["adaptive_target"] = adaptive_target
