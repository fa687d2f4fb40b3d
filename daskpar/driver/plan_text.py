"""What `plan` shows: every effective value and where it came from, and the mini-batches that would run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from daskpar.chosen_python import our_python
from daskpar.datastores import Written, own_options
from daskpar.engine.rules.clocks import progress_timeout
from daskpar.engine.rules.gpu_shares import shares_of_step
from daskpar.errors import DaskparError, Problem
from daskpar.jobspec.given_spec import GivenSpec
from daskpar.jobspec.input_access import Access
from daskpar.jobspec.model import CommandStep, Input, ParallelStep, PipelineJob, Step
from daskpar.jobspec.program_arguments import join_arguments
from daskpar.jobspec.row_formats import FILE_ENDINGS
from daskpar.jobspec.second_copies import backs_up
from daskpar.masking import hidden, hidden_arguments, hidden_command, hidden_value
from daskpar.outputs.row_folder import part_files
from daskpar.processor.gpus.gpu_readings import DEVICES, gpus_here
from daskpar.processor.resource_usage import cores
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.batches.plan import PlanSummary
    from daskpar.driver.measured_step import Measured
    from daskpar.environments.environment_choices import WrittenHow

SHOWN = (
    "instance_count",
    "max_concurrency_per_instance",
    "mini_batch_size",
    "partition_keys",
    "max_retries",
    "timeout",
    "mini_batch_error_threshold",
    "error_threshold",
    "allowed_failed_percent",
    "task_overhead_timeout",
    "progress_update_timeout",
    "first_task_creation_timeout",
    "init_timeout",
    "job_timeout",
    "isolate_failed_items",
    "isolate_at_most",
    "failed_items_to",
    "logging_level",
    "append_row_to",
    "append_row_format",
    "append_row_columns",
    "append_row_part_size",
    "append_row_join",
    "append_row_index",
    "append_row_dataframe_header",
    "copy_logs_to_parent",
    "resource_monitor_interval",
    "processor_memory",
    "max_mini_batches_per_processor",
    "max_processor_growth",
    "concurrent_mini_batches",
    "amlbi_async_mode",
    "rate_limit",
    "rate_limit_patience",
    "gpus_per_processor",
    "fetch_cache",
    "backup",
    "allow_empty",
    "any_number_of_rows",
    "nice",
    "profiling_module",
    "rank_mini_batch_count",
)


def shown_settings(step: Step) -> dict[str, object]:
    """Setting -> effective value, in the article's order, under the names that `sources` has."""
    if isinstance(step, CommandStep):
        return {"command": hidden_command(step.command), "limits.timeout": step.timeout}
    own = step.settings
    values: dict[str, object] = {
        **asdict(own),
        "instance_count": step.instance_count,
        "max_concurrency_per_instance": step.max_concurrency_per_instance or _processors_here(step),
        "mini_batch_size": _size_text(step),
        "partition_keys": list(step.partition_keys) or None,
        "append_row_to": step.append_row_to,
        "append_row_part_size": own.append_row_part_size if step.append_row_folder else None,
        "append_row_join": ", ".join(own.append_row_join),
        "backup": backs_up(step),
        "concurrent_mini_batches": step.in_flight or own.concurrent_mini_batches or 1,
        "progress_update_timeout": progress_timeout(
            chosen=own.progress_update_timeout,
            run=own.timeout,
            overhead=own.task_overhead_timeout,
            init=own.init_timeout,
        ),
    }
    return {name: values[name] for name in SHOWN}


def _processors_here(step: ParallelStep) -> str:
    nodes = max(1, step.instance_count)
    shares = shares_of_step(step)
    if seen := shares.seen(gpus_here()):
        number = shares.processors(len(seen) // nodes)
        source = "CUDA_VISIBLE_DEVICES" if "CUDA_VISIBLE_DEVICES" in os.environ else DEVICES
        source = "the step's CUDA_VISIBLE_DEVICES" if shares.visible is not None else source
        dealt = ", ".join(text or "none" for text in shares.dealt(seen, number))
        return f"{number} here (GPUs of each: {dealt}; from {source})"
    return f"{max(1, cores() // nodes)} here (cores / instance_count, or one for each GPU)"


def _size_text(step: ParallelStep) -> str:
    """The mini-batch size as a user would write it."""
    if step.partition_keys:
        return "by partition_keys"
    return step.by_size.written if step.by_size.number else "1 file, or 1 MB of a table"


@frozen(kw_only=True)
class PlannedJob:
    """A job as `plan` sees it."""

    job: PipelineJob
    scratch: str
    """The folder in which it is planned; `RUN` below it stands for the run directory."""
    places: Mapping[str, str]
    """Datastores."""
    warnings: tuple[Problem, ...]
    """Those of the spec, and packages that its scripts lack here."""
    troubles: list[str]
    """Why steps can't be planned, one sentence each."""

    @property
    def run(self) -> Path:
        """What stands for the run directory."""
        return Path(self.scratch) / "RUN"

    def readable(self, text: str) -> str:
        """The text with `RUN` for the run directory."""
        return text.replace(str(self.run), "RUN")


@contextmanager
def planned_job(
    spec: Path | GivenSpec,
    overrides: Mapping[str, str],
    datastores: Mapping[str, Written],
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
) -> Iterator[PlannedJob]:
    """The job of a spec, to be planned while this lasts. Runs no user code and leaves nothing behind."""
    from daskpar.driver.job_secrets import hide_secrets
    from daskpar.driver.named_tables import table_problems
    from daskpar.driver.options import Options, mounts_inputs
    from daskpar.driver.remote_inputs import remote_troubles
    from daskpar.driver.step_pythons import with_pythons
    from daskpar.environments.environment_check import differences
    from daskpar.errors import SpecError
    from daskpar.jobspec.load import load_job
    from daskpar.jobspec.script_imports import missing_imports
    from daskpar.named_places import Assets, Components, all_datastores

    with own_options(), tempfile.TemporaryDirectory(prefix="daskpar-plan-") as scratch:
        places = all_datastores(datastores)
        job = load_job(
            spec,
            overrides=overrides,
            run_directory=Path(scratch) / "RUN",
            datastores=places,
            components=Components(components or {}),
            assets=Assets(assets or {}),
            mounts=mounts_inputs(Options()),
        )
        if problems := table_problems(job):
            raise SpecError(problems, job.warnings)
        job = with_pythons(job, environments)
        hide_secrets(job)
        yield PlannedJob(
            job=job,
            scratch=scratch,
            places=places,
            warnings=(*job.warnings, *missing_imports(job), *differences(job)),
            troubles=[str(error) for error in remote_troubles(job)],
        )


def plan_text(
    spec: Path | GivenSpec,
    overrides: Mapping[str, str],
    datastores: Mapping[str, Written],
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
    measured: Mapping[str, Measured] | None = None,
) -> tuple[str, list[str]]:
    """The whole answer of `daskpar plan`, and why steps in it can't be planned.

    Runs no user code and leaves nothing behind. `measured`: step -> what `measure` has seen of it.
    """
    with planned_job(spec, overrides, datastores, components, assets, environments) as planned:
        job, troubles = planned.job, planned.troubles
        shown = spec.label if isinstance(spec, GivenSpec) else job.spec
        lines = [f"job {job.name} ({shown})"]
        lines += [f"  {warning}" for warning in planned.warnings]
        lines += [f"  note: {note}" for note in job.notes]
        for step in job.steps:
            seen = (measured or {}).get(step.name)
            lines += ["", *_step_lines(step, planned.run, planned.places, troubles, seen)]
            if measured is not None and seen is None and isinstance(step, ParallelStep):
                lines.append(f"  not measured: step {step.needs[0]} has to run first")
        return planned.readable("\n".join(lines)), [planned.readable(trouble) for trouble in troubles]


def _step_lines(
    step: Step,
    run: Path,
    datastores: Mapping[str, str],
    troubles: list[str],
    measured: Measured | None,
) -> list[str]:
    kind = "command" if isinstance(step, CommandStep) else "parallel"
    after = f", after {', '.join(step.needs)}" if step.needs else ""
    lines = [f"step {step.name}: {kind}{after} ({step.where})"]
    if measured is not None and measured.summary is not None:
        lines.append(f"  {_summary_text(measured.summary)}")
    elif isinstance(step, ParallelStep):
        lines.append(f"  {_mini_batches(step, run, datastores, troubles)}")
    if measured is not None:
        from daskpar.driver.measured_step import measured_lines

        lines += [f"  {line}" for line in measured_lines(measured)]
    lines += [f"  {name}: {value}  {source}".rstrip() for name, value, source in port_rows(step)]
    if isinstance(step, ParallelStep) and step.append_row_to and os.path.isfile(step.append_row_to):
        lines.append(f"  the file at {step.append_row_to} is replaced when the rows are complete")
    elif isinstance(step, ParallelStep) and step.append_row_to and step.append_row_folder:
        name = f"part-00000{FILE_ENDINGS[step.settings.append_row_format]}"
        there = " (those that are there are replaced)" if part_files(step.append_row_to) else ""
        lines.append(f"  rows go to part files in {step.append_row_to}, {name} and so on{there}")
    rows = setting_rows(step)
    width = max(len(name) for name, _, _ in rows)
    for name, value, source in rows:
        text = indent(value, " " * (width + 4)).lstrip()  # a command may have several lines
        lines.append(f"  {name:<{width}}  {text:<12}  {source}")
    return lines


Row = tuple[str, str, str]
"""Name, value and where the value came from."""


def shown_rows(step: Step) -> tuple[Row, ...]:
    """All that `plan` shows of a step, without its mini-batches; secrets are hidden."""
    return tuple(
        (name, hidden(value), source) for name, value, source in [*port_rows(step), *setting_rows(step)]
    )


def port_rows(step: Step) -> list[Row]:
    """The inputs and outputs of a step."""
    rows = []
    for name, data in step.inputs.items():
        made = f" (made by step {data.made_by})" if data.made_by else ""
        mode = f"{data.mode} (default)" if step.sources.get(f"inputs.{name}.mode") == "default" else data.mode
        value = f"{data.type} {mode} {data.path}{made}" if data.is_data else literal_text(data)
        seen = f", {words}" if (words := Access(data.access).in_words) else ""
        rows.append((f"input {name}", f"{value}{seen}", data.where))
    for name, output in step.outputs.items():
        where = output.where if output.chosen_by_user else "default"
        uploaded = ", filled locally and uploaded" if output.seen else ""
        rows.append((f"output {name}", f"{output.type} {output.path}{uploaded}", where))
    return rows


def setting_rows(step: Step) -> list[Row]:
    """The settings of a step."""
    settings = {**shown_texts(step), **shown_settings(step)}
    return [(name, _value(setting), step.sources.get(name, "default")) for name, setting in settings.items()]


def literal_text(data: Input) -> str:
    """A literal as it may be shown."""
    return repr(hidden_value(data.name, data.value) if isinstance(data.value, str) else data.value)


def shown_texts(step: Step) -> dict[str, object]:
    """What a step runs, and where."""
    texts: dict[str, object] = {"code": step.code}
    if isinstance(step, ParallelStep):
        arguments = join_arguments(hidden_arguments(step.arguments))
        texts |= {"entry_script": step.entry_script, "program_arguments": arguments}
    named = step.environment_variables.items()
    variables = join_arguments([f"{name}={hidden_value(name, value)}" for name, value in named])
    python = step.python.in_words if step.python is not None else our_python()
    return {**texts, "environment_variables": variables, "python": python, "compute": step.compute}


def _value(value: object) -> str:
    return "-" if value is None or value == "" else str(value).strip()


def _mini_batches(step: ParallelStep, run: Path, datastores: Mapping[str, str], troubles: list[str]) -> str:
    found = mini_batches(step, run, datastores, troubles)
    return found if isinstance(found, str) else _summary_text(found)


def mini_batches(
    step: ParallelStep, run: Path, datastores: Mapping[str, str], troubles: list[str]
) -> PlanSummary | str:
    """The plan of a step in figures, or why there is none yet; a mistake is added to `troubles`."""
    from daskpar.batches.grouping import execute_here
    from daskpar.engine.planning import make_plan, open_split

    if step.settings.rank_mini_batch_count == 0:
        waits = [step.inputs[name] for name in step.input_data if step.inputs[name].made_by is not None]
        if data := next(iter(waits), None):
            return f"mini-batches are known once step {data.made_by} has written {data.name!r}"
    try:
        opened = None if step.settings.rank_mini_batch_count else open_split(step, datastores)
        return make_plan(step, run / "steps" / step.name / "plan", opened=opened, execute=execute_here)
    except DaskparError as error:
        troubles.append(f"step {step.name} ({step.where}): {error}")
        return f"mini-batches can't be planned: {error}"


def _summary_text(summary: PlanSummary) -> str:
    text = f"{summary.count} mini-batches"
    if summary.items is not None:
        text += f" of {summary.items} items in all"
    if summary.size_bytes is not None:
        each = summary.size_bytes / max(1, summary.count)
        text += f", {summary.size_bytes} bytes ({each:.0f} each on average)"
    return "\n  ".join([text, *(f"warning: {warning}" for warning in summary.warnings)])
