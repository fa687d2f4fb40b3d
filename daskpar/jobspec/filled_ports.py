"""Fills in the bindings of a job's inputs and outputs, each once: ports become model inputs and outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace

from daskpar.jobspec import bindings, known_fields, scalars
from daskpar.jobspec.bindings import OWN, PARENT, SERVER, Binding, Reference
from daskpar.jobspec.declared_job import PIPELINE, DeclaredJob, DeclaredStep
from daskpar.jobspec.model import Input, Output
from daskpar.jobspec.ports import InputPort, OutputPort, check_literal
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.scope import Scope, same_name
from daskpar.jobspec.spec_locations import RunLocations
from daskpar.jobspec.yaml_source import Value, texts
from daskpar.locations import datastore_of, is_url

_SINGLE_BRACES = re.compile(r"\$\{(name|default_datastore|output_name)\}")


class FilledPorts(Scope):
    """Every input and output of a job, filled in when it is asked for."""

    def __init__(self, job: DeclaredJob, run: RunLocations, problems: Problems, *, check_files: bool) -> None:
        super().__init__(job, run, problems)
        self._check_files = check_files
        self._inputs: dict[tuple[str | None, str], Input | None] = {}
        self._outputs: dict[tuple[str | None, str], Output | None] = {}
        self._named_at: dict[str, Value] = {}
        """Path of data that is there before the run -> what names it."""
        self._open: set[tuple[str | None, str]] = set()
        """Inputs that are being filled in now."""

    def input(self, step: DeclaredStep | None, name: str) -> Input | None:
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

    def output(self, step: DeclaredStep | None, name: str) -> Output | None:
        """An output of a step, or of the pipeline, filled in."""
        key = (step.name if step else None, name)
        if key not in self._outputs:
            port = (step.outputs if step else self.job.outputs)[name]
            self._outputs[key] = None
            found = self._output(step, port)
            self._outputs[key] = found if found is None else self._set_apart(step, found)
        return self._outputs[key]

    def check_table(self, path: str) -> None:
        """Record a mistake where the data at `path`, read as an MLTable, has no file of that name."""
        if value := self._named_at.get(path):
            self.locations.check_table(path, value)

    # inputs

    def _input(self, step: DeclaredStep | None, port: InputPort) -> Input | None:
        written = port.path or port.value
        if written is None:
            return (
                Input(name=port.name, type="literal", value=None, where=port.place.where)
                if port.optional
                else None
            )
        binding = bindings.only_binding(written.data) if isinstance(written.data, str) else None
        if binding is not None and not isinstance(written.data, scalars.StandIn):
            if step is None:
                self.problems.error(
                    written.place, f"an input of the pipeline has nothing to bind to: {binding}."
                )
                return None
            if port.optional and self._is_missing(step, binding):
                self.problems.warn(
                    written.place,
                    f"{binding} does not exist, and the input {port.name!r} is optional: it is not given.",
                )
                return Input(name=port.name, type="literal", value=None, where=written.place.where)
            found = self.meaning(step, binding, written.place, unprefixed=PARENT)
            return self._bound_input(step, port, found, written)
        filled = written if step is None else self._filled(step, written)
        if filled is None:
            return None
        maker = None if isinstance(written.data, scalars.StandIn) else self._maker_within(step, written)
        return (
            self._path_input(port, filled, maker) if port.path else self._literal_input(port, filled, maker)
        )

    def _is_missing(self, step: DeclaredStep, binding: Binding) -> bool:
        """Whether a binding is to an input of the pipeline that there is not, as Azure's dump of a job has it
        for an optional input that was given None.
        """
        reference = bindings.reference_of(binding, unprefixed=PARENT)
        if reference is None or reference.scope != PARENT or reference.step or reference.kind != "inputs":
            return False
        ports = (step.parent or self.job).inputs
        return same_name(reference.name, ports) not in ports

    def _filled(self, step: DeclaredStep, written: Value) -> Value | None:
        if not isinstance(written.data, str) or "${{" not in written.data:
            return written
        text = re.sub(r"\$\{\{\s*(inputs|outputs)\.", r"${{parent.\1.", written.data)
        return self.literal(step, Value(text, written.place))

    def _maker_within(self, step: DeclaredStep | None, written: Value) -> str | None:
        """The step that writes the place which a text goes on from, as `${{parent.jobs.a.outputs.o}}/sub`."""
        found = bindings.bindings_in(written.data) if isinstance(written.data, str) else ()
        makers = [self.maker(step, binding, unprefixed=PARENT) for binding in found]
        return next((maker for maker in makers if maker is not None), None)

    def _bound_input(
        self, step: DeclaredStep, port: InputPort, found: Input | Output | str | None, written: Value
    ) -> Input | None:
        if found is None:
            return None
        if isinstance(found, str):
            return self._literal_input(port, Value(found, written.place))
        if isinstance(found, Input) and not found.is_data:
            if found.value is None:
                if port.optional or port.type == "":
                    return Input(name=port.name, type="literal", value=None, where=written.place.where)
                self.problems.error(
                    written.place, f"the input {port.name!r} needs a value, and {written.data} has none."
                )
                return None
            if port.type in known_fields.ALL_DATA:
                self.problems.error(
                    written.place,
                    f"the input {port.name!r} is of type {port.type}, and {written.data} is a literal.",
                )
                return None
            return self._literal_input(port, Value(found.value, written.place), found.made_by)
        if port.is_literal:
            self.problems.error(
                written.place, f"the input {port.name!r} is of type {port.type}, and {written.data} is data."
            )
            return None
        inherited = found.mode if isinstance(found, Input) else ""
        made_by = found.made_by if isinstance(found, Input) else self._maker_of_output(step, found, written)
        kind = "" if port.type == known_fields.ANY_PATH else port.type
        return Input(
            name=port.name,
            type=kind or found.type,
            mode=port.mode or inherited,
            path=found.path,
            made_by=made_by,
            where=written.place.where,
        )

    def _maker_of_output(self, step: DeclaredStep, output: Output, written: Value) -> str | None:
        maker = self.maker(step, bindings.only_binding(str(written.data)) or Binding(""), unprefixed=PARENT)
        if maker is None or maker == step.name:
            self.problems.error(written.place, f"no other step writes the pipeline's output {output.name!r}.")
        return maker

    def _literal_input(self, port: InputPort, value: Value, made_by: str | None = None) -> Input | None:
        if port.type in known_fields.ALL_DATA:
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
        path = self.locations.location_of(value)
        if path is None:
            return None
        kind = self._kind_at(path) if port.type == known_fields.ANY_PATH else port.type or "uri_folder"
        if made_by is None and path not in self.job.staged_paths and self._can_be_checked(path, value):
            self.locations.check_exists(path, kind, value)
            self._named_at.setdefault(path, value)
        return Input(
            name=port.name, type=kind, mode=port.mode, path=path, made_by=made_by, where=value.place.where
        )

    @staticmethod
    def _kind_at(path: str) -> str:
        """The type of an input of the older type `path`: what lies there."""
        return "uri_file" if not is_url(path) and os.path.isfile(path) else "uri_folder"

    def _can_be_checked(self, path: str, value: Value) -> bool:
        """Whether what a job's own input names has to be there by now."""
        if is_url(path):
            return False
        if datastore_of(str(value.data).strip()):
            return self.locations.can_be_checked(str(value.data)) and not self._is_written(path)
        return self._check_files

    def _is_written(self, path: str) -> bool:
        """Whether a step has an output there or above: it may be there by the time that it is read."""
        outputs = [self.output(step, name) for step in self.job.steps.values() for name in step.outputs]
        return any(
            output and (path == output.path or path.startswith(f"{output.path.rstrip('/')}/"))
            for output in outputs
        )

    # outputs

    def _output(self, step: DeclaredStep | None, port: OutputPort) -> Output | None:
        if port.path is None:
            return self._default_output(step, port)
        binding = bindings.only_binding(str(port.path.data))
        if (
            binding is not None
            and (reference := bindings.reference_of(binding, unprefixed=PARENT))
            and reference.scope != SERVER
        ):
            return self._bound_output(step, port, reference, port.path)
        named = _SINGLE_BRACES.sub(r"${{\1}}", str(port.path.data))
        text = self.text(step, named, port.path.place)
        if text is None:
            return None
        path = self.locations.location_of(Value(text.replace("${{output_name}}", port.name), port.path.place))
        if path is None:
            return None
        kind = port.type or self._type_of_writer(step, port)
        return Output(
            name=port.name,
            type=kind,
            mode=port.mode or "rw_mount",
            path=path,
            chosen_by_user=True,
            where=port.path.place.where,
        )

    def _set_apart(self, step: DeclaredStep | None, output: Output) -> Output:
        """The output in the place of its own that a step has which is tried apart; else as it is."""
        apart = self.locations.apart
        if apart is None:
            return output
        is_step = step is not None and step.kind != PIPELINE
        owner = step.name if step and is_step else self._refers_to(step, output.name, apart.names)
        if owner not in apart.names:
            return output
        is_file = output.type == "uri_file"
        path = apart.place(owner, output.name, output.path, is_file=is_file)
        return replace(output, path=path, chosen_by_user=False)

    def _refers_to(self, pipeline: DeclaredStep | None, output: str, steps: Collection[str]) -> str:
        """The one of `steps` that names an output of its pipeline (None: of the job), other than to read it;
        empty for none.
        """
        for name in steps:
            step = self.job.steps[name]
            if step.parent is not pipeline:
                continue
            written = [str(port.path.data) for port in step.outputs.values() if port.path]
            for text in (*written, *texts(step.tree, leave_out=("inputs", "component"))):
                for binding in bindings.bindings_in(text):
                    found = bindings.reference_of(binding, unprefixed=OWN)
                    if found and (found.scope, found.kind, found.name, found.step) == (
                        PARENT, "outputs", output, None,
                    ):  # fmt: skip
                        return name
        return ""

    def _bound_output(
        self, step: DeclaredStep | None, port: OutputPort, reference: Reference, written: Value
    ) -> Output | None:
        binding = bindings.only_binding(str(written.data)) or Binding("")
        if step is None:
            self.problems.error(
                written.place,
                f"an output of the pipeline has nothing to bind to: {binding}.",
                "Bind the step's output to it instead.",
            )
            return None
        found = self.meaning(step, binding, written.place, unprefixed=PARENT)
        if found is None:
            return None
        if isinstance(found, Input) and not found.is_data and isinstance(found.value, str):
            path = self.locations.location_of(Value(found.value, written.place))
            return path and Output(  # type: ignore[return-value]
                name=port.name,
                type=port.type or "uri_folder",
                mode=port.mode or "rw_mount",
                path=path,
                chosen_by_user=True,
                where=written.place.where,
            )
        if not isinstance(found, Output) or reference.step or reference.kind != "outputs":
            self.problems.error(
                written.place, f"an output can be bound to an output of the pipeline, not to {binding}."
            )
            return None
        return replace(
            found,
            name=port.name,
            type=found.type if self._is_declared(step.parent, reference.name) else port.type or found.type,
            mode=port.mode or found.mode,
            where=written.place.where,
        )

    def _is_declared(self, holder: DeclaredStep | None, name: str) -> bool:
        """Whether a pipeline, or the one that its output is bound to, says of which type an output is: that
        rules, whatever the step's component says.
        """
        ports = (holder or self.job).outputs
        port = ports[same_name(name, ports)]
        if port.type or holder is None:
            return bool(port.type)
        binding = bindings.only_binding(str(port.path.data)) if port.path else None
        reference = bindings.reference_of(binding, unprefixed=PARENT) if binding else None
        return bool(
            reference
            and reference.kind == "outputs"
            and not reference.step
            and same_name(reference.name, (holder.parent or self.job).outputs)
            in (holder.parent or self.job).outputs
            and self._is_declared(holder.parent, reference.name)
        )

    def _default_output(self, step: DeclaredStep | None, port: OutputPort) -> Output:
        kind = port.type or self._type_of_writer(step, port)
        nested = step is not None and step.kind == PIPELINE  # it has no folder: its steps have
        name = f"{step.name}.{port.name}" if step and nested else port.name
        path = self.locations.default_output(step.name if step and not nested else None, name)
        return Output(
            name=port.name,
            type=kind,
            mode=port.mode or "rw_mount",
            path=path,
            chosen_by_user=False,
            where=port.place.where,
        )

    def _type_of_writer(self, step: DeclaredStep | None, port: OutputPort) -> str:
        """An output of a pipeline without a type has that of the step's output bound to it."""
        if step is None or step.kind == PIPELINE:
            for writer in (step.steps if step else self.job.own_steps).values():
                for own in writer.outputs.values():
                    binding = bindings.only_binding(str(own.path.data)) if own.path else None
                    reference = bindings.reference_of(binding, unprefixed=PARENT) if binding else None
                    if (
                        own.type
                        and reference
                        and reference.kind == "outputs"
                        and reference.name == port.name
                        and not reference.step
                    ):
                        return own.type
        return "uri_folder"
