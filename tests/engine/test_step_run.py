"""What all kinds of steps share: an end whatever happens, and a stop that reaches what runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daskpar.engine.step_run import StepRun
from daskpar.errors import InfrastructureLost, InputError
from daskpar.results import Status, StepResult
from daskpar.rundir.step_folder import StepFolder


class Work:
    """Something that can be stopped, and remembers how."""

    def __init__(self) -> None:
        self.stops: list[tuple[str, bool]] = []

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        self.stops.append((reason, at_once))


@dataclass(kw_only=True)
class OneWork(StepRun):
    """A step of one piece of work, during which `during` is called."""

    during: Callable[[StepRun], Any]
    work: Work = field(default_factory=Work)

    def _run(self) -> StepResult:
        with self._stoppable(self.work):
            self.during(self)
        return StepResult(step=self.step.name, status=Status.COMPLETED)


def made(during: Callable[[StepRun], Any] = lambda _: None) -> OneWork:
    step: Any = SimpleNamespace(name="s", python=None, outputs={"o": SimpleNamespace(path="/o")})
    nothing: Any = None
    return OneWork(
        step=step,
        run_id="r",
        folder=StepFolder(Path("r/steps/s")),
        cluster=nothing,
        publish=print,
        during=during,
    )


def test_a_result_has_the_outputs_and_the_time_of_the_step():
    result = made().run()
    assert (result.step, result.status, dict(result.outputs)) == ("s", Status.COMPLETED, {"o": "/o"})
    assert result.seconds > 0


@pytest.mark.parametrize(
    ("error", "status"), [(InputError, Status.FAILED), (InfrastructureLost, Status.LOST)]
)
def test_an_error_of_ours_is_a_result(error, status):
    def fail(_: StepRun) -> None:
        raise error("why")

    result = made(fail).run()
    assert (result.status, result.reason, dict(result.outputs)) == (status, "why", {"o": "/o"})


def test_our_own_mistakes_are_raised():
    with pytest.raises(ZeroDivisionError):
        made(lambda _: 1 / 0).run()


def test_what_runs_is_stopped():
    step = made(lambda running: running.stop("enough"))
    step.run()
    assert step.work.stops == [("enough", False)]


def test_what_is_about_to_run_is_stopped_too():
    step = made()
    step.stop("enough")
    step.stop("at once", at_once=True)
    assert step.work.stops == []
    step.run()
    assert step.work.stops == [("at once", True)]


def test_what_has_ended_is_not_stopped_any_more():
    step = made()
    step.run()
    step.stop("too late")
    assert step.work.stops == []
