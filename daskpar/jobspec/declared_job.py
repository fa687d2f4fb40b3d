"""A job and its steps as they are declared: node and component joined, bindings not filled in yet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from daskpar.jobspec.ports import InputPort, OutputPort
from daskpar.jobspec.problems import Place
from daskpar.jobspec.yaml_source import Value
from daskpar.value_classes import frozen

PIPELINE = "pipeline"
STEP_NAME_CHARACTERS = 200
"""Names of files may have 255 bytes, and what is added to the name of a step needs some."""
STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@frozen(kw_only=True)
class DeclaredStep:
    """One step as declared."""

    name: str
    """Its own after those of the pipelines that it is nested in: `outer.inner`."""
    kind: str
    """`parallel`, `command`, or `pipeline` for a nested pipeline."""
    place: Place
    tree: Value
    """The node's mapping over its component's."""
    inputs: Mapping[str, InputPort]
    outputs: Mapping[str, OutputPort]
    overrides: Mapping[str, Value] = field(default_factory=dict)
    """Settings from the command line."""
    parent: DeclaredStep | None = field(default=None, repr=False, compare=False)
    """The nested pipeline that holds it; None: the job itself."""
    steps: Mapping[str, DeclaredStep] = field(default_factory=dict, repr=False, compare=False)
    """Of a nested pipeline: its steps, by their own names."""


@frozen(kw_only=True)
class DeclaredJob:
    """A whole job as declared."""

    spec: Path
    name: str
    tree: Value
    inputs: Mapping[str, InputPort]
    outputs: Mapping[str, OutputPort]
    steps: Mapping[str, DeclaredStep]
    """All that run, by full name; nested pipelines are not among them."""
    own_steps: Mapping[str, DeclaredStep]
    """The job's own, by name, nested pipelines included."""
    staged_paths: frozenset[str] = frozenset()
    """Where inputs that were passed from Python are going to be staged: nothing may be there yet."""
    model_input: str = ""
    """The input of its step that scripts find in the folder AZUREML_MODEL_DIR, as in a deployment; empty
    without.
    """

    @property
    def nested(self) -> tuple[DeclaredStep, ...]:
        """The nested pipelines, each before those in it."""
        return tuple(step for step in all_steps(self.own_steps) if step.kind == PIPELINE)


def all_steps(steps: Mapping[str, DeclaredStep]) -> Iterator[DeclaredStep]:
    """The steps and those in them, a nested pipeline before its own."""
    for step in steps.values():
        yield step
        yield from all_steps(step.steps)
