"""A scheduler says that runs want nodes, whoever asks it, and is as before when they have ended."""

from __future__ import annotations

from types import SimpleNamespace

from daskpar.engine.plugins.wanted_nodes import want_nodes


class Scheduler:
    def __init__(self, *processing: set[str]) -> None:
        self.workers = {str(at): SimpleNamespace(processing=found) for at, found in enumerate(processing)}
        self.handlers = {"adaptive_target": self.adaptive_target}

    def adaptive_target(self, target_duration: float | None = None) -> int:
        return 1


def asked(scheduler: Scheduler) -> int:
    """By Dask's own pages and by a message."""
    found = {scheduler.adaptive_target(), scheduler.handlers["adaptive_target"](target_duration=5)}
    [one] = found
    return one


def test_all_runs_are_wanted_for_and_no_busy_node_is_given_up():
    scheduler = Scheduler({"task"}, {"task"}, set())
    want_nodes(scheduler, "A", 3)
    want_nodes(scheduler, "B", 4)
    assert asked(scheduler) == 7
    want_nodes(scheduler, "A", 0)
    want_nodes(scheduler, "B", 0)
    assert asked(scheduler) == 2  # two have something to do
    want_nodes(scheduler, "A", None)
    want_nodes(scheduler, "B", None)
    want_nodes(scheduler, "B", None)
    assert asked(scheduler) == 1 and "adaptive_target" not in vars(scheduler)
