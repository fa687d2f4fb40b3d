"""The commands that look at a spec and run nothing of it: `validate`, `plan` and `schema`."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict

from daskpar.commands.arguments import spec_file, spec_options
from daskpar.commands.output import report, say, say_json, write
from daskpar.errors import Problem, SpecError, UsageError


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
    if arguments.json:
        from daskpar.driver.plan_json import plan_json

        value, troubles = plan_json(file, **options)
        say_json(value)
    else:
        from daskpar.driver.plan_text import plan_text

        text, troubles = plan_text(file, **options)
        say(text)
    for trouble in troubles:
        report(UsageError(trouble))
    return UsageError.exit_code if troubles else 0


def schema(arguments: argparse.Namespace) -> int:
    """Print the JSON schema of a spec."""
    import sys

    from daskpar.jobspec.json_schema import spec_schema

    write(json.dumps(spec_schema(), indent=2) + "\n", sys.stdout)
    return 0
