"""Builds parallel steps that can run from declared ones: settings, entry script, split input, rows."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from daskpar.errors import nearest
from daskpar.jobspec import bindings, row_formats, scalars
from daskpar.jobspec.async_script import calls_in_flight, check_in_flight
from daskpar.jobspec.bindings import BindingError
from daskpar.jobspec.environments import environment_of
from daskpar.jobspec.failed_item_checks import check_failed_items_to, check_isolation
from daskpar.jobspec.input_access import shown_paths
from daskpar.jobspec.model import BySize, Input, Output, ParallelStep
from daskpar.jobspec.output_uploads import with_uploads, without_unused
from daskpar.jobspec.problems import Place
from daskpar.jobspec.program_arguments import DriverFlags, UnclosedQuote, driver_flags, split_arguments
from daskpar.jobspec.row_tables import table_hint
from daskpar.jobspec.scope import same_name
from daskpar.jobspec.script_check import check_script, find_script, near_script
from daskpar.jobspec.second_copies import check_backup
from daskpar.jobspec.step_builder import StepBuilder
from daskpar.jobspec.step_settings import LIMITS_OF_FAILURE, ChosenSettings, choose_settings
from daskpar.jobspec.url_check import check_urls
from daskpar.jobspec.yaml_source import Value, shown_path
from daskpar.locations import is_url

FEW_BYTES = 10_000
"""A plain `mini_batch_size` below this, for a table, was probably meant to be of rows."""
DEFAULT_FILE_STEM = "parallel_run_step"
"""Name of the aggregated file inside a folder output, as Azure's driver calls it."""
_OF_ROWS = (
    "append_row_format",
    "append_row_columns",
    "append_row_part_size",
    "append_row_join",
    "append_row_index",
)
_NOT_IN_FILE_NAMES = frozenset('~"#%&*:<>?/\\{|}')


class ParallelBuilder(StepBuilder):
    """Builds one parallel step."""

    def build(self) -> ParallelStep:
        """The step; where something is wrong, what stands in its place does not matter."""
        self._check_task_type()
        inputs, outputs = self._inputs(), self._outputs()
        code = self._code(("task", "code"))
        arguments = self._arguments()
        flags = self._driver_flags(arguments)
        settings = choose_settings(
            self._literal, self.step.overrides, flags, self._place_of_argument, self.problems
        )
        self.sources |= settings.sources
        by_size, keys = settings.values["mini_batch_size"], settings.values["partition_keys"]
        assert isinstance(by_size, BySize) and isinstance(keys, tuple)
        split_inputs = self._input_data(inputs, settings)
        self._check_tables(inputs, split_inputs)
        by_size = self._counted(by_size, keys, inputs, split_inputs)
        inputs = self._with_modes(inputs, split_inputs, by_size, keys)
        rows, into_folder = self._append_row_to(outputs, flags, settings)
        outputs = with_uploads(outputs, self.scope.locations.uploads(self.step.name), rows)
        inputs = self._with_access(inputs, outputs)
        with self.scope.showing(inputs, outputs):
            if shown_paths(inputs) or any(output.seen for output in outputs.values()):
                arguments = self._arguments()  # once more: the modes were not known before
            variables = self._environment_variables()
        if (model := inputs.get(self.scope.job.model_input)) and model.seen:
            variables.setdefault("AZUREML_MODEL_DIR", os.path.dirname(model.seen))
        arguments = self._with_logging_level(arguments, flags, settings)
        self._check_division(inputs, split_inputs, by_size, keys, settings.sources)
        row_format = self._row_format(rows, settings, flags, into_folder=into_folder)
        if rows is not None:
            self._check_join(inputs, split_inputs, settings)
        outputs = without_unused(outputs, rows, (*arguments, *variables.values()))
        check_urls(self.scope, self.step, inputs, outputs, rows)
        check_isolation(settings, by_size, keys, self._place_of_argument, self.problems, self.notes)
        failed_items = self._failed_items_to(inputs, outputs, settings, rows)
        concurrency = settings.values["max_concurrency_per_instance"]
        instances = settings.values["instance_count"]
        script, in_flight = self._entry_script(code, settings, outputs)
        built = ParallelStep(
            name=self.step.name,
            display_name=self._display_name(),
            code=code,
            entry_script=script,
            arguments=arguments,
            environment_variables=variables,
            inputs=inputs,
            outputs=outputs,
            input_data=split_inputs,
            by_size=by_size,
            partition_keys=keys,
            append_row_to=rows,
            append_row_folder=into_folder,
            instance_count=instances if isinstance(instances, int) else 1,
            max_concurrency_per_instance=concurrency if isinstance(concurrency, int) else None,
            compute=self._compute(),
            settings=replace(
                settings.driver_settings(), append_row_format=row_format, failed_items_to=failed_items
            ),
            in_flight=in_flight,
            sources=self.sources,
            needs=self._needs(inputs),
            where=self.step.place.where,
            environment=environment_of(self.step.tree),
            original=self.step.tree.plain(),
        )
        check_backup(built, self._place_of_argument, self.problems)
        return built

    def _check_task_type(self) -> None:
        if self.step.tree.get("task") is None:
            self.problems.error(
                self.step.place, "a parallel step needs a task: code, entry_script and program_arguments."
            )
        value = self.step.tree.get("task", "type")
        if value is None or value.data in ("run_function", "function"):
            return
        what = f"tasks of type {scalars.quoted(value.data)} are not run here; run_function is."
        self.problems.error(value.place, what, nearest(str(value.data), ["run_function"]))

    def _arguments(self) -> tuple[str, ...]:
        value = self.step.tree.get("task", "program_arguments")
        self._source("program_arguments", value)
        text = self._with_segments_filled(value) if value else None
        if text is None or value is None:
            return ()
        try:
            words = split_arguments(text)
        except UnclosedQuote as error:
            self.problems.error(value.place, str(error))
            return ()
        filled = [self.scope.text(self.step, word, value.place) for word in words]
        # What can't be filled in stays as it was written: who reads it knows that its mistake is recorded.
        return tuple(word if text is None else text for word, text in zip(words, filled, strict=True))

    def _with_logging_level(
        self, arguments: tuple[str, ...], flags: DriverFlags, settings: ChosenSettings
    ) -> tuple[str, ...]:
        """The arguments with the logging level that counts at their end, as scripts find it in Azure."""
        level = str(settings.values["logging_level"])
        if settings.sources["logging_level"] == "default" or flags.values.get("logging_level") == level:
            return arguments
        return (*arguments, "--logging_level", level)

    def _place_of_argument(self, argument: str) -> Place:
        value = self.step.tree.get("task", "program_arguments")
        return value.place_of(argument) if value else self.step.place

    def _driver_flags(self, arguments: tuple[str, ...]) -> DriverFlags:
        flags = driver_flags(arguments)
        for flag in flags.missing:
            self.problems.error(self._place_of_argument(flag), f"the program argument {flag} needs a value.")
        for flag, meant in flags.near_misses.items():
            what = f"the program argument {flag} is not the driver's and has no effect; the script gets it."
            grave = meant.setting in LIMITS_OF_FAILURE
            self.problems.warn(
                self._place_of_argument(flag),
                what,
                f"If it is meant for the driver, {meant.right}.",
                grave=grave,
            )
        for flag in flags.ignored:
            self.notes.append(
                f"The program argument {flag} ({self._place_of_argument(flag).where}) changes "
                "nothing here; the script gets it."
            )
        return flags

    def _entry_script(
        self, code: Path | None, settings: ChosenSettings, outputs: Mapping[str, Output]
    ) -> tuple[str, int]:
        """What processors import, and how many of its calls are in flight in one of them."""
        value = self._literal(("task", "entry_script"))
        self._source("entry_script", value)
        text = scalars.text(value, self.problems, "the name of a Python file") if value else None
        if value is None:
            if self.step.tree.get("task") is not None:
                self.problems.error(
                    self._place("task"), "the task needs an entry_script.", "Write entry_script: FILE.py."
                )
            return "", 0
        folder = code or value.place.folder
        no_code = code is None and self.step.tree.get("task", "code") is not None
        if text is None or no_code or (code is not None and not os.path.isdir(folder)):
            return text or "", 0  # a missing code folder has its own mistake
        found = find_script(text, folder)
        if found is None:
            hint = near_script(text, folder)
            self.problems.error(
                value.place, f"the entry script {text!r} does not exist in {shown_path(folder)}.", hint
            )
            return text, 0
        uploaded = [name for name, output in outputs.items() if output.seen]
        if self.check_files and found.path is not None:
            for problem in check_script(found.path, needs_run=not settings.values["amlbi_async_mode"]):
                place = Place(file=shown_path(problem.path), line=problem.line, folder=folder)
                self.problems.error(place, problem.what, problem.hint)
            check_in_flight(found, settings, uploaded, self._place_of_argument, self.problems)
        return found.name, calls_in_flight(found.path, settings, uploaded)

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

    def _append_row_to(
        self, outputs: Mapping[str, Output], flags: DriverFlags, settings: ChosenSettings
    ) -> tuple[str | None, bool]:
        """Where rows go, and whether that is a folder for part files."""
        value = self.step.tree.get("task", "append_row_to")
        self._source("append_row_to", value)
        text = scalars.text(value, self.problems, "a path or a binding: ${{outputs.NAME}}") if value else None
        if value is None or text is None:
            return None, False
        filled = self.scope.text(self.step, text, value.place)
        path = self.scope.locations.location_of(Value(filled, value.place)) if filled is not None else None
        if path is None:
            return None, False
        if (apart := self.scope.locations.apart) is not None and self.step.name in apart.names:
            path = apart.place(self.step.name, "rows", path, is_file=not os.path.isdir(path))
        bound = bindings.only_binding(text)
        meant = self.scope.meaning(self.step, bound, value.place) if bound else None
        folders = {
            output.path
            for output in [*outputs.values(), meant]
            if isinstance(output, Output) and output.type != "uri_file"
        }
        row_format = str(settings.values["append_row_format"])
        if settings.sources["append_row_format"] == "default" and path in folders:
            row_format = row_formats.format_by_name(path)
        into_folder = (
            path in folders and row_format != row_formats.TEXT and "append_row_file_name" not in flags.values
        )
        if path in folders and not into_folder:
            name = flags.values.get("append_row_file_name") or (
                DEFAULT_FILE_STEM + row_formats.FILE_ENDINGS[row_format]
            )
            if _NOT_IN_FILE_NAMES & set(name):
                self.problems.error(
                    self._place_of_argument("--append_row_file_name"),
                    f"--append_row_file_name {name!r} is no name for a file.",
                )
            path = posixpath.join(path, name) if is_url(path) else os.path.join(path, name)
        if bound is None and path not in {output.path for output in outputs.values()}:
            what = (
                f"rows are appended to {self.scope.locations.shown_path(path)}, "
                "which is none of the step's outputs."
            )
            self.problems.warn(value.place, what, "Write ${{outputs.NAME}} for one of them.")
        if (
            self.check_files
            and not into_folder
            and not self.scope.locations.in_run(path)
            and os.path.isdir(path)
        ):
            self.problems.error(
                value.place,
                f"{shown_path(Path(path))} is a folder; rows are appended to a file.",
                "Give the output type: uri_folder.",
            )
        return path, into_folder

    def _failed_items_to(
        self,
        inputs: Mapping[str, Input],
        outputs: Mapping[str, Output],
        settings: ChosenSettings,
        rows: str | None,
    ) -> str | None:
        """Where the failed items go: an output, or a local path; a folder, unless it is a `uri_file`."""
        text = settings.values["failed_items_to"]
        if not isinstance(text, str) or not text:
            return None
        place = self._place_of_argument("--failed_items_to")
        path = self.scope.locations.location_of(Value(text, place))
        if path is not None:
            check_failed_items_to(path, place, inputs, outputs, rows, self.scope, self.check_files)
        return path

    def _row_format(
        self, rows: str | None, settings: ChosenSettings, flags: DriverFlags, *, into_folder: bool
    ) -> str:
        """The format of the rows that go to `rows`: as it is written, else as the file's name says."""
        chosen, source = str(settings.values["append_row_format"]), settings.sources["append_row_format"]
        place = self._place_of_argument("--append_row_format")
        if rows is None:
            given = next((name for name in _OF_ROWS if settings.sources[name] != "default"), None)
            if (
                given and self.step.tree.get("task", "append_row_to") is None
            ):  # else it has a mistake of its own
                self.problems.error(
                    self._place_of_argument(f"--{given}"),
                    f"--{given} {flags.values.get(given, '')}".rstrip()
                    + " is for rows, and this step aggregates none.",
                    "Write append_row_to: ${{outputs.NAME}} in the task.",
                )
            return chosen
        name = rows.rpartition("/")[2]
        if source == "default":
            chosen = row_formats.format_by_name(rows)
            if chosen != row_formats.TEXT:
                self.sources["append_row_format"] = f"the name {name}"
        # Text may have any name, as in Azure; but nobody takes lines of text for Parquet.
        elif (
            not into_folder
            and (ending := row_formats.wrong_ending(chosen, rows))
            and (chosen != row_formats.TEXT or ending == ".parquet")
        ):
            self.problems.error(
                place,
                f"rows are written as {chosen} (--append_row_format), and {name} says {ending}.",
                f"Name the file so that it ends in {row_formats.FILE_ENDINGS[chosen]}, "
                "or write another --append_row_format.",
            )
        self._check_row_options(chosen, settings, flags)
        if not into_folder and settings.sources["append_row_part_size"] != "default":
            self.problems.error(
                self._place_of_argument("--append_row_part_size"),
                "--append_row_part_size is for rows that go to a folder of part files; these go to a file.",
                "Give the output type: uri_folder, and --append_row_format csv, parquet or jsonl.",
            )
        return chosen

    def _check_join(
        self,
        inputs: Mapping[str, Input],
        split_inputs: tuple[str, ...],
        settings: ChosenSettings,
    ) -> None:
        """What of `--append_row_join` can't be, as far as that is known before the input is opened."""
        names = settings.values["append_row_join"]
        assert isinstance(names, tuple)
        if not names:
            return
        place = self._place_of_argument("--append_row_join")
        if settings.values["rank_mini_batch_count"]:
            self.problems.error(
                place, "--append_row_join is for steps with input_data, and this one has numbers for items."
            )
        elif row_formats.ALL in names and len(names) > 1:
            self.problems.error(
                place, f"--append_row_join {row_formats.ALL} has all columns: name no others beside it."
            )
        elif split_inputs and inputs[split_inputs[0]].type != "mltable":
            others = [name for name in names if name != row_formats.PATH]
            if others:
                self.problems.error(
                    place,
                    f"--append_row_join names {', '.join(map(repr, others))}, and the input "
                    f"{split_inputs[0]!r} is a list of files ({inputs[split_inputs[0]].type}), which has no "
                    "columns.",
                    f"Write --append_row_join {row_formats.PATH} to have the path of each file.",
                )

    def _check_row_options(self, chosen: str, settings: ChosenSettings, flags: DriverFlags) -> None:
        if chosen == row_formats.TEXT and settings.sources["append_row_columns"] != "default":
            self.problems.error(
                self._place_of_argument("--append_row_columns"),
                "--append_row_columns is for rows whose values have names, and these rows are text.",
                f"Write --append_row_format {', '.join(row_formats.FORMATS[1:-1])} or "
                f"{row_formats.FORMATS[-1]} as well.",
            )
        if chosen != row_formats.TEXT and "append_row_dataframe_header" in flags.values:
            self.notes.append(
                "--append_row_dataframe_header "
                f"({self._place_of_argument('--append_row_dataframe_header').where}) changes nothing for "
                f"rows in the format {chosen}: their names are in the file anyway."
            )


def _parts(text: str) -> list[str | bindings.Binding]:
    try:
        return bindings.parse(text)
    except BindingError:
        return ["${{"]
