"""Checks what a parallel step says of failed items: whether any can be told apart, and where they go."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from daskpar.jobspec.model import BySize, Input, Output
from daskpar.jobspec.output_uploads import NOT_WRITTEN
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.scope import Scope
from daskpar.jobspec.step_settings import ChosenSettings
from daskpar.jobspec.yaml_source import shown_path
from daskpar.locations import is_url


def check_isolation(
    settings: ChosenSettings,
    by_size: BySize,
    keys: tuple[str, ...],
    place_of: Callable[[str], Place],
    problems: Problems,
    notes: list[str],
) -> None:
    """Record where nothing is divided, although that is asked for."""
    place, chosen = place_of("--isolate_failed_items"), settings.values["isolate_failed_items"]
    if not chosen and settings.sources["isolate_at_most"] != "default":
        problems.error(
            place_of("--isolate_at_most"),
            "--isolate_at_most is for mini-batches that are divided, and none is here.",
            "Write --isolate_failed_items True as well.",
        )
    elif chosen == "items" and keys:
        problems.warn(
            place,
            "--isolate_failed_items True divides no groups (partition_keys): a script may need its group "
            "whole.",
            "Where it takes any rows of a group, write --isolate_failed_items groups.",
            grave=True,
        )
    elif chosen and by_size.unit == 1 and by_size.number == 1 and not keys:
        notes.append(f"--isolate_failed_items ({place.where}) changes nothing for mini-batches of one file.")


def check_failed_items_to(
    path: str,
    place: Place,
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Output],
    rows: str | None,
    scope: Scope,
    check_files: bool,
) -> None:
    """Record what is wrong with `path` as the place for failed items."""
    problems, shown = scope.problems, scope.locations.shown_path(path)
    if is_url(path) and path.partition("://")[0].lower() in NOT_WRITTEN:
        problems.error(
            place, f"--failed_items_to {path} can't be written.", "Give a folder, or an output that is one."
        )
    elif path == rows or any(data.is_data and data.path == path for data in inputs.values()):
        problems.error(
            place,
            f"--failed_items_to {shown} is the step's {'append_row_to' if path == rows else 'input'} too.",
            "Give it an output of its own: ${{outputs.NAME}}.",
        )
    elif path not in {output.path for output in outputs.values()}:
        what = f"failed items go to {shown}, which is none of the step's outputs."
        problems.warn(place, what, "Write ${{outputs.NAME}} for one of them.")
        if check_files and os.path.isfile(path):
            problems.error(place, f"{shown_path(Path(path))} is a file; failed items go to a folder.")
