"""Builds command steps that can run from declared ones: their inputs, variables and shell text."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from daskpar.jobspec import bindings, scalars
from daskpar.jobspec.bindings import BindingError
from daskpar.jobspec.command_text import FilledCommand, Filling, fill_command
from daskpar.jobspec.environments import environment_of
from daskpar.jobspec.model import CommandStep, Input, Output
from daskpar.jobspec.output_uploads import with_uploads
from daskpar.jobspec.problems import Place
from daskpar.jobspec.step_builder import StepBuilder
from daskpar.jobspec.url_check import check_urls
from daskpar.jobspec.yaml_source import near_file, shown_path


class CommandBuilder(StepBuilder):
    """Builds one command step."""

    def build(self) -> CommandStep:
        """The step; where something is wrong, what stands in its place does not matter."""
        inputs, outputs = self._inputs(), self._outputs()
        inputs = {
            name: replace(value, mode=value.mode or ("ro_mount" if value.is_data else ""))
            for name, value in inputs.items()
        }
        outputs = with_uploads(outputs, self.scope.locations.uploads(self.step.name))
        inputs = self._with_access(inputs, outputs)
        with self.scope.showing(inputs, outputs):
            command, variables = self._command(), self._environment_variables()
        check_urls(self.scope, self.step, inputs, outputs)
        limit = self._literal(("limits", "timeout"))
        self._source("limits.timeout", limit)
        return CommandStep(
            name=self.step.name,
            display_name=self._display_name(),
            code=self._code(("code",)),
            command=command.text,
            variables=command.variables,
            environment_variables=variables,
            inputs=inputs,
            outputs=outputs,
            compute=self._compute(),
            includes=self._includes(),
            timeout=scalars.time_limit(limit, self.problems) if limit else None,
            sources=self.sources,
            needs=self._needs(inputs),
            where=self.step.place.where,
            environment=environment_of(self.step.tree),
            original=self.step.tree.plain(),
        )

    def _includes(self) -> tuple[Path, ...]:
        """What a component wants beside its code."""
        value = self.step.tree.get("additional_includes")
        if value is None:
            return ()
        if not isinstance(value.data, list):
            self.problems.error(value.place, f"has to be a list of paths, not {scalars.quoted(value.data)}.")
        found = []
        for element in value.elements():
            if element.is_mapping:
                self.problems.warn(element.place, "is an artifact of a feed, which is not fetched here.")
                continue
            name = scalars.text(element, self.problems, "a path")
            place = self.scope.locations.location_of(element) if name is not None else None
            if place is None:
                continue
            if self.check_files and not os.path.exists(place):
                path = Path(place)
                self.problems.error(element.place, f"{shown_path(path)} does not exist.", near_file(path))
            found.append(Path(place))
        return tuple(found)

    def _command(self) -> FilledCommand:
        value = self.step.tree.get("command")
        self._source("command", value)
        if value is None or (isinstance(value.data, str) and not value.data.strip()):
            self.problems.error(
                value.place if value else self.step.place,
                "a command step needs a command.",
                "Write command: python FILE.py.",
            )
            return FilledCommand("")
        text = self._with_segments_filled(value)
        if text is None:
            return FilledCommand("")
        try:
            return fill_command(text, lambda binding: self._filling(binding, value.place))
        except BindingError as error:
            self.problems.error(value.place, str(error))
            return FilledCommand("")

    def _filling(self, binding: bindings.Binding, place: Place) -> Filling:
        found = self.scope.meaning(self.step, binding, place)
        is_path = isinstance(found, Output) or (isinstance(found, Input) and found.is_data)
        return Filling(self.scope.value_text(self.step, binding, place) or "", is_path)
