"""How a run ended, as a value for who started it: status, counts, outputs, and where its folders are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.datastores import StorageOptions, known_options, own_options
from daskpar.errors import UsageError, nearest
from daskpar.locations import is_url
from daskpar.paths import StepPaths, step_path
from daskpar.results import Counts, Status, error_of
from daskpar.rundir.run_directory import RunDirectory
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import dask.bag
    import dask.dataframe
    import pandas

    from daskpar.datastores import Written
    from daskpar.reports.run_plot import RunPlot
    from daskpar.reports.run_tables import RunTables
    from daskpar.results import StepResult


@frozen(kw_only=True)
class Run:
    """One execution of a pipeline job, ended: what `daskpar.run` and `daskpar.resume` return."""

    path: Path
    """The run directory."""
    status: Status
    """`completed`, `partial`, `failed`, `interrupted` or `lost`; compares equal to these texts."""
    reason: str
    """One sentence; empty when completed."""
    seconds: float
    steps: Mapping[str, StepResult]
    """Step name -> status, reason, counts, seconds, outputs, first failure."""
    outputs: Mapping[str, str]
    """Path of every output: `STEP.NAME` of the steps', and `NAME` of the pipeline's own (not of a run that
    was left alone). The rows of a partial step are in a file of the run directory.
    """
    summary: str
    """What the terminal shows at the end."""

    def __post_init__(self) -> None:
        # No field: it may have secrets, which are neither shown nor pickled.
        vars(self)["_storage"] = known_options()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_storage"}

    @property
    def exit_code(self) -> int:
        """Of the command line: 0 completed, 1 failed, 3 infrastructure lost, 4 partial, 130 interrupted."""
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
        """This run; raises JobFailed, InfrastructureLost, Interrupted or PartialRun where it did not
        complete.
        """
        if (error := error_of(self.status, f"{self.reason}\n{self.summary}")) is not None:
            raise error
        return self

    def to_pandas(self, step: str | None = None) -> pandas.DataFrame:
        """The rows that a completed step has appended (append_row_to), in mini-batch order.

        `step` may be left out where only one has rows. Parquet has the types that were returned, JSON lines
        those of JSON, CSV and text what pandas reads. Text has the columns of its header, or of the
        DataFrames that `run()` returned, where all had the same; else each line is one text in the column
        `line`. Raises UsageError
        where there are no rows, or those of several steps; RunDirectoryError where the file is gone.
        """
        from daskpar.driver.read_rows import read_pandas

        with self._stores():
            return read_pandas(self.path, step)

    def to_dask(self, step: str | None = None) -> dask.dataframe.DataFrame:
        """The same as a Dask DataFrame: lazy for Parquet, a partition for each row group; the other formats
        are read at once.
        """
        from daskpar.driver.read_rows import read_dask

        with self._stores():
            return read_dask(self.path, step)

    def to_bag(self, step: str | None = None) -> dask.bag.Bag:
        """The same as a lazy Dask bag: a mapping for each row, a text for each line of text without a header.

        JSON lines keep what each row has, whatever others have.
        """
        from daskpar.driver.read_rows import read_bag

        with self._stores():
            return read_bag(self.path, step)

    def mini_batches(self, step: str | None = None) -> pandas.DataFrame:
        """A row for each mini-batch that was planned, of all steps or of one.

        Columns: `step`, `index`, `name`, `items`, `failed_items`, `outcome` (`succeeded`, `failed`, `empty`,
        `unfinished`), `reason` (why the last try failed: `EXCEPTION`, `TIMEOUT`, ...), `tries`,
        `seconds_loading`, `seconds_running`, `started` (UTC), `node`, `processor` (of the last try), and what
        the name is made of: `files` below the input, which `rows` of them, or `keys`.
        Raises UsageError for a step that the run does not have.
        """
        return self._tables(step).mini_batches(step)

    def failures(self, step: str | None = None) -> pandas.DataFrame:
        """A row for each mini-batch that failed for good, of all steps or of one, the earliest first.

        Columns: `step`, `index`, `name`, `items`, `failed_items`, `reason`, `message`, `traceback`, `tries`,
        `started`, `node`, `processor`, `log`. Messages are kept of the first 10,000, tracebacks of 100. What
        the mini-batches hold, item by item, is in the logs' `failed_mini-batches.csv`.
        """
        return self._tables(step).failures(step)

    def plot(self, step: str | None = None) -> RunPlot:
        """What each processor ran when, and how long calls took; the slowest mini-batches are named.

        Shown by a notebook, without a network; elsewhere `.save("plot.html")`, `.show()` in a browser, or
        `.figure`, a figure of Bokeh. `step`: the first with mini-batches where none is named.
        """
        from daskpar.reports.run_plot import plot_of

        return plot_of(self._tables(step), step)

    def _stores(self) -> AbstractContextManager[None]:
        """Within, URLs are opened as the run has opened them, whatever later ones have given for the same."""
        storage: StorageOptions | None = vars(self).get("_storage")
        return nullcontext() if storage is None else own_options(storage)

    def _tables(self, step: str | None) -> RunTables:
        """What the run directory says now."""
        from daskpar.reports.run_tables import RunTables

        tables = RunTables(self.path)
        names = [*self.steps, *(found.name for found in tables.steps)]
        if step is not None and step not in names:
            hint = nearest(step, names) or f"Its steps: {', '.join(names) or 'none'}."
            raise UsageError(f"The run {self.path} has no step {step!r}. {hint}")
        return tables

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        from daskpar.reports.run_card import run_card

        return run_card(
            self.path,
            status=self.status,
            reason=self.reason,
            seconds=self.seconds,
            results=list(self.steps.values()),
        )

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


def completed_before(directory: RunDirectory, datastores: Mapping[str, Written] | None = None) -> Run:
    """A completed run that is left alone; `datastores`: those of the call that has found it."""
    from daskpar.named_places import all_datastores
    from daskpar.reports.summary import summary_of_run

    states = [state for folder in directory.steps() if (state := folder.state()) is not None]
    results = {state.step: state.result() for state in states}
    if any(is_url(path) for result in results.values() for path in result.outputs.values()):
        all_datastores(datastores or {})
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
        outputs=outputs_of(results, _outputs_of_job(directory, results)),
        summary=f"This run is completed already; nothing is left to do.\n{text}",
    )


def _outputs_of_job(directory: RunDirectory, results: Mapping[str, StepResult]) -> dict[str, str]:
    """Output of the pipeline -> path, by the effective spec; none where that can't be read."""
    import yaml

    from daskpar.masking import hidden

    try:
        spec = yaml.safe_load(directory.effective_spec.read_text(encoding="utf-8"))
        written = {str(name): str(output["path"]) for name, output in spec["outputs"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return {}
    # The file has no secrets, such as those of a URL; the steps know the whole path.
    whole = {hidden(path): path for result in results.values() for path in result.outputs.values()}
    return {name: whole.get(path, path) for name, path in written.items()}
