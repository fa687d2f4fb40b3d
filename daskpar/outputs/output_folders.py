"""Output folders: made before a step fills them; moved aside, never deleted, before it fills them again."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from pathlib import Path

from daskpar import atomic
from daskpar.errors import RunDirectoryError, UsageError
from daskpar.jobspec.model import CommandStep, Output, Step
from daskpar.locations import is_url

NAMED = 5000
"""Up to so many things in a folder are remembered by name."""
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
        with atomic.explained(f"{_where(output)}The output {output.name} can't be made at {path}"):
            found = _mode(path)
            if is_file and stat.S_ISDIR(found):
                raise UsageError(
                    f"{_where(output)}The output {output.name} is a file, and there is a folder at {path}. "
                    "Give another path."
                )
            if not is_file and found and not stat.S_ISDIR(found):
                raise UsageError(
                    f"{_where(output)}The output {output.name} is a folder, and there is a file at {path}. "
                    "Give another path."
                )
            (path.parent if is_file else path).mkdir(parents=True, exist_ok=True)


def _mode(path: Path) -> int:
    """What kind of file is at `path`, links followed; 0 for none. OSError where that can't be seen, which
    `exists` may swallow.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def move_aside(path: Path | str, keep: Collection[Path | str] = ()) -> Path | None:
    """Rename what an unfinished step left at `path` to `NAME.unfinished-1` (2, ...) and return that; None
    when there was nothing.

    The paths `keep` stay where they are, be they `path` itself or inside it: what the step did not make.
    """
    path = Path(path)
    if not os.path.lexists(path):
        return None
    aside = next(
        name
        for n in range(1, 100_000)
        if not os.path.lexists(name := path.with_name(f"{path.name}.unfinished-{n}"))
    )
    stays = {inside for name in keep for inside in _inside(path, name)}
    try:
        # Nothing to move: the path itself stays, or it is an empty folder.
        if "" in stays or (path.is_dir() and not path.is_symlink() and not any(path.iterdir())):
            return None
        if not stays:
            path.rename(aside)
            return aside
        moved = [child for child in path.iterdir() if child.name not in stays]
        if not moved:
            return None
        aside.mkdir()
        for child in moved:
            child.rename(aside / child.name)
    except OSError as error:
        raise RunDirectoryError(
            f"{path}, left by a step that did not finish, can't be moved aside to {aside}: {error.strerror}. "
            "Move or remove it yourself, then resume."
        ) from error
    return aside


def _inside(path: Path, name: Path | str) -> list[str]:
    """Entries of the folder `path` on the way to `name`, links followed or not; an empty one where it is
    `path` itself.
    """
    ways = [(os.path.abspath(path), os.path.abspath(name)), (os.path.realpath(path), os.path.realpath(name))]
    return [
        "" if at == of else at.removeprefix(of + "/").partition("/")[0]
        for of, at in ways
        if at == of or at.startswith(of + "/")
    ]


def there_before(step: Step) -> dict[str, str]:
    """What lies in the places of a step's local outputs before it first begins: path -> a text that changes
    when a file does.

    A folder in an output folder is only named: what a try adds or changes inside it is not told from what was
    there, and stays. An output folder that holds very many things is named itself: nothing of it will be
    moved.
    """
    found: dict[str, str] = {}
    for output in step.outputs.values():
        path = Path(output.path)
        if is_url(output.path):
            continue
        with atomic.explained(
            f"{_where(output)}What lies at {path}, the output {output.name}, can't be looked at"
        ):
            kind = _mode(path)
            if stat.S_ISDIR(kind):
                held = list(islice(path.iterdir(), NAMED + 1))
                found |= (
                    {str(child): _stamp(child) for child in held} if len(held) <= NAMED else {str(path): ""}
                )
            elif kind:
                found[str(path)] = _stamp(path)
    return found


def unchanged(before: Mapping[str, str]) -> list[str]:
    """The paths of `there_before` that are as they were; of a folder, that it is there."""
    return [
        path
        for path, stamp in before.items()
        if os.path.lexists(path) and (not stamp or stamp == _stamp(Path(path)))
    ]


def _stamp(path: Path) -> str:
    """A text that changes when the file does; empty for a folder, and for a link that leads nowhere."""
    try:
        seen = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return ""
        raise
    # A folder's time changes with anything that is made in it, what others make included.
    return "" if stat.S_ISDIR(seen.st_mode) else f"{seen.st_mtime_ns} {seen.st_size}"


def prepare_outputs(step: Step, *, again: bool = False, keep: Iterable[str] = ()) -> list[str]:
    """Before a step starts: its local outputs are made. One sentence for each that was moved aside.

    What an earlier, unfinished try of a command (`again`) left is moved aside first; what it did not make
    (`keep`) stays. A parallel step goes on where it was, so its outputs stay.
    """
    moved = []
    if again and isinstance(step, CommandStep):
        local = _local(keep)
        for output in step.outputs.values():
            if not is_url(output.path) and (aside := move_aside(output.path, local)) is not None:
                moved.append(f"What the unfinished step {step.name} left in {output.path} is now {aside}.")
    prepare(step.outputs)
    return moved


def set_outputs_aside(step: Step, keep: Iterable[str] = ()) -> list[str]:
    """Before a step that was done runs from the start: its local outputs are moved aside, but for the file
    that is replaced when the new one is whole. One sentence for each."""
    kept_until_replaced = getattr(step, "append_row_to", None)
    local = _local(keep)
    moved = []
    for output in step.outputs.values():
        if output.seen:
            moved.append(
                f"What step {step.name} had written to {output.path} stays there: files of the same name are "
                "replaced, and none is removed."
            )
        if (
            not is_url(output.path)
            and output.path != kept_until_replaced
            and (aside := move_aside(output.path, local)) is not None
        ):
            moved.append(f"What step {step.name} had written to {output.path} is now {aside}.")
    return moved


def _local(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if not is_url(path)]


def _where(output: Output) -> str:
    return f"{output.where}: " if output.where else ""
