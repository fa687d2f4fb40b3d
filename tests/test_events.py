"""Events and their hooks: the table is complete, and a watcher without use for an event ignores it."""

from __future__ import annotations

import inspect
from typing import get_args, get_type_hints

import pytest

from daskpar import events
from daskpar.events import HOOKS, RunEnded, StepEnded, Warned, Watcher
from daskpar.results import Status, StepResult


def hooks_of(watcher: type[Watcher]) -> set[str]:
    return {name for name, value in vars(watcher).items() if inspect.isfunction(value)} - {"close", "handle"}


def test_each_event_has_one_hook_and_each_hook_one_event() -> None:
    assert set(HOOKS) == set(get_args(events.RunEvent)) | set(get_args(events.StepEvent))
    assert sorted(HOOKS.values()) == sorted(hooks_of(Watcher))


@pytest.mark.parametrize(("event", "hook"), HOOKS.items(), ids=list(HOOKS.values()))
def test_a_hook_takes_its_event_and_says_when_it_is_called(event: type, hook: str) -> None:
    import numpy as np

    method = getattr(Watcher, hook)
    hints = get_type_hints(method, {**vars(events), "np": np})
    assert hints == {"event": event, "return": type(None)}
    assert method.__doc__


@pytest.mark.parametrize("event", HOOKS, ids=lambda event: event.__name__)
def test_each_event_is_explained_and_each_of_its_fields(event: type) -> None:
    source = inspect.getsource(event)
    assert (event.__doc__ or "").strip().endswith(".")
    for name in event.__dataclass_fields__:  # type: ignore[attr-defined]
        after = source.split(f"    {name}: ", 1)[1].split("\n", 2)[1]
        assert after.strip().startswith('"""'), f"{event.__name__}.{name} is not explained"


def test_events_reach_their_own_hook_and_the_others_do_nothing() -> None:
    class Counting(Watcher):
        calls: tuple[object, ...] = ()

        def warned(self, event: Warned) -> None:
            self.calls += (event,)

    watcher = Counting()
    warning = Warned(time=1.0, step="s", text="careful")
    watcher.handle(warning)
    watcher.handle(StepEnded(time=1.0, result=StepResult(step="s", status=Status.COMPLETED)))
    watcher.handle(RunEnded(time=1.0, status=Status.COMPLETED, reason="", seconds=1.0, exit_code=0))
    watcher.close()
    assert watcher.calls == (warning,)
