"""The input of a parallel step that is split into mini-batches: which, in what mode, by what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from daskpar.errors import nearest
from daskpar.jobspec import bindings, scalars
from daskpar.jobspec.bindings import BindingError
from daskpar.jobspec.model import BySize, Input
from daskpar.jobspec.problems import Place
from daskpar.jobspec.row_tables import table_hint
from daskpar.jobspec.scope import same_name
from daskpar.jobspec.step_builder import StepBuilder
from daskpar.jobspec.step_settings import ChosenSettings
from daskpar.jobspec.yaml_source import Value

FEW_BYTES = 10_000
"""A plain `mini_batch_size` below this, for a table, was probably meant to be of rows."""


class SplitInputBuilder(StepBuilder):
    """Builds what a parallel step says of the input that it splits."""

    def _input_data(self, inputs: Mapping[str, Input], settings: ChosenSettings) -> tuple[str, ...]:
        value = self.step.tree.get("input_data")
        self._source("input_data", value)
        if value is None:
            if not settings.values["rank_mini_batch_count"]:
                data = [name for name, found in inputs.items() if found.is_data]
                hint = f"Write input_data: ${{{{inputs.{data[0]}}}}}." if data else ""
                self.problems.error(
                    self.step.place,
                    "a parallel step needs input_data: the input that is split into mini-batches.",
                    hint,
                )
            return ()
        names: list[str] = []
        for element in value.elements() or [value]:
            names += self._split_names(element, inputs)
        return tuple(dict.fromkeys(names))

    def _split_names(self, value: Value, inputs: Mapping[str, Input]) -> Iterator[str]:
        text = scalars.text(value, self.problems, "a binding: ${{inputs.NAME}}")
        if text is None:
            return
        found = list(bindings.bindings_in(text))
        if not found or any(
            not isinstance(part, bindings.Binding) and part.strip(" ,") for part in _parts(text)
        ):
            hint = (
                f"Write ${{{{inputs.{text.strip()}}}}}."
                if text.strip() in self.step.inputs
                else "Write ${{inputs.NAME}}."
            )
            self.problems.error(
                value.place,
                f"has to be a binding to one of the step's inputs, not {scalars.quoted(text)}.",
                hint,
            )
            return
        for binding in found:
            reference = bindings.reference_of(binding)
            if reference is None or reference.scope != bindings.OWN or reference.kind != "inputs":
                self.problems.error(
                    value.place,
                    f"has to be a binding to one of the step's own inputs, not {binding}.",
                    "Write ${{inputs.NAME}}.",
                )
            elif (name := same_name(reference.name, self.step.inputs)) not in self.step.inputs:
                listed = f"It has: {', '.join(self.step.inputs)}." if self.step.inputs else ""
                self.problems.error(
                    value.place,
                    f"{binding}: the step has no input {reference.name!r}.",
                    nearest(reference.name, self.step.inputs) or listed,
                )
            elif name in inputs and not inputs[name].is_data:
                self._refuse_to_split(inputs[name], value.place)
            elif name in inputs:
                yield name

    def _refuse_to_split(self, literal: Input, place: Place) -> None:
        if literal.value is None:
            what = (
                f"the input {literal.name!r} is optional and has no value; what is "
                "split into mini-batches needs one."
            )
            self.problems.error(place, what)
            return
        hint = (
            f"For data, write {literal.name}: {{type: uri_folder, path: {literal.value}}}."
            if isinstance(literal.value, str)
            else ""
        )
        self.problems.error(
            place, f"the input {literal.name!r} is a literal; only data can be split into mini-batches.", hint
        )

    def _with_modes(
        self,
        inputs: Mapping[str, Input],
        split_inputs: tuple[str, ...],
        by_size: BySize,
        keys: tuple[str, ...],
    ) -> dict[str, Input]:
        """Inputs with a mode each."""
        # An MLTable that is split and has no mode is a table (`direct`), as people expect of the type; where
        # its mini-batches are given as a plain number, which for a table would be bytes, it is a file list.
        counted = by_size.number > 0 and by_size.unit == 1 and not keys
        filled = {}
        for name, value in inputs.items():
            mode = value.mode
            if not mode and value.is_data:
                mode = "ro_mount"
                if value.type == "mltable" and name in split_inputs:
                    mode = "eval_mount" if counted else "direct"
                    self.sources[f"inputs.{name}.mode"] = "default"
            filled[name] = replace(value, mode=mode)
        return filled

    def _check_tables(self, inputs: Mapping[str, Input], split_inputs: tuple[str, ...]) -> None:
        """An mltable that is split has to be one; what other steps read as a folder may be any folder."""
        for name in split_inputs:
            if inputs[name].type == "mltable" and inputs[name].made_by is None:
                self.scope.check_table(inputs[name].path)

    def _counted(
        self,
        by_size: BySize,
        keys: tuple[str, ...],
        inputs: Mapping[str, Input],
        split_inputs: tuple[str, ...],
    ) -> BySize:
        """A size in bytes for a list of files is a number of files, as Azure takes it."""
        lists = [inputs[name] for name in split_inputs if inputs[name].is_file_list]
        if by_size.unit == 1 or keys or not lists or any(data.type == "uri_file" for data in lists):
            return by_size
        data, number = lists[0], by_size.number * by_size.unit
        self.problems.warn(
            self._place("mini_batch_size"),
            f"{by_size.written} is taken as {number} files, as Azure does: the input {data.name!r} is a list "
            f"of files ({data.type}{f', {data.mode}' if data.mode else ''}), and mini-batches of files are "
            "counted.",
            'Write a number of files, like "10"'
            + ("; for a table, mode: direct." if data.type == "mltable" else "."),
        )
        return BySize(number=number, unit=1)

    def _check_division(
        self,
        inputs: Mapping[str, Input],
        split_inputs: tuple[str, ...],
        by_size: BySize,
        keys: tuple[str, ...],
        sources: Mapping[str, str],
    ) -> None:
        lists = [inputs[name].is_file_list for name in split_inputs]
        if len(set(lists)) > 1 or (keys and len(lists) > 1 and lists[0]):
            self.problems.error(
                self._place("input_data"),
                f"names {len(lists)} inputs ({', '.join(split_inputs)}); "
                "several are split one after the other "
                + ("by size only." if keys and lists[0] else "where all are tables or all lists of files."),
                "Write a step for each.",
            )
        for name in split_inputs:
            value = inputs[name]
            if keys and value.type != "mltable":
                what = (
                    "partition_keys need an mltable, which has columns; the input "
                    f"{name!r} is of type {value.type}."
                )
                self.problems.error(self._place("partition_keys"), what)
            elif by_size.unit > 1 and not keys and value.is_file_list:
                what = (
                    f"the input {name!r} is a list of files ({value.type}, {value.mode}), and "
                    "mini-batches of files are counted."
                )
                self.problems.error(
                    self._place("mini_batch_size"), what, table_hint(value.path, by_size.written)
                )
            elif (
                0 < by_size.number < FEW_BYTES
                and by_size.unit == 1
                and not keys
                and value.type == "mltable"
                and value.mode == "direct"
            ):
                what = (
                    f"{by_size.number} is a number of bytes, not of rows: the input "
                    f"{name!r} is a table (mode: direct)."
                )
                self.problems.warn(
                    self._place("mini_batch_size"), what, 'Write a size with a unit, like "1mb".'
                )
        if keys and by_size.number and sources["mini_batch_size"] != "default":
            self.notes.append(
                f"mini_batch_size ({sources['mini_batch_size']}) has no effect: partition_keys decide."
            )


def _parts(text: str) -> list[str | bindings.Binding]:
    try:
        return bindings.parse(text)
    except BindingError:
        return ["${{"]
