"""The working directory of a command: a copy of its code, so that what the command writes stays out of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from daskpar.atomic import explained, replace_json
from daskpar.data.file_copies import NO_LINKS
from daskpar.outputs.output_folders import move_aside
from daskpar.rundir.identity import is_run_directory
from daskpar.value_classes import frozen

_LEFT_OUT = {".git", ".hg", ".svn", "__pycache__"}
"""History and caches: large, and made anew by whoever needs them."""
_LINKED = "node_modules"
"""Installed packages, as a virtual environment is: large, and not written to by those who use them."""


def lay_out_code(
    code: Path | None,
    folder: Path,
    run_directory: Path,
    data: Collection[str] = (),
    stopped: Callable[[], bool] = lambda: False,
    note: Callable[[str], object] = lambda text: None,
    shown: Mapping[str, str] | None = None,
    includes: Sequence[Path] = (),
) -> None:
    """Make `folder` the working directory of a command: a copy of what lies in `code`.

    What the job reads and writes (`data`) and what is installed there become links, as do links that lead out
    of `code`; `shown` has where the command sees data that it does not see in its place. History, caches,
    this run directory and others are left out, and so is what goes while it is copied. An earlier copy is
    moved aside where a command has changed something in it, else removed. Ends early when `stopped` says so.
    Where the file system of `folder` has no symbolic links, files that links lead to are copied, all else
    that would be a link is left out, and `note` gets a sentence on that. `includes`: files and folders from
    elsewhere that lie beside the code.

    Raises RunDirectoryError where a file can't be read or written, InfrastructureLost for a full disk.
    """
    with explained(
        f"the code can't be copied from {code} to {folder}" if code else f"{folder} can't be made"
    ):
        _clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        replace_json(_mark(folder), "")
        given = {path.rstrip("/") for path in data}
        sources = [] if code is None else [(code, folder)]
        sources += [(path, folder / path.name) for path in includes]
        for source, target in sources:
            if source.is_file():
                shutil.copyfile(source, target)
                continue
            copy = _Copy(
                code=source, run_directory=run_directory, data=given, stopped=stopped, shown=shown or {}
            )
            target.mkdir(exist_ok=True)
            if not copy.folder(source, target):
                return
            if copy.unlinked:
                note(_without_links(folder, copy.unlinked))
        replace_json(_mark(folder), _digest(folder))


def _mark(folder: Path) -> Path:
    """The file with the digest of a copy; its text is empty while the copy is made."""
    return folder.with_name(f"{folder.name}.copied.json")


def _clear(folder: Path) -> None:
    """Nothing is left at `folder`; what a command may have made there is moved aside."""
    try:
        known = json.loads(_mark(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    if known is not None and folder.is_dir() and known in ("", _digest(folder)):
        shutil.rmtree(folder, ignore_errors=True)
    move_aside(folder)


def _digest(folder: Path) -> str:
    """A text that changes when something below `folder` is changed, new or gone; caches aside."""
    found = hashlib.blake2b(digest_size=16)
    for name, what in _things(folder, ""):
        found.update(f"{name}\0{what}\0".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _things(folder: Path | str, above: str) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as listed:
        entries = sorted(listed, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name in _LEFT_OUT:
            continue
        name = f"{above}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield name, "folder"
            yield from _things(entry.path, f"{name}/")
        elif entry.is_symlink():
            yield name, os.readlink(entry.path)
        else:
            seen = entry.stat(follow_symlinks=False)
            yield name, f"{seen.st_mtime_ns} {seen.st_size}"


@frozen(kw_only=True)
class _Copy:
    code: Path
    run_directory: Path
    data: Collection[str]
    stopped: Callable[[], bool]
    shown: Mapping[str, str]
    unlinked: list[str] = field(default_factory=list)
    """What is left out, where the file system has no symbolic links."""

    def folder(self, source: Path | str, target: Path) -> bool:
        """Copy what lies in `source`; False where it was stopped."""
        with os.scandir(source) as entries:
            for entry in entries:
                if self.stopped():
                    return False
                try:
                    if entry.name not in _LEFT_OUT and not self._entry(entry, target / entry.name):
                        return False
                except FileNotFoundError:
                    # What is gone by now, such as an editor's temporary file, is left out.
                    if os.path.lexists(entry.path):
                        raise
        return True

    def _entry(self, entry: os.DirEntry[str], place: Path) -> bool:
        if entry.is_symlink():
            # A relative link that stays inside leads to the copy of its target, any other to the original.
            leads_to, end = os.readlink(entry.path), Path(os.path.realpath(entry.path))
            stays_inside = not os.path.isabs(leads_to) and end.is_relative_to(os.path.realpath(self.code))
            if not self._linked(place, leads_to if stays_inside else end):
                self._copy_instead(end, place)
        elif entry.path in self.data:
            self._link_or_leave_out(place, self.shown.get(entry.path, entry.path))
        elif entry.is_dir():
            if entry.name == _LINKED or os.path.isfile(os.path.join(entry.path, "pyvenv.cfg")):
                self._link_or_leave_out(place, entry.path)
            elif not is_run_directory(entry.path) and not os.path.samefile(entry.path, self.run_directory):
                place.mkdir()
                return self.folder(entry.path, place)
        elif entry.is_file():
            shutil.copyfile(entry.path, place)
            # A command may write to its own copy, also where the original is read-only.
            place.chmod(entry.stat().st_mode | stat.S_IWUSR)
        return True

    def _linked(self, place: Path, target: str | Path) -> bool:
        """Make a symbolic link; False where the file system has none."""
        try:
            place.symlink_to(target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return False
        return True

    def _link_or_leave_out(self, place: Path, target: str) -> None:
        if not self._linked(place, target):
            self.unlinked.append(target)

    def _copy_instead(self, end: Path, place: Path) -> None:
        """Copy the file that a link leads to; a folder, or nothing, is left out."""
        if end.is_file():
            shutil.copyfile(end, place)
            place.chmod(end.stat().st_mode | stat.S_IWUSR)
        else:  # a folder may hold a link to itself
            self.unlinked.append(str(end))


def _without_links(folder: Path, unlinked: list[str]) -> str:
    """What was done where there are no symbolic links."""
    named = ", ".join(unlinked[:3]) + (f" and {len(unlinked) - 3} more" if len(unlinked) > 3 else "")
    return (
        f"{folder} lies on a file system without symbolic links, so that {named} can't be seen "
        "from the working directory of the command: use the paths of ${{inputs.NAME}} and ${{outputs.NAME}}, "
        "which are absolute, or choose a run directory on another file system (--run-dir)"
    )
