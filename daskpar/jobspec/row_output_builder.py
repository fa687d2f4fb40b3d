"""The rows of a parallel step: the file or folder that they go to, their format, their failed items."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from pathlib import Path

from daskpar.jobspec import bindings, row_formats, scalars
from daskpar.jobspec.failed_item_checks import check_failed_items_to
from daskpar.jobspec.model import Input, Output
from daskpar.jobspec.program_arguments import DriverFlags
from daskpar.jobspec.step_builder import StepBuilder
from daskpar.jobspec.step_settings import ChosenSettings
from daskpar.jobspec.yaml_source import Value, shown_path
from daskpar.locations import is_url

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


class RowOutputBuilder(StepBuilder):
    """Builds what a parallel step says of the rows that it aggregates."""

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
