"""Output folders: made before a step fills them, and moved aside, never deleted, before a command step fills them again."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from daskpar.data.locations import is_url
from daskpar.errors import RunDirectoryError, UsageError
from daskpar.outputs import writing
from daskpar.spec.model import CommandStep, Output, Step

_FILE_TYPES = {"uri_file"}


def prepare(outputs: Mapping[str, Output]) -> None:
    """Make the folders that a step's local outputs need: themselves, or for a file those above it.

    Raises UsageError where a file is in the way of a folder or a folder in the way of a file.
    """
    for output in outputs.values():
        if is_url(output.path):
            continue
        path = Path(output.path)
        is_file = output.type in _FILE_TYPES
        with writing.explained(f"{_where(output)}The output {output.name} can't be made at {path}"):
            found = _mode(path)
            if is_file and stat.S_ISDIR(found):
                raise UsageError(f"{_where(output)}The output {output.name} is a file, and there is a folder at {path}. Give another path.")
            if not is_file and found and not stat.S_ISDIR(found):
                raise UsageError(f"{_where(output)}The output {output.name} is a folder, and there is a file at {path}. Give another path.")
            (path.parent if is_file else path).mkdir(parents=True, exist_ok=True)


def _mode(path: Path) -> int:
    """What kind of file is at `path`, links followed; 0 for none. OSError where that can't be seen, which `exists` may swallow."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def refuse_shared(outputs: Iterable[tuple[str, Output]]) -> None:
    """Refuse two outputs of (step, output) in one place, links followed; one inside the other is fine."""
    seen: dict[str, tuple[str, Output]] = {}
    for step, output in outputs:
        place = output.path.rstrip("/") if is_url(output.path) else os.path.realpath(output.path)
        if place in seen:
            other, first = seen[place]
            raise UsageError(
                f"{_where(output)}The output {output.name} of {step} and the output {first.name} of {other} lie in one place, "
                f"{place}: one would overwrite the other. Give each a path of its own."
            )
        seen[place] = (step, output)


def move_aside(path: Path | str, keep: Collection[Path | str] = ()) -> Path | None:
    """Rename what an unfinished step left at `path` to `NAME.unfinished-1` (2, ...) and return that; None when there was nothing.

    Outputs of other steps that lie inside (`keep`) stay where they are.
    """
    path = Path(path)
    if not os.path.lexists(path) or (path.is_dir() and not path.is_symlink() and not any(path.iterdir())):
        return None
    kept = [Path(os.path.abspath(name)) for name in keep if path in Path(os.path.abspath(name)).parents]
    aside = next(name for n in range(1, 100_000) if not os.path.lexists(name := path.with_name(f"{path.name}.unfinished-{n}")))
    try:
        if not kept:
            path.rename(aside)
            return aside
        aside.mkdir()
        for child in list(path.iterdir()):
            if not any(child == name or child in name.parents for name in kept):
                child.rename(aside / child.name)
    except OSError as error:
        raise RunDirectoryError(
            f"{path}, left by a step that did not finish, can't be moved aside to {aside}: {error.strerror}. "
            "Move or remove it yourself, then resume."
        ) from error
    return aside


def prepare_outputs(step: Step, *, again: bool = False, others: Iterable[Output] = ()) -> list[str]:
    """Before a step starts: its local outputs are made. One sentence for each that was moved aside.

    What an earlier, unfinished try of a command (`again`) left is moved aside first; outputs of other steps inside it (`others`) stay.
    A parallel step goes on where it was, so its outputs stay.
    """
    moved = []
    if again and isinstance(step, CommandStep):
        keep = [output.path for output in others if not is_url(output.path)]
        for output in step.outputs.values():
            if not is_url(output.path) and (aside := move_aside(output.path, keep)) is not None:
                moved.append(f"What the unfinished step {step.name} left in {output.path} is now {aside}.")
    prepare(step.outputs)
    return moved


def set_outputs_aside(step: Step, others: Iterable[Output] = ()) -> list[str]:
    """Before a step that was done runs from the start: its local outputs are moved aside, but for the file that is replaced when the
    new one is whole. One sentence for each."""
    kept_until_replaced = getattr(step, "append_row_to", None)
    keep = [output.path for output in others if not is_url(output.path)]
    moved = []
    for output in step.outputs.values():
        if not is_url(output.path) and output.path != kept_until_replaced and (aside := move_aside(output.path, keep)) is not None:
            moved.append(f"What step {step.name} had written to {output.path} is now {aside}.")
    return moved


def _where(output: Output) -> str:
    return f"{output.where}: " if output.where else ""
