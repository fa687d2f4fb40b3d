"""What the processors of a step are told: the settings of its spec, and where everything of it lies."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from daskpar.datastores import known_options
from daskpar.jobspec.call_rate import calls_per_second
from daskpar.jobspec.env_references import resolved, resolved_values
from daskpar.jobspec.model import ParallelStep
from daskpar.paths import StepPaths
from daskpar.processor.protocol import ProcessorSettings
from daskpar.rows.registry import format_of, store_of


def settings_of(
    step: ParallelStep, folder: StepPaths, plan: Path, *, run_id: str, tabular: bool
) -> ProcessorSettings:
    """What the processors of all nodes share, for the mini-batches of `plan`; makes their folders."""
    own, output_dir = step.settings, folder.outputs
    if step.append_row_to and "://" not in step.append_row_to:
        rows = Path(step.append_row_to)
        output_dir = rows if step.append_row_folder else rows.parent
    for needed in (folder.parts, folder.logs.root, folder.work, output_dir):
        needed.mkdir(parents=True, exist_ok=True)
    return ProcessorSettings(
        run_id=run_id,
        step=step.name,
        node=0,
        python=sys.executable,
        own_python=step.python.python if step.python is not None and step.python.container is None else "",
        container=step.python.container if step.python is not None else None,
        processors=1,
        entry_script=step.entry_script,
        code=str(step.code) if step.code is not None else None,
        arguments=tuple(resolved(argument, os.environ) for argument in step.arguments),
        environment=resolved_values(step.environment_variables, os.environ),
        plan=str(plan),
        store=store_of(folder),
        shared=str(folder.parts),
        logs=str(folder.logs.root),
        work=str(folder.work),
        working_dir=str(folder.path),
        output_dir=str(output_dir),
        logging_level=own.logging_level,
        append_row=step.append_row_to is not None,
        row_format=format_of(step),
        returns_measured=step.append_row_to is not None or own.error_threshold >= 0,
        any_number_of_rows=own.any_number_of_rows,
        tabular=tabular,
        max_retries=own.max_retries,
        run_timeout=own.timeout,
        overhead_timeout=own.task_overhead_timeout,
        init_timeout=own.init_timeout,
        memory_limit=own.processor_memory,
        most_mini_batches=own.max_mini_batches_per_processor,
        most_growth=own.max_processor_growth,
        nice=own.nice,
        gpus_each=own.gpus_per_processor,
        in_flight=step.in_flight,
        azure_async=own.amlbi_async_mode,
        rate_limit=None if own.rate_limit is None else calls_per_second(own.rate_limit),
        rate_patience=own.rate_limit_patience,
        profiling_module=own.profiling_module,
        resource_interval=own.resource_monitor_interval,
        session=secrets.token_hex(4),
        storage=known_options(),
    )
