"""How a run ended, as a value for who started it: status, counts, outputs, and where its folders are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.paths import StepPaths, step_path
from daskpar.results import Counts, Status, error_of
from daskpar.rundir.run_directory import RunDirectory

if TYPE_CHECKING:
    import dask.dataframe
    import pandas

    from daskpar.results import StepResult


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a pipeline job, ended: what `daskpar.run` and `daskpar.resume` return."""

    path: Path
    """The run directory."""
    status: Status
    """`completed`, `failed`, `interrupted` or `lost`; compares equal to these texts."""
    reason: str
    """One sentence; empty when completed."""
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
    def exit_code(self) -> int:
        """Of the command line: 0 completed, 1 failed, 3 infrastructure lost, 130 interrupted."""
        return self.status.exit_code

    @property
    def counts(self) -> Mapping[str, Counts]:
        """Step name -> counts of mini-batches and items."""
        return {name: result.counts for name, result in self.steps.items()}

    @property
    def logs(self) -> Mapping[str, Path]:
        """Step name -> root of its log tree."""
        return {name: StepPaths(step_path(self.path, name)).logs.root for name in self.steps}

    @property
    def failed_items(self) -> Mapping[str, Path]:
        """Step name -> JSON lines of the items that failed in it; of the parallel steps that have run."""
        paths = {name: StepPaths(step_path(self.path, name)).failed_items for name in self.steps}
        return {name: path for name, path in paths.items() if path.is_file()}

    def check(self) -> Run:
        """This run; raises JobFailed, InfrastructureLost or Interrupted when it did not complete."""
        if (error := error_of(self.status, f"{self.reason}\n{self.summary}")) is not None:
            raise error
        return self

    def to_pandas(self, step: str | None = None) -> pandas.DataFrame:
        """The rows that a completed step has appended (append_row_to), in mini-batch order.

        `step` may be left out where only one has rows. Parquet has the types that were returned, JSON lines
        those of JSON, CSV what pandas reads. Text has columns only below a header
        (`--append_row_dataframe_header`); else each line is one text in the column `line`. Raises UsageError
        where there are no rows, or those of several steps; RunDirectoryError where the file is gone.
        """
        from daskpar.driver.read_rows import read_pandas

        return read_pandas(self.path, step)

    def to_dask(self, step: str | None = None) -> dask.dataframe.DataFrame:
        """The same as a Dask DataFrame: lazy for Parquet, a partition for each row group; the other formats
        are read at once.
        """
        from daskpar.driver.read_rows import read_dask

        return read_dask(self.path, step)

    def __repr__(self) -> str:
        return f"<Run {self.path.name}: {self.status}{', ' + self.reason if self.reason else ''}>"


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
    results = {state.step: state.result() for state in states}
    seconds = sum(state.seconds for state in states)
    text = summary_of_run(
        run_directory=directory.path,
        status=Status.COMPLETED,
        reason="",
        seconds=seconds,
        results=list(results.values()),
    )
    return Run(
        path=directory.path,
        status=Status.COMPLETED,
        reason="",
        seconds=seconds,
        steps=results,
        outputs=outputs_of(results, {}),
        summary=f"This run is completed already; nothing is left to do.\n{text}",
    )
