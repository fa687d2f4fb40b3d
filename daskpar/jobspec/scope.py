"""Says what the bindings of a job mean, and fills them in in the texts of a spec."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from daskpar.errors import nearest
from daskpar.jobspec import bindings
from daskpar.jobspec.bindings import OWN, PARENT, SERVER, Binding, BindingError, Reference
from daskpar.jobspec.declared_job import PIPELINE, DeclaredJob, DeclaredStep
from daskpar.jobspec.model import Input, Output
from daskpar.jobspec.ports import InputPort, OutputPort
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.spec_locations import DEFAULT_DATASTORES, RunLocations, SpecLocations
from daskpar.jobspec.yaml_source import Value


class Scope(ABC):
    """What every binding of a job means. Mistakes are recorded once; what can't be filled in is None.

    A binding may lead to an input or output, and these to further bindings: a subclass fills them in.
    """

    def __init__(self, job: DeclaredJob, run: RunLocations, problems: Problems) -> None:
        self.job = job
        self.problems = problems
        self.locations = SpecLocations(
            run,
            self.default_datastore,
            problems,
            chosen=job.tree.get("settings", "default_datastore") is not None,
        )
        self._seen: dict[str, str] = {}
        """Path of data -> where scripts see it."""
        self._seen_by_name: dict[tuple[str, str], str] = {}
        """The same by an input's name and path, empty for one that they see in its place."""

    @abstractmethod
    def input(self, step: DeclaredStep | None, name: str) -> Input | None:
        """An input of a step, or of the pipeline, filled in."""

    @abstractmethod
    def output(self, step: DeclaredStep | None, name: str) -> Output | None:
        """An output of a step, or of the pipeline, filled in."""

    @abstractmethod
    def check_table(self, path: str) -> None:
        """Record a mistake where the data at `path`, read as an MLTable, has no file of that name."""

    @property
    def default_datastore(self) -> str:
        """The name that `${{default_datastore}}` stands for."""
        named = self.job.tree.get("settings", "default_datastore")
        return str(named.data).removeprefix("azureml:") if named else DEFAULT_DATASTORES[0]

    def literal(self, step: DeclaredStep | None, value: Value) -> Value | None:
        """A setting with its bindings filled in: one that is a binding and nothing else takes the literal
        with its type.
        """
        if not isinstance(value.data, str) or "${{" not in value.data:
            return value
        binding = bindings.only_binding(value.data)
        found = self.meaning(step, binding, value.place) if binding else None
        if isinstance(found, Input) and not found.is_data:
            return Value(found.value, value.place) if found.value is not None else None
        if binding and found is None:
            return None
        text = self.text(step, value.data, value.place)
        return None if text is None else Value(text, value.place)

    def text(self, step: DeclaredStep | None, text: str, place: Place) -> str | None:
        """A text with its bindings filled in, None after recording one that can't be."""
        failed = False

        def lookup(binding: Binding) -> str:
            nonlocal failed
            found = self.value_text(step, binding, place)
            failed |= found is None
            return found or ""

        try:
            filled = bindings.substitute(text, lookup)
        except BindingError as error:
            self.problems.error(place, str(error))
            return None
        return None if failed else filled

    @contextmanager
    def showing(
        self, inputs: Mapping[str, Input], outputs: Mapping[str, Output] | None = None
    ) -> Iterator[None]:
        """While it lasts, texts are filled in for the scripts of a step: with where they see its inputs, and
        where they write its outputs.
        """
        ports: list[Input | Output] = [*inputs.values(), *(outputs or {}).values()]
        self._seen = {data.path: data.seen for data in ports if data.seen}
        self._seen_by_name = {(name, data.path): data.seen for name, data in inputs.items()}
        try:
            yield
        finally:
            self._seen, self._seen_by_name = {}, {}

    def _place(self, found: Input | Output) -> str:
        """The path of data in a text. What a step reads as an input has that place in all its texts."""
        seen = self._seen_by_name.get((found.name, found.path)) if isinstance(found, Input) else None
        return (self._seen.get(found.path, "") if seen is None else seen) or found.path

    def has_value(self, step: DeclaredStep, binding: Binding, place: Place) -> bool:
        """Whether a binding in an optional segment has something to put there."""
        found = self.meaning(step, binding, place)
        return not (isinstance(found, Input) and not found.is_data and found.value is None)

    def value_text(self, step: DeclaredStep | None, binding: Binding, place: Place) -> str | None:
        """What stands for a binding in a text: a path, or the literal as text (True is `True`)."""
        found = self.meaning(step, binding, place)
        if isinstance(found, Input | Output) and (isinstance(found, Output) or found.is_data):
            return self._place(found)
        if isinstance(found, Input):
            if found.value is None:
                what = f"the optional input {found.name!r} has no value."
                self.problems.error(
                    place, what, f"Put what belongs to it between $[[ and ]]: $[[--{found.name} {binding}]]."
                )
                return None
            return str(found.value)
        return found

    def meaning(
        self, step: DeclaredStep | None, binding: Binding, place: Place, *, unprefixed: str = OWN
    ) -> Input | Output | str | None:
        """The input, output or text that a binding means; None after recording why it means nothing."""
        reference = bindings.reference_of(binding, unprefixed=unprefixed if step else PARENT)
        if reference is None:
            self.problems.error(place, f"{binding} is no binding that is known here.", _form_hint(binding))
            return None
        if reference.scope == SERVER:
            return self._server_name(step, reference.name)
        parent = step.parent if step else None
        owner = step if reference.scope == OWN else parent
        if reference.step is not None:
            owner = self.siblings(step).get(reference.step)
            if owner is None:
                names = self._step_names(parent)
                if reference.step not in names:  # one that is there has mistakes of its own, and is left out
                    whose = f"the pipeline {parent.name!r}" if parent else "the job"
                    self._unknown(
                        binding, f"{whose} has no step {reference.step!r}.", names, reference.step, place
                    )
                return None
            if owner is step:
                self.problems.error(
                    place,
                    f"{binding} refers to its own step.",
                    f"Write {bindings.Binding(f'{reference.kind}.{reference.name}')}.",
                )
                return None
        return self._port(owner, reference, binding, place)

    def maker(self, step: DeclaredStep | None, binding: Binding, *, unprefixed: str = OWN) -> str | None:
        """The step that writes what a binding means, None where it means nothing that a step writes. Records
        no mistake.
        """
        reference = bindings.reference_of(binding, unprefixed=unprefixed if step else PARENT)
        if reference is None or reference.scope == SERVER:
            return None
        owner = step if reference.scope == OWN else step.parent if step else None
        if reference.step:
            owner = self.siblings(step).get(reference.step)
        holder: DeclaredStep | DeclaredJob = owner or self.job
        name = same_name(reference.name, holder.inputs if reference.kind == "inputs" else holder.outputs)
        if reference.kind == "outputs":
            return owner.name if owner and owner.kind != PIPELINE else self._writer(owner, name)
        found = self.input(owner, name) if name in holder.inputs else None
        return found.made_by if found else None

    def siblings(self, step: DeclaredStep | None) -> Mapping[str, DeclaredStep]:
        """The steps that a binding of `step` may name after `jobs.`: those of the same pipeline."""
        return step.parent.steps if step and step.parent else self.job.own_steps

    def _writer(self, holder: DeclaredStep | None, name: str) -> str | None:
        """The step that writes the output `name` of a pipeline (None: of the job): by an output of its own in
        the same place, or by `append_row_to`.
        """
        output = self.output(holder, name) if name in (holder or self.job).outputs else None
        for step in self.job.steps.values() if output else ():
            rows = step.tree.get("task", "append_row_to")
            found = [
                bindings.reference_of(binding)
                for binding in bindings.bindings_in(str(rows.data) if rows else "")
            ]
            if step.parent is holder and Reference(scope=PARENT, kind="outputs", name=name) in found:
                return step.name
            if any(
                own and output and own.path == output.path
                for own in (self.output(step, each) for each in step.outputs)
            ):
                return step.name
        return None

    def _port(
        self, owner: DeclaredStep | None, reference: Reference, binding: Binding, place: Place
    ) -> Input | Output | None:
        holder: DeclaredStep | DeclaredJob = owner or self.job
        ports: Mapping[str, InputPort | OutputPort] = (
            holder.inputs if reference.kind == "inputs" else holder.outputs
        )
        name = same_name(reference.name, ports)
        if name not in ports:
            whose = f"the step {owner.name!r}" if owner else "the pipeline"
            if owner and owner.kind == PIPELINE:
                whose = f"the pipeline {owner.name!r}"
            self._unknown(
                binding,
                f"{whose} has no {reference.kind.removesuffix('s')} {reference.name!r}.",
                ports,
                reference.name,
                place,
            )
            return None
        return self.input(owner, name) if reference.kind == "inputs" else self.output(owner, name)

    def _unknown(
        self, binding: Binding, what: str, known: Mapping[str, object] | list[str], name: str, place: Place
    ) -> None:
        listed = f"It has: {', '.join(known)}." if known else ""
        self.problems.error(place, f"{binding}: {what}", nearest(name, known) or listed)

    def _step_names(self, parent: DeclaredStep | None) -> list[str]:
        jobs = (parent or self.job).tree.get("jobs")
        return [name for name, _ in jobs.items()] if jobs else []

    def _server_name(self, step: DeclaredStep | None, name: str) -> str:
        if name == "default_datastore":
            return self.default_datastore
        if name == "name":
            run = self.locations.run_name
            return f"{run}_{step.name}" if step else run
        return "${{output_name}}"


def same_name(name: str, ports: Mapping[str, object]) -> str:
    """The spelling that `ports` has of a name: Azure takes any case."""
    if name in ports:
        return name
    return next((known for known in ports if known.lower() == name.lower()), name)


def _form_hint(binding: Binding) -> str:
    if binding.body.startswith("search_space."):
        return "Sweeps are not run here."
    word = binding.body.partition(".")[0]
    known = ("inputs", "outputs", "parent", "jobs", "default_datastore", "name", "output_name")
    if word in {"inputs", "outputs", "parent", "jobs"}:
        return (
            "Bindings are inputs.NAME, outputs.NAME, parent.inputs.NAME, parent.outputs.NAME and "
            "parent.jobs.STEP.outputs.NAME."
        )
    return nearest(word, known)
