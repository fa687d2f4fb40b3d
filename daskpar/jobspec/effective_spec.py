"""Writes a job as the effective spec: plain YAML values in words of the format, nothing left to look up.

What looks like a secret is left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from daskpar.jobspec.model import CommandStep, DriverSettings, Input, Output, ParallelStep, PipelineJob
from daskpar.jobspec.program_arguments import join_arguments
from daskpar.masking import hidden, hidden_arguments, hidden_command, hidden_value

_ATTRIBUTES = frozenset(
    {"error_threshold", "mini_batch_error_threshold", "max_retries", "timeout", "logging_level"}
)


def effective_job(job: PipelineJob) -> PipelineJob:
    """The job with its `effective` mapping."""
    mapping: dict[str, object] = {"type": "pipeline", "name": job.name}
    mapping |= {
        key: text
        for key, text in (("display_name", job.display_name), ("description", job.description))
        if text
    }
    mapping["settings"] = {"continue_on_step_failure": job.continue_on_step_failure}
    mapping["inputs"] = _inputs(job.inputs)
    mapping["outputs"] = {name: _output(value) for name, value in job.outputs.items()}
    mapping["jobs"] = {
        step.name: _parallel(step) if isinstance(step, ParallelStep) else _command(step) for step in job.steps
    }
    return replace(job, effective=mapping)


def _input(value: Input) -> object:
    if not value.is_data:
        return hidden_value(value.name, value.value) if isinstance(value.value, str) else value.value
    path = hidden(value.path)
    return {"type": value.type, **({"mode": value.mode} if value.mode else {}), "path": path}


def _inputs(inputs: Mapping[str, Input]) -> dict[str, object]:
    return {name: _input(value) for name, value in inputs.items() if value.is_data or value.value is not None}


def _output(value: Output) -> dict[str, object]:
    return {"type": value.type, "mode": value.mode, "path": hidden(value.path)}


def _ports(step: ParallelStep | CommandStep) -> dict[str, object]:
    ports: dict[str, object] = {
        "inputs": _inputs(step.inputs),
        "outputs": {name: _output(value) for name, value in step.outputs.items()},
    }
    if step.environment_variables:
        ports["environment_variables"] = {
            name: hidden_value(name, value) for name, value in step.environment_variables.items()
        }
    if step.compute:
        ports["compute"] = step.compute
    return ports


def _command(step: CommandStep) -> dict[str, object]:
    mapping: dict[str, object] = {"type": "command", **_ports(step), "command": hidden_command(step.command)}
    if step.code:
        mapping["code"] = str(step.code)
    if step.timeout is not None:
        mapping["limits"] = {"timeout": step.timeout}
    return mapping


def _parallel(step: ParallelStep) -> dict[str, object]:
    settings = step.settings
    task: dict[str, object] = {
        "type": "run_function",
        "entry_script": step.entry_script,
        "program_arguments": join_arguments(hidden_arguments(step.arguments)),
    }
    if step.code:
        task["code"] = str(step.code)
    if step.append_row_to:
        task["append_row_to"] = hidden(step.append_row_to)
    mapping: dict[str, object] = {"type": "parallel", **_ports(step)}
    mapping["input_data"] = ", ".join("${{inputs." + name + "}}" for name in step.input_data)
    if step.by_size.number:
        mapping["mini_batch_size"] = step.by_size.written
    if step.partition_keys:
        mapping["partition_keys"] = list(step.partition_keys)
    mapping["resources"] = {"instance_count": step.instance_count}
    if step.max_concurrency_per_instance is not None:
        mapping["max_concurrency_per_instance"] = step.max_concurrency_per_instance
    mapping |= {
        "error_threshold": settings.error_threshold,
        "mini_batch_error_threshold": settings.mini_batch_error_threshold,
        "retry_settings": {"max_retries": settings.max_retries, "timeout": settings.timeout},
        "logging_level": settings.logging_level,
        "driver": _driver(settings),
        "task": task,
    }
    return mapping


def _driver(settings: DriverSettings) -> Mapping[str, object]:
    """Settings that only program arguments set: not read from YAML, written down to be seen."""
    return {
        entry.name: getattr(settings, entry.name)
        for entry in fields(settings)
        if entry.name not in _ATTRIBUTES
    }
