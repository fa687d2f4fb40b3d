"""What became of a run, for whoever started it: its status, counts and outputs, and where everything about it
is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.errors import DaskparError, InfrastructureLost, Interrupted, JobFailed
from daskpar.results import Counts
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState

if TYPE_CHECKING:
    from daskpar.results import StepResult

EXIT_CODES = {
    "completed": 0,
    "failed": JobFailed.exit_code,
    "lost": InfrastructureLost.exit_code,
    "interrupted": Interrupted.exit_code,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a pipeline job, ended: what `daskpar.run` and `daskpar.resume` return."""

    path: Path
    """The run directory."""
    status: str
    """`completed`, `failed`, `interrupted` or `lost`."""
    reason: str
    """One sentence; empty when completed."""
    exit_code: int
    """Of the command line: 0 completed, 1 failed, 3 infrastructure lost, 130 interrupted."""
    seconds: float
    steps: Mapping[str, StepResult]
    """Step name -> status, reason, counts, seconds, outputs, first failure."""
    outputs: Mapping[str, str]
    """Path of every output: `STEP.NAME` of the steps', and `NAME` of the pipeline's own (not of a run that
    was left alone).
    """
    summary: str
    """What the terminal shows at the end."""

    @property
    def counts(self) -> Mapping[str, Counts]:
        """Step name -> counts of mini-batches and items."""
        return {name: result.counts for name, result in self.steps.items()}

    @property
    def logs(self) -> Mapping[str, Path]:
        """Step name -> root of its log tree."""
        return {name: self.path / "steps" / name / "logs" for name in self.steps}

    def check(self) -> Run:
        """This run, or JobFailed, InfrastructureLost or Interrupted with the reason when it did not complete."""
        kinds: dict[str, type[DaskparError]] = {
            "failed": JobFailed,
            "lost": InfrastructureLost,
            "interrupted": Interrupted,
        }
        if self.status in kinds:
            raise kinds[self.status](f"{self.reason}\n{self.summary}")
        return self

    def __repr__(self) -> str:
        return f"<Run {self.path.name}: {self.status}{', ' + self.reason if self.reason else ''}>"


def result_before(state: StepState) -> StepResult:
    """What an earlier process of this run has completed, as it is now."""
    from daskpar.results import StepResult

    return StepResult(
        step=state.step,
        status=state.status,
        counts=state.counts,
        seconds=state.seconds,
        outputs=state.outputs,
        exit_code=state.exit_code,
    )


def outputs_of(results: Mapping[str, StepResult], of_pipeline: Mapping[str, str]) -> dict[str, str]:
    """`STEP.NAME` -> path of every step's outputs, and `NAME` -> path of the pipeline's own."""
    return {
        **{
            f"{name}.{output}": path
            for name, result in results.items()
            for output, path in result.outputs.items()
        },
        **of_pipeline,
    }


def completed_before(directory: RunDirectory) -> Run:
    """A completed run that is left alone."""
    from daskpar.reports.summary import summary_of_run

    states = [state for folder in directory.steps() if (state := folder.state()) is not None]
    results = {state.step: result_before(state) for state in states}
    seconds = sum(state.seconds for state in states)
    text = summary_of_run(
        run_directory=directory.path,
        status="completed",
        reason="",
        seconds=seconds,
        results=list(results.values()),
    )
    return Run(
        path=directory.path,
        status="completed",
        reason="",
        exit_code=0,
        seconds=seconds,
        steps=results,
        outputs=outputs_of(results, {}),
        summary=f"This run is completed already; nothing is left to do.\n{text}",
    )
