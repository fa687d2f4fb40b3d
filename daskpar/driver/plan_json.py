"""`daskpar plan --json`: what would run, as values of a shape that stays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from daskpar.datastores import Written
from daskpar.driver.plan_text import (
    PlannedJob,
    literal_text,
    mini_batches,
    planned_job,
    shown_settings,
    shown_texts,
)
from daskpar.environments.environment_choices import WrittenHow
from daskpar.jobspec.model import CommandStep, ParallelStep, Step


def plan_json(
    spec: Path,
    overrides: Mapping[str, str],
    datastores: Mapping[str, Written],
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
) -> tuple[dict[str, object], list[str]]:
    """The plan as values, and why steps in it can't be planned. Runs no user code, leaves nothing behind.

    `RUN` in a path stands for the run directory.
    """
    with planned_job(spec, overrides, datastores, components, assets, environments) as planned:
        job = planned.job
        value: dict[str, object] = {
            "job": job.name,
            "spec": str(job.spec),
            "warnings": [asdict(warning) for warning in planned.warnings],
            "notes": list(job.notes),
            "steps": [_step(step, planned) for step in job.steps],
        }
        return value, [planned.readable(trouble) for trouble in planned.troubles]


def _step(step: Step, planned: PlannedJob) -> dict[str, object]:
    settings = {**shown_texts(step), **shown_settings(step)}
    value: dict[str, object] = {
        "name": step.name,
        "kind": "command" if isinstance(step, CommandStep) else "parallel",
        "where": step.where,
        "needs": list(step.needs),
        "inputs": {
            name: {
                "type": data.type,
                "mode": data.mode,
                "path": planned.readable(str(data.path)),
                "made_by": data.made_by,
            }
            if data.is_data
            else {"value": literal_text(data)}
            for name, data in step.inputs.items()
        },
        "outputs": {
            name: {"type": output.type, "path": planned.readable(str(output.path))}
            for name, output in step.outputs.items()
        },
        "settings": {
            name: {"value": _plain(each, planned), "source": step.sources.get(name, "default")}
            for name, each in settings.items()
        },
    }
    if isinstance(step, ParallelStep):
        found = mini_batches(step, planned.run, planned.places, planned.troubles)
        value["mini_batches"] = (
            {
                "planned": None,
                "items": None,
                "size_bytes": None,
                "why": planned.readable(found),
                "warnings": [],
            }
            if isinstance(found, str)
            else {
                "planned": found.count,
                "items": found.items,
                "size_bytes": found.size_bytes,
                "why": "",
                "warnings": [planned.readable(str(warning)) for warning in found.warnings],
            }
        )
        value["replaces"] = (
            step.append_row_to if step.append_row_to and os.path.isfile(step.append_row_to) else None
        )
    return value


def _plain(value: object, planned: PlannedJob) -> object:
    """A setting as JSON has it."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each, planned) for each in value]
    return planned.readable(str(value))
