"""Lists and plans the folder that a step splits while the cluster is still being opened, on a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.errors import InputError, input_error
from daskpar.jobspec.model import Input, ParallelStep, PipelineJob

if TYPE_CHECKING:
    from daskpar.batches.plan import PlanSummary

CLOSE_SECONDS = 2.0
"""How long the end of a run that did not come about waits for it."""


class PlanAhead:
    """The plan of one step in the making; `result` is for the step, which waits as long as it may."""

    def __init__(self, make: Callable[[], PlanSummary], data: Input) -> None:
        self._make = make
        self._data = data
        self._made: PlanSummary | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="daskpar-plan-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._made = self._make()
        except BaseException as error:  # raised again in `result`
            self._error = error

    def result(self) -> PlanSummary:
        """What is planned; raises what went wrong, an InputError with the place of the input in the spec."""
        self._thread.join()
        if isinstance(self._error, InputError):
            data, error = self._data, self._error
            raise input_error(error, f"{error} (input {data.name!r}, {data.where})") from error
        if self._error is not None:
            raise self._error
        assert self._made is not None
        return self._made

    def close(self) -> None:
        """Wait a little: what is written now should not come after the removal of its folder."""
        self._thread.join(CLOSE_SECONDS)


def may_plan_ahead(job: PipelineJob, step: ParallelStep, run_directory: Path) -> bool:
    """Whether nothing of this run is written among what the step splits, before or while it is listed."""
    if step.needs or step.partition_keys or len(step.input_data) != 1:
        return False
    data = step.inputs[step.input_data[0]]
    if data.type == "mltable" or data.made_by is not None:
        return False
    written = [output.path for each in job.steps for output in each.outputs.values()]
    return not _any_inside(data.path, [*written, str(run_directory)])


def _any_inside(folder: str, paths: Iterable[str]) -> bool:
    inside = folder.rstrip("/") + "/"
    return any(f"{path.rstrip('/')}/".startswith(inside) for path in paths)


def plan_on_thread(step: ParallelStep, datastores: Mapping[str, str], folder: Path) -> PlanAhead:
    """Begin to make the plan of `step` in `folder`."""
    from daskpar.engine.planning import WantedColumns, plan_ahead

    data = step.inputs[step.input_data[0]]
    wanted = WantedColumns.of(step)
    return PlanAhead(lambda: plan_ahead(data, step.by_size, wanted, folder, datastores), data)
