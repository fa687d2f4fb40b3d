"""Fills in what bindings mean: inputs, outputs and their paths, of the pipeline and of each step, each worked
out once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from daskpar.errors import nearest
from daskpar.jobspec import bindings, known_fields, scalars
from daskpar.jobspec.bindings import OWN, PARENT, SERVER, Binding, BindingError, Reference
from daskpar.jobspec.declarations import JobSource, StepSource
from daskpar.jobspec.locations import (
    DEFAULT_DATASTORES,
    LocationError,
    in_datastore,
    is_url,
    resolve_location,
)
from daskpar.jobspec.model import Input, Output
from daskpar.jobspec.ports import InputPort, OutputPort, check_literal
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.yaml_source import Value, near_file
from daskpar.jobspec.yaml_source import shown as shown_path

_SINGLE_BRACES = re.compile(r"\$\{(name|default_datastore|output_name)\}")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where this run keeps things."""

    run_directory: Path
    datastores: Mapping[str, str] = field(default_factory=dict)
    """Name -> folder or URL."""
    any_datastore: bool = False
    """True: the configuration isn't known yet, so every name of a datastore is taken to be one."""


class Scope:
    """What every binding of a job means. Mistakes are recorded once; what can't be filled in is None."""

    def __init__(self, job: JobSource, layout: Layout, problems: Problems, *, check_files: bool) -> None:
        self.job = job
        self.problems = problems
        self._layout = layout
        self._check_files = check_files
        self._inputs: dict[tuple[str | None, str], Input | None] = {}
        self._outputs: dict[tuple[str | None, str], Output | None] = {}
        self._open: set[tuple[str | None, str]] = set()
        self._datastores = self._known_datastores()

    @property
    def default_datastore(self) -> str:
        """The name that `${{default_datastore}}` stands for."""
        named = self.job.tree.get("settings", "default_datastore")
        return str(named.data).removeprefix("azureml:") if named else DEFAULT_DATASTORES[0]

    def input(self, step: StepSource | None, name: str) -> Input | None:
        """An input of a step, or of the pipeline, filled in."""
        key = (step.name if step else None, name)
        if key not in self._inputs:
            port = (step.inputs if step else self.job.inputs)[name]
            self._inputs[key] = None  # what leads back here finds nothing
            self._open.add(key)
            self._inputs[key] = self._input(step, port)
            self._open.discard(key)
        elif key in self._open:
            port = (step.inputs if step else self.job.inputs)[name]
            self.problems.error(port.place, f"the input {name!r} leads back to itself.")
        return self._inputs[key]

    def output(self, step: StepSource | None, name: str) -> Output | None:
        """An output of a step, or of the pipeline, filled in."""
        key = (step.name if step else None, name)
        if key not in self._outputs:
            port = (step.outputs if step else self.job.outputs)[name]
            self._outputs[key] = None
            self._outputs[key] = self._output(step, port)
        return self._outputs[key]

    def literal(self, step: StepSource | None, value: Value) -> Value | None:
        """A setting with its bindings filled in: one that is a binding and nothing else takes the literal
        with its type.
        """
        if not isinstance(value.data, str) or "${{" not in value.data:
            return value
        binding = bindings.whole(value.data)
        found = self.meaning(step, binding, value.place) if binding else None
        if isinstance(found, Input) and not found.is_data:
            return Value(found.value, value.place) if found.value is not None else None
        if binding and found is None:
            return None
        text = self.text(step, value.data, value.place)
        return None if text is None else Value(text, value.place)

    def text(self, step: StepSource | None, text: str, place: Place) -> str | None:
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

    def has_value(self, step: StepSource, binding: Binding, place: Place) -> bool:
        """Whether a binding in an optional segment has something to put there."""
        found = self.meaning(step, binding, place)
        return not (isinstance(found, Input) and not found.is_data and found.value is None)

    def value_text(self, step: StepSource | None, binding: Binding, place: Place) -> str | None:
        """What stands for a binding in a text: a path, or the literal as text (True is `True`)."""
        found = self.meaning(step, binding, place)
        if isinstance(found, Input | Output) and (isinstance(found, Output) or found.is_data):
            return found.path
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
        self, step: StepSource | None, binding: Binding, place: Place, *, unprefixed: str = OWN
    ) -> Input | Output | str | None:
        """The input, output or text that a binding means; None after recording why it means nothing."""
        reference = bindings.refer(binding, unprefixed=unprefixed if step else PARENT)
        if reference is None:
            self.problems.error(place, f"{binding} is no binding that is known here.", _form_hint(binding))
            return None
        if reference.scope == SERVER:
            return self._server_name(step, reference.name)
        owner = step if reference.scope == OWN else None
        if reference.step is not None:
            owner = self.job.steps.get(reference.step)
            if owner is None:
                names = self._step_names()
                if reference.step not in names:  # one that is there has mistakes of its own, and is left out
                    self._unknown(
                        binding, f"the job has no step {reference.step!r}.", names, reference.step, place
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

    def maker(self, step: StepSource | None, binding: Binding, *, unprefixed: str = OWN) -> str | None:
        """The step that writes what a binding means, None where it means nothing that a step writes. Records
        no mistake.
        """
        reference = bindings.refer(binding, unprefixed=unprefixed if step else PARENT)
        if reference is None or reference.scope == SERVER:
            return None
        owner = (
            step if reference.scope == OWN else self.job.steps.get(reference.step) if reference.step else None
        )
        if reference.kind == "outputs":
            return owner.name if owner else self._writer(reference.name)
        found = self.input(owner, reference.name) if reference.name in (owner or self.job).inputs else None
        return found.made_by if found else None

    def _writer(self, name: str) -> str | None:
        """The step that writes the pipeline's output `name`: by an output of its own in the same place, or by
        `append_row_to`.
        """
        output = self.output(None, name) if name in self.job.outputs else None
        for step in self.job.steps.values() if output else ():
            rows = step.tree.get("task", "append_row_to")
            found = [
                bindings.refer(binding) for binding in bindings.bindings_in(str(rows.data) if rows else "")
            ]
            if Reference(scope=PARENT, kind="outputs", name=name) in found:
                return step.name
            if any(
                own and output and own.path == output.path
                for own in (self.output(step, each) for each in step.outputs)
            ):
                return step.name
        return None

    def _port(
        self, owner: StepSource | None, reference: Reference, binding: Binding, place: Place
    ) -> Input | Output | None:
        holder: StepSource | JobSource = owner or self.job
        ports: Mapping[str, InputPort | OutputPort] = (
            holder.inputs if reference.kind == "inputs" else holder.outputs
        )
        if reference.name not in ports:
            whose = f"the step {owner.name!r}" if owner else "the pipeline"
            self._unknown(
                binding,
                f"{whose} has no {reference.kind.removesuffix('s')} {reference.name!r}.",
                ports,
                reference.name,
                place,
            )
            return None
        return (
            self.input(owner, reference.name)
            if reference.kind == "inputs"
            else self.output(owner, reference.name)
        )

    def _unknown(
        self, binding: Binding, what: str, known: Mapping[str, object] | list[str], name: str, place: Place
    ) -> None:
        listed = f"It has: {', '.join(known)}." if known else ""
        self.problems.error(place, f"{binding}: {what}", nearest(name, known) or listed)

    def _step_names(self) -> list[str]:
        jobs = self.job.tree.get("jobs")
        return [name for name, _ in jobs.items()] if jobs else []

    def _server_name(self, step: StepSource | None, name: str) -> str:
        if name == "default_datastore":
            return self.default_datastore
        if name == "name":
            run = self._layout.run_directory.name
            return f"{run}_{step.name}" if step else run
        return "${{output_name}}"

    # inputs

    def _input(self, step: StepSource | None, port: InputPort) -> Input | None:
        given = port.path or port.value
        if given is None:
            return (
                Input(name=port.name, type="literal", value=None, where=port.place.where)
                if port.optional
                else None
            )
        binding = bindings.whole(given.data) if isinstance(given.data, str) else None
        if binding is not None:
            if step is None:
                self.problems.error(
                    given.place, f"an input of the pipeline has nothing to bind to: {binding}."
                )
                return None
            found = self.meaning(step, binding, given.place, unprefixed=PARENT)
            return self._bound_input(step, port, found, given)
        filled = given if step is None else self._filled(step, given)
        if filled is None:
            return None
        maker = self._maker_within(step, given)
        return (
            self._path_input(port, filled, maker) if port.path else self._literal_input(port, filled, maker)
        )

    def _filled(self, step: StepSource, given: Value) -> Value | None:
        if not isinstance(given.data, str) or "${{" not in given.data:
            return given
        text = re.sub(r"\$\{\{\s*(inputs|outputs)\.", r"${{parent.\1.", given.data)
        return self.literal(step, Value(text, given.place))

    def _maker_within(self, step: StepSource | None, given: Value) -> str | None:
        """The step that writes the place which a text goes on from, as `${{parent.jobs.a.outputs.o}}/sub`."""
        found = bindings.bindings_in(given.data) if isinstance(given.data, str) else ()
        makers = [self.maker(step, binding, unprefixed=PARENT) for binding in found]
        return next((maker for maker in makers if maker is not None), None)

    def _bound_input(
        self, step: StepSource, port: InputPort, found: Input | Output | str | None, given: Value
    ) -> Input | None:
        if found is None:
            return None
        if isinstance(found, str):
            return self._literal_input(port, Value(found, given.place))
        if isinstance(found, Input) and not found.is_data:
            if found.value is None:
                if port.optional or port.type == "":
                    return Input(name=port.name, type="literal", value=None, where=given.place.where)
                self.problems.error(
                    given.place, f"the input {port.name!r} needs a value, and {given.data} has none."
                )
                return None
            if port.type in known_fields.DATA_TYPES:
                self.problems.error(
                    given.place,
                    f"the input {port.name!r} is of type {port.type}, and {given.data} is a literal.",
                )
                return None
            return self._literal_input(port, Value(found.value, given.place), found.made_by)
        if port.is_literal:
            self.problems.error(
                given.place, f"the input {port.name!r} is of type {port.type}, and {given.data} is data."
            )
            return None
        inherited = found.mode if isinstance(found, Input) else ""
        made_by = found.made_by if isinstance(found, Input) else self._maker_of_output(step, found, given)
        return Input(
            name=port.name,
            type=port.type or found.type,
            mode=port.mode or inherited,
            path=found.path,
            made_by=made_by,
            where=given.place.where,
        )

    def _maker_of_output(self, step: StepSource, output: Output, given: Value) -> str | None:
        maker = self.maker(step, bindings.whole(str(given.data)) or Binding(""), unprefixed=PARENT)
        if maker is None or maker == step.name:
            self.problems.error(given.place, f"no other step writes the pipeline's output {output.name!r}.")
        return maker

    def _literal_input(self, port: InputPort, value: Value, made_by: str | None = None) -> Input | None:
        if port.type in known_fields.DATA_TYPES:
            return self._path_input(port, value, made_by)
        literal = scalars.literal(value, port.type, self.problems)
        if literal is None:
            return None
        check_literal(port, literal, value.place, self.problems)
        return Input(name=port.name, type="literal", value=literal, made_by=made_by, where=value.place.where)

    def _path_input(self, port: InputPort, value: Value, made_by: str | None = None) -> Input | None:
        if port.is_literal:
            self.problems.error(
                value.place, f"the input {port.name!r} is of type {port.type} and has a path."
            )
            return None
        path = self._location(value)
        if path is None:
            return None
        kind = port.type or "uri_folder"
        if made_by is None and not is_url(path) and path not in self.job.given:
            store = in_datastore(str(value.data))
            if self._check_files and not store:
                self._check_exists(path, kind, value.place)
            elif store and not self._layout.any_datastore and not self._is_written(path):
                self._check_exists(path, kind, value.place, store=store)
        return Input(
            name=port.name, type=kind, mode=port.mode, path=path, made_by=made_by, where=value.place.where
        )

    def _is_written(self, path: str) -> bool:
        """Whether a step has an output there or above: it may be there by the time that it is read."""
        outputs = [self.output(step, name) for step in self.job.steps.values() for name in step.outputs]
        return any(
            output and (path == output.path or path.startswith(f"{output.path.rstrip('/')}/"))
            for output in outputs
        )

    def _check_exists(self, path: str, kind: str, place: Place, *, store: str = "") -> None:
        here = Path(path)
        if not os.path.exists(here):
            hint = near_file(here)
            if store and store not in self._layout.datastores:
                hint = f"The datastore {store!r} begins empty in each run; name the folder that it is: --datastore {store}=FOLDER."
            self.problems.error(place, f"{shown_path(here)} does not exist.", hint)
        elif kind == "mltable":
            if not os.path.isdir(here):
                self.problems.error(
                    place,
                    f"{shown_path(here)} is a file; an mltable is the folder that holds a file named MLTable.",
                )
            elif not os.path.isfile(here / "MLTable"):
                self.problems.error(
                    place, f"{shown_path(here)} holds no file named MLTable.", near_file(here / "MLTable")
                )
        elif kind == "uri_folder" and not os.path.isdir(here):
            self.problems.error(
                place, f"{shown_path(here)} is a file, and the input is a folder.", "Write type: uri_file."
            )
        elif kind == "uri_file" and os.path.isdir(here):
            self.problems.error(
                place, f"{shown_path(here)} is a folder, and the input is a file.", "Write type: uri_folder."
            )

    # outputs

    def _output(self, step: StepSource | None, port: OutputPort) -> Output | None:
        if port.path is None:
            return self._chosen(step, port)
        binding = bindings.whole(str(port.path.data))
        if (
            binding is not None
            and (reference := bindings.refer(binding, unprefixed=PARENT))
            and reference.scope != SERVER
        ):
            return self._bound_output(step, port, binding, port.path)
        named = _SINGLE_BRACES.sub(r"${{\1}}", str(port.path.data))
        text = self.text(step, named, port.path.place)
        if text is None:
            return None
        path = self._location(Value(text.replace("${{output_name}}", port.name), port.path.place))
        if path is None:
            return None
        kind = port.type or self._type_of_writer(step, port)
        return Output(
            name=port.name,
            type=kind,
            mode=port.mode or "rw_mount",
            path=path,
            given=True,
            where=port.path.place.where,
        )

    def _bound_output(
        self, step: StepSource | None, port: OutputPort, binding: Binding, given: Value
    ) -> Output | None:
        if step is None:
            self.problems.error(
                given.place,
                f"an output of the pipeline has nothing to bind to: {binding}.",
                "Bind the step's output to it instead.",
            )
            return None
        found = self.meaning(step, binding, given.place, unprefixed=PARENT)
        if found is None:
            return None
        if isinstance(found, Input) and not found.is_data and isinstance(found.value, str):
            path = self._location(Value(found.value, given.place))
            return path and Output(  # type: ignore[return-value]
                name=port.name,
                type=port.type or "uri_folder",
                mode=port.mode or "rw_mount",
                path=path,
                given=True,
                where=given.place.where,
            )
        if not isinstance(found, Output) or found.name not in self.job.outputs:
            self.problems.error(
                given.place, f"an output can be bound to an output of the pipeline, not to {binding}."
            )
            return None
        return replace(
            found,
            name=port.name,
            type=port.type or found.type,
            mode=port.mode or found.mode,
            where=given.place.where,
        )

    def _chosen(self, step: StepSource | None, port: OutputPort) -> Output:
        base = self._layout.run_directory / "steps" / step.name if step else self._layout.run_directory
        kind = port.type or self._type_of_writer(step, port)
        path = str(base / "outputs" / port.name)
        return Output(
            name=port.name,
            type=kind,
            mode=port.mode or "rw_mount",
            path=path,
            given=False,
            where=port.place.where,
        )

    def _type_of_writer(self, step: StepSource | None, port: OutputPort) -> str:
        """An output of the pipeline without a type has that of the step's output bound to it."""
        if step is None:
            for writer in self.job.steps.values():
                for own in writer.outputs.values():
                    binding = bindings.whole(str(own.path.data)) if own.path else None
                    reference = bindings.refer(binding, unprefixed=PARENT) if binding else None
                    if (
                        own.type
                        and reference
                        and reference.kind == "outputs"
                        and reference.name == port.name
                        and not reference.step
                    ):
                        return own.type
        return "uri_folder"

    # places

    def _location(self, value: Value) -> str | None:
        try:
            return resolve_location(
                str(value.data), value.place.folder, self._datastores_for(str(value.data))
            )
        except LocationError as error:
            self.problems.error(value.place, str(error), error.hint)
            return None

    def location(self, value: Value) -> str | None:
        """The absolute path or URL that a text in the spec means, None after recording why it means none."""
        return self._location(value)

    def shown(self, path: str) -> str:
        """The path as messages show it: what lies in the run directory, which may have no name yet, from
        there on.
        """
        run = f"{self._layout.run_directory}{os.sep}"
        return f"{path.removeprefix(run)} in the run directory" if path.startswith(run) else path

    def _known_datastores(self) -> dict[str, str]:
        default = str(self._layout.run_directory / "datastores" / "default")
        return dict.fromkeys((*DEFAULT_DATASTORES, self.default_datastore), default) | dict(
            self._layout.datastores
        )

    def _datastores_for(self, text: str) -> dict[str, str]:
        if self._layout.any_datastore and (match := re.search(r"datastores/([^/]+)", text)):
            return {match[1]: str(self._layout.run_directory / "datastores" / match[1])} | self._datastores
        return self._datastores


def _form_hint(binding: Binding) -> str:
    if binding.body.startswith("search_space."):
        return "Sweeps are not run here."
    word = binding.body.partition(".")[0]
    known = ("inputs", "outputs", "parent", "jobs", "default_datastore", "name", "output_name")
    if word in {"inputs", "outputs", "parent", "jobs"}:
        return "Bindings are inputs.NAME, outputs.NAME, parent.inputs.NAME, parent.outputs.NAME and parent.jobs.STEP.outputs.NAME."
    return nearest(word, known)
