"""Checks what a step has at a URL: inputs are fetched and outputs uploaded, other texts may mislead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from daskpar.jobspec import bindings
from daskpar.jobspec.declared_job import DeclaredStep
from daskpar.jobspec.input_access import shown_paths
from daskpar.jobspec.model import Input, Output
from daskpar.jobspec.output_uploads import NOT_WRITTEN, holds_rows
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

    What can be there is an input, which nodes fetch, an output, which is uploaded, the file of appended
    `rows`, and whatever is of `mode: direct`, by which the user says that the script takes URLs.
    """
    for data in inputs.values():
        if data.is_fetched and data.path.lower().startswith("memory://"):
            what = f"the input {data.name!r} is at {data.path}, in the memory of one process."
            scope.problems.error(
                step.inputs[data.name].place, what, "Give a local path, or the URL of a store."
            )
    fetched = shown_paths(inputs)
    for output in outputs.values():
        scheme = output.path.partition("://")[0].lower()
        if is_url(output.path) and scheme in NOT_WRITTEN and output.mode != "direct":
            what = f"the output {output.name!r} is at {output.path}, and nothing is written by {scheme}."
            hint = "Give the URL of an object store (s3://, abfs://, gs://) or a local path."
            scope.problems.error(step.outputs[output.name].place, what, hint)
        elif output.seen and scheme == "memory":
            what = f"the output {output.name!r} is at {output.path}, in the memory of one process."
            hint = "Give a local path or the URL of a store, or write mode: direct for code that opens URLs."
            scope.problems.error(step.outputs[output.name].place, what, hint)
    uploaded = {output.path for output in outputs.values() if output.seen}
    for binding, place in _bound(step):
        found = scope.meaning(step, binding, place)
        if not isinstance(found, Input | Output) or not is_url(found.path) or found.mode == "direct":
            continue
        if isinstance(found, Output) and holds_rows(found, rows) and found.path.rstrip("/") not in uploaded:
            scope.problems.warn(
                place,
                f"the script gets {found.path} for {binding}: that is where its appended rows go, which are "
                "uploaded when the step is complete.",
                "Return rows from run(); for files of the script's own, write another output.",
            )
        elif not {found.path, found.path.rstrip("/")} & {*uploaded, *fetched} and _is_of_others(binding):
            _refuse(scope.problems, f"what {binding} means", found.path, place)


def _is_of_others(binding: bindings.Binding) -> bool:
    """Whether it is no port of the step itself: these are checked as what they are."""
    reference = bindings.reference_of(binding)
    return reference is not None and reference.scope == bindings.PARENT


def _bound(step: DeclaredStep) -> Iterator[tuple[bindings.Binding, Place]]:
    """The bindings in what reaches the script or command as text."""
    for value in filter(None, (step.tree.get(*keys) for keys in _TEXTS)):
        for text in texts(value):
            for binding in bindings.bindings_in(text):
                reference = bindings.reference_of(binding)
                if reference is not None and reference.scope != bindings.SERVER:
                    yield binding, value.place


def _refuse(problems: Problems, what: str, url: str, place: Place) -> None:
    hint = "Mount it and give the folder, or write mode: direct for code that opens URLs itself."
    problems.error(place, f"{what} is at {url}, and nothing is copied from or to a URL.", hint)
