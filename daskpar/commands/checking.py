"""The commands that look at a spec and run nothing of it: `validate`, `plan` and `schema`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.commands.arguments import number, spec_file, spec_options
from daskpar.commands.output import report, say, say_json, write
from daskpar.errors import JobFailed, Problem, SpecError, UsageError
from daskpar.reports.wording import counted

if TYPE_CHECKING:
    from daskpar.driver.measured_step import Measured


def validate(arguments: argparse.Namespace) -> int:
    """Check a spec and say every mistake."""
    from daskpar import pipeline

    file, options = spec_file(arguments), spec_options(arguments)
    if arguments.json:
        return _validate_json(str(file), options)
    warnings = pipeline.validate(file, **options)
    for warning in warnings:
        say(f"warning: {warning}")
    warned = f", {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
    say(f"{arguments.spec}: no mistakes found{warned}")
    return 0


def _validate_json(file: str, options: dict[str, dict[str, str]]) -> int:
    from daskpar import pipeline

    mistakes: tuple[Problem, ...] = ()
    try:
        warnings, code = pipeline.validate(file, **options), 0
    except SpecError as error:
        mistakes, warnings, code = error.problems, error.warnings, error.exit_code
    say_json(
        {
            "spec": os.path.abspath(file),
            "valid": not mistakes,
            "mistakes": [asdict(problem) for problem in mistakes],
            "warnings": [asdict(problem) for problem in warnings],
        }
    )
    return code


def plan(arguments: argparse.Namespace) -> int:
    """Show what would run."""
    file, options = spec_file(arguments), spec_options(arguments)
    wanted = number(arguments.measure, "--measure")
    if wanted is not None and (arguments.json or wanted < 1):
        raise UsageError("--measure takes a number of mini-batches, at least 1, and gives no --json")
    unmeasured: list[str] = []
    if arguments.json:
        from daskpar.driver.plan_json import plan_json

        value, troubles = plan_json(file, **options)
        say_json(value)
    else:
        from daskpar.driver.plan_text import plan_text

        measured = None if wanted is None else _measured(file, wanted, options)
        text, troubles = plan_text(file, **options, measured=measured)
        say(text)
        unmeasured = [seen.trouble for seen in (measured or {}).values() if seen.trouble]
    for trouble in troubles:
        report(UsageError(trouble))
    for trouble in unmeasured:
        report(JobFailed(trouble))
    return UsageError.exit_code if troubles else JobFailed.exit_code if unmeasured else 0


def _measured(file: Path, wanted: int, options: dict[str, dict[str, str]]) -> dict[str, Measured]:
    from daskpar.driver.measure import measure

    say(f"measuring {counted(wanted, 'mini-batch')} of each step that can begin ...", sys.stderr)
    return measure(file, wanted, **options)


def schema(arguments: argparse.Namespace) -> int:
    """Print the JSON schema of a spec."""
    from daskpar.jobspec.json_schema import spec_schema

    write(json.dumps(spec_schema(), indent=2) + "\n", sys.stdout)
    return 0
