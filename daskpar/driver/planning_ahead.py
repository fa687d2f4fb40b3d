"""Plans the folder that a step splits, and looks at its files, while the cluster is still being opened."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar import atomic
from daskpar.beside import Beside
from daskpar.jobspec.model import ParallelStep, PipelineJob

if TYPE_CHECKING:
    from daskpar.batches.plan import PlanSummary


class PlanningAhead:
    """A plan in the making, by `make` in the folder that it is given, for the folder `plan`.

    It is made in a folder of its own: whoever makes it may still be at work when the run has ended, or when
    the run goes on in another process.
    """

    def __init__(self, plan: Path, make: Callable[[Path], PlanSummary]) -> None:
        self._plan = plan
        self._place = plan.with_name(f"{plan.name}.{secrets.token_hex(4)}")
        self._place.mkdir(parents=True)
        self._making = Beside(lambda: make(self._place), "daskpar-planning-ahead")

    def take(self) -> PlanSummary:
        """Wait for the plan, which is in its place then; raises what went wrong."""
        summary = self._making.result()
        shutil.rmtree(self._plan, ignore_errors=True)  # what a killed driver has left of one
        os.replace(self._place, self._plan)
        atomic.sync_folder(self._plan.parent)
        return summary

    def drop(self) -> None:
        """Nobody takes it any more."""
        shutil.rmtree(self._place, ignore_errors=True)


def remove_stale(plan: Path) -> None:
    """Remove what was made ahead for the folder `plan` and never taken."""
    for left in plan.parent.glob(f"{plan.name}.*"):
        shutil.rmtree(left, ignore_errors=True)


def may_plan_ahead(job: PipelineJob, step: ParallelStep, run_directory: Path) -> bool:
    """Whether a step splits one folder, into which nothing of this run is written before or meanwhile."""
    if step.needs or step.partition_keys or len(step.input_data) != 1:
        return False
    data = step.inputs[step.input_data[0]]
    if data.type == "mltable" or data.made_by is not None:
        return False
    inside = data.path.rstrip("/") + "/"
    written = [output.path for each in job.steps for output in each.outputs.values()]
    return not any(f"{path.rstrip('/')}/".startswith(inside) for path in [*written, str(run_directory)])
