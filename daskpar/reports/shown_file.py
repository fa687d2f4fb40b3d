"""`shown.json` of a run directory: what a report shows and no other file has, kept for whoever reads it.

`run_facts` reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daskpar import atomic
from daskpar.paths import RunPaths
from daskpar.printable import printable_tree
from daskpar.reports.step_facts import RunFacts, StepFacts


def save_shown(run: RunFacts) -> None:
    """Write down what a later report needs."""
    value = {
        "needs": {name: list(needs) for name, needs in run.needs.items()},
        "notes": list(run.notes),
        "warnings": [list(warning) for warning in run.warnings],
        "not_begun": {
            step.name: [step.status, step.reason]
            for step in run.steps.values()
            if step.ended and not step.started
        },
        "steps": {step.name: _of_step(step) for step in run.steps.values() if step.started},
    }
    atomic.replace_json(
        RunPaths(Path(run.directory)).shown, printable_tree(value, 70_000), mode=atomic.OWNER_FILE
    )


def _of_step(step: StepFacts) -> dict[str, Any]:
    value: dict[str, Any] = {
        "sources": [list(row) for row in step.sources],
        "settings": {name: str(value) for name, value in step.settings.items()},
        "nodes": step.nodes,
        "processors": step.processors,
    }
    if step.ended:
        from daskpar.reports.facts import failures, init_failures

        value |= {
            "ended": step.ended,
            "inits": [[one.node, one.processor, one.start, one.end, one.well] for one in step.inits],
            "failures": failures(step),
            "other_failures": step.kinds.others,
            "init_failures": init_failures(step),
            "gpus": step.gpus.rows(),
        }
    return value
