"""Builds parallel steps that can run from declared ones: settings, entry script, split input, rows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from daskpar.errors import nearest
from daskpar.jobspec import scalars
from daskpar.jobspec.async_script import calls_in_flight, check_in_flight
from daskpar.jobspec.environments import environment_of
from daskpar.jobspec.failed_item_checks import check_isolation
from daskpar.jobspec.input_access import shown_paths
from daskpar.jobspec.model import BySize, Output, ParallelStep
from daskpar.jobspec.output_uploads import with_uploads, without_unused
from daskpar.jobspec.problems import Place
from daskpar.jobspec.program_arguments import DriverFlags, UnclosedQuote, driver_flags, split_arguments
from daskpar.jobspec.row_output_builder import RowOutputBuilder
from daskpar.jobspec.script_check import check_script, find_script, near_script
from daskpar.jobspec.second_copies import check_backup
from daskpar.jobspec.split_input_builder import SplitInputBuilder
from daskpar.jobspec.step_settings import LIMITS_OF_FAILURE, ChosenSettings, choose_settings
from daskpar.jobspec.url_check import check_urls
from daskpar.jobspec.yaml_source import shown_path


class ParallelBuilder(SplitInputBuilder, RowOutputBuilder):
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
