"""The secrets of a job when it starts: those in the driver's environment are there, and none is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator

from daskpar import masking
from daskpar.errors import UsageError
from daskpar.jobspec.env_references import names_in, resolved
from daskpar.jobspec.model import CommandStep, PipelineJob, Step


def take_secrets(job: PipelineJob) -> None:
    """Hide the job's secrets in all that is shown from now on.

    Raises UsageError where `${env:NAME}` names a variable that is not set.
    """
    for step in job.steps:
        missing = [name for name in names_in(_texts(step)) if name not in os.environ]
        if missing:
            listed = " and ".join(f"${{env:{name}}}" for name in missing)
            raise UsageError(
                f"step {step.name} ({step.where}) takes {listed} from the environment, where there is no "
                f"{' and no '.join(missing)}: `export {missing[0]}=...`, then try again. A run that goes on "
                "needs the value again: it is written down nowhere."
            )
    hide_secrets(job)


def hide_secrets(job: PipelineJob) -> None:
    """Hide what looks like a secret, or comes from the environment, wherever it is shown or written."""
    named: list[tuple[str, object]] = [(name, given.value) for name, given in job.inputs.items()]
    for step in job.steps:
        named += step.environment_variables.items()
        named += [(name, given.value) for name, given in step.inputs.items()]
        values = (os.environ.get(name, "") for name in names_in(_texts(step)))
        # A path that is there (${env:HOME}) is no secret, and would be missed in every message.
        masking.remember(value for value in values if not os.path.exists(value))
    texts = [value for name, value in named if isinstance(value, str) and masking.is_secret(name)]
    there = (text for text in texts if set(names_in([text])) <= os.environ.keys())
    masking.remember(resolved(text, os.environ) for text in there)


def _texts(step: Step) -> Iterator[str]:
    """Where references are replaced."""
    yield from step.environment_variables.values()
    if isinstance(step, CommandStep):
        yield from step.variables.values()
    else:
        yield from step.arguments
