"""Checks what a step has at a URL: inputs are fetched, and nothing is copied to one."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

from daskpar.jobspec import bindings
from daskpar.jobspec.declarations import DeclaredStep
from daskpar.jobspec.input_access import shown_paths
from daskpar.jobspec.model import Input, Output
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.scope import Scope
from daskpar.jobspec.yaml_source import texts
from daskpar.locations import is_url

_TEXTS = (("command",), ("task", "program_arguments"), ("environment_variables",))


def check_urls(
    scope: Scope,
    step: DeclaredStep,
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Output],
    rows: str | None = None,
) -> None:
    """Record a mistake for each output and text of the step that means a URL and can't be there.

    What can be there is an input, which nodes fetch, the file of appended `rows`, and whatever is of `mode:
    direct`, by which the user says that the script takes URLs.
    """
    for data in inputs.values():
        if data.is_fetched and data.path.lower().startswith("memory://"):
            what = f"the input {data.name!r} is at {data.path}, in the memory of one process."
            scope.problems.error(
                step.inputs[data.name].place, what, "Give a local path, or the URL of a store."
            )
    fetched = shown_paths(inputs)
    for output in outputs.values():
        holds_rows = rows is not None and output.path.rstrip("/") in (rows, posixpath.dirname(rows))
        if is_url(output.path) and output.mode != "direct" and not holds_rows:
            _refuse(
                scope.problems, f"the output {output.name!r}", output.path, step.outputs[output.name].place
            )
    for binding, place in _bound(step):
        reference = bindings.reference_of(binding)
        if reference is None or reference.scope != bindings.PARENT:
            continue
        found = scope.meaning(step, binding, place)
        if not isinstance(found, Input | Output) or not is_url(found.path) or found.mode == "direct":
            continue
        if found.path.rstrip("/") not in fetched:
            _refuse(scope.problems, f"what {binding} means", found.path, place)


def _bound(step: DeclaredStep) -> Iterator[tuple[bindings.Binding, Place]]:
    """The bindings in what reaches the script or command as text."""
    for value in filter(None, (step.tree.get(*keys) for keys in _TEXTS)):
        for text in texts(value):
            yield from ((binding, value.place) for binding in bindings.bindings_in(text))


def _refuse(problems: Problems, what: str, url: str, place: Place) -> None:
    hint = "Mount it and give the folder, or write mode: direct for code that opens URLs itself."
    problems.error(place, f"{what} is at {url}, and nothing is copied from or to a URL.", hint)
