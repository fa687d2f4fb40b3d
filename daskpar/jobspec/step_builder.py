"""What every step has: inputs, outputs, code, variables, compute, and the steps that it waits for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from daskpar.jobspec import bindings, known_fields, scalars
from daskpar.jobspec.bindings import BindingError
from daskpar.jobspec.declared_job import DeclaredStep
from daskpar.jobspec.input_access import with_access
from daskpar.jobspec.model import Input, Output
from daskpar.jobspec.problems import NODE, Place
from daskpar.jobspec.scope import Scope
from daskpar.jobspec.yaml_source import Value, near_file, shown_path, texts
from daskpar.locations import is_url


class StepBuilder:
    """Builds one step as it runs from a declared one; mistakes go to the scope's problems."""

    def __init__(self, scope: Scope, step: DeclaredStep, *, check_files: bool) -> None:
        self.scope = scope
        self.step = step
        self.problems = scope.problems
        self.check_files = check_files
        self.sources: dict[str, str] = {}
        """Setting -> where its value came from."""
        self.notes: list[str] = []

    def _literal(self, keys: tuple[str, ...]) -> Value | None:
        value = self.step.tree.get(*keys)
        if value is None:
            return None
        if isinstance(value.data, list):
            filled = [self.scope.literal(self.step, element) for element in value.elements()]
            return Value([element for element in filled if element is not None], value.place)
        return self.scope.literal(self.step, value)

    def _place(self, *keys: str) -> Place:
        for length in range(len(keys), 0, -1):
            found = self.step.tree.get(*keys[:length])
            if found is not None:
                return found.place
        return self.step.place

    def _place_of_argument(self, argument: str) -> Place:
        value = self.step.tree.get("task", "program_arguments")
        return value.place_of(argument) if value else self.step.place

    def _source(self, name: str, value: Value | None) -> None:
        self.sources[name] = value.place.source if value else "default"

    def _display_name(self) -> str:
        value = self._literal(("display_name",))
        return str(value.data) if value else ""

    def _inputs(self) -> dict[str, Input]:
        found = {name: self.scope.input(self.step, name) for name in self.step.inputs}
        return {name: value for name, value in found.items() if value is not None}

    def _with_access(self, inputs: Mapping[str, Input], outputs: Mapping[str, Output]) -> dict[str, Input]:
        locations = self.scope.locations
        return with_access(
            inputs,
            outputs,
            locations.input_copies(self.step.name),
            mounts=locations.mounts,
            model_input=self.scope.job.model_input,
        )

    def _outputs(self) -> dict[str, Output]:
        found = {name: self.scope.output(self.step, name) for name in self.step.outputs}
        for value in found.values():
            if (
                value is not None
                and self.check_files
                and value.type in known_fields.FOLDER_TYPES
                and not self.scope.locations.in_run(
                    value.path
                )  # an earlier process of this run may have written it
                and os.path.isfile(value.path)
            ):
                place = self.step.outputs[value.name].place
                self.problems.error(
                    place,
                    f"{shown_path(Path(value.path))} is a file, and the output is a folder.",
                    "Write type: uri_file.",
                )
        return {name: value for name, value in found.items() if value is not None}

    def _compute(self) -> str:
        job = self.scope.job.tree
        written: list[tuple[DeclaredStep | None, Value | None]] = [(self.step, self.step.tree.get("compute"))]
        holder = self.step.parent
        while holder is not None:  # nested pipelines: the innermost that says something
            tree = holder.tree
            written += [(holder, tree.get("settings", "default_compute")), (holder, tree.get("compute"))]
            holder = holder.parent
        written += [(None, job.get("settings", "default_compute")), (None, job.get("compute"))]
        for owner, value in written:
            filled = self.scope.literal(owner or self.step, value) if value else None
            name = scalars.text(filled, self.problems) if filled else None
            if name is not None and filled is not None:
                self._source("compute", filled)
                if filled.place.path[:1] != self.step.place.path[:1] and filled.place.origin == NODE:
                    self.sources["compute"] = f"pipeline {filled.place.where}"
                return name.removeprefix("azureml:").strip()
        self._source("compute", None)
        return ""

    def _environment_variables(self) -> dict[str, str]:
        mapping = self.step.tree.get("environment_variables")
        if mapping is None:
            return {}
        if not mapping.is_mapping:
            self.problems.error(
                mapping.place, f"has to be a mapping of names to texts, not {scalars.quoted(mapping.data)}."
            )
            return {}
        found = {}
        for name, value in mapping.items():
            if not isinstance(value.data, str):
                self.problems.error(
                    value.place,
                    f"has to be a text, not {scalars.quoted(value.data)}.",
                    f'Quote it: {name}: "{value.data}".',
                )
            elif not name or "=" in name or "\0" in name:
                self.problems.error(value.place, f"{name!r} is no name for an environment variable.")
            elif (settled := self._with_segments_filled(value)) is not None and (
                text := self.scope.text(self.step, settled, value.place)
            ) is not None:
                found[name] = text
        self._source("environment_variables", mapping)
        return found

    def _code(self, keys: tuple[str, ...]) -> Path | None:
        value = self._literal(keys)
        self._source(keys[-1], value)
        text = scalars.text(value, self.problems, "the path of a folder") if value else None
        if text is None or value is None:
            return None
        place = (
            None if text.startswith("git+") else self.scope.locations.location_of(Value(text, value.place))
        )
        if text.startswith("git+") or (place is not None and is_url(place)):
            self.problems.error(value.place, f"code can't be taken from {text!r}.", "Give a local folder.")
            return None
        if place is None:
            return None
        path = Path(place)
        if os.path.isfile(path):
            return path.parent
        locations = self.scope.locations
        # What lies in the run directory is put there by the run.
        checked = self.check_files and locations.can_be_checked(text) and not locations.in_run(str(path))
        if checked and not os.path.isdir(path):
            self.problems.error(
                value.place, f"the folder {shown_path(path)} does not exist.", near_file(path)
            )
        return path

    def _needs(self, inputs: Mapping[str, Input]) -> tuple[str, ...]:
        """Steps whose outputs this one reads, through its inputs or in a text of its own."""
        makers: list[str | None] = [value.made_by for value in inputs.values()]
        for text in texts(self.step.tree, leave_out=("inputs", "outputs", "component")):
            makers += [self.scope.maker(self.step, binding) for binding in bindings.bindings_in(text)]
        for port in self.step.inputs.values():
            for value in (port.path, port.value):
                if value is not None and isinstance(value.data, str):
                    found = bindings.bindings_in(value.data)
                    makers += [
                        self.scope.maker(self.step, binding, unprefixed=bindings.PARENT) for binding in found
                    ]
        return tuple(dict.fromkeys(maker for maker in makers if maker not in (None, self.step.name)))

    def _with_segments_filled(self, value: Value) -> str | None:
        """The text of a command, of arguments or of a variable, its optional segments kept or dropped."""
        text = scalars.text(value, self.problems, "one text (a folded block: >-)")
        if text is None:
            return None
        try:
            return bindings.fill_segments(
                text, lambda binding: self.scope.has_value(self.step, binding, value.place)
            )
        except BindingError as error:
            self.problems.error(value.place, str(error))
            return None
