"""Lays out inputs for the scripts of a step: a private copy, or a tree of links that may be emptied.

Folders are folders of their own. A file is copied, by a reflink where the file system can share blocks, or is
a hard link, or else a symbolic one. What a script moves or removes there is only moved or removed there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field

from daskpar.atomic import explained
from daskpar.data.file_copies import NO_LINKS, copy_file, link_file
from daskpar.data.folder_walk import folder_identity, is_folder
from daskpar.errors import RunDirectoryError
from daskpar.jobspec.input_access import Access
from daskpar.jobspec.model import Input
from daskpar.value_classes import mutable


def lay_out_inputs(
    inputs: Iterable[Input], run_directory: str, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Make what scripts see of each input that they see elsewhere; anew where it was made before.

    Ends early when `stopped` says so. Raises RunDirectoryError where a file can't be read or written, or
    symbolic links are needed and there are none, InfrastructureLost for a full disk.
    """
    for data in inputs:
        if data.is_laid_out:
            with explained(f"the input {data.name} can't be laid out from {data.path} to {data.seen}"):
                _remove(data.seen)
                layout = _Layout(run_directory=run_directory, copied=is_copied(data), stopped=stopped)
                try:
                    layout.make(data.path, data.seen)
                except OSError as error:
                    if not layout.linked or error.errno not in NO_LINKS:
                        raise
                    raise RunDirectoryError(_without_links(data, layout.linked, error)) from None


def _without_links(data: Input, link: str, error: OSError) -> str:
    """What to write where the run directory's file system has no symbolic links; `link`: the one wanted."""
    if is_copied(data):
        why, first = f"{link} is to be one", "Take that link out of the data"
    else:
        why, first = (
            "and its files can't be hard links",
            "Write `mode: download` (scripts get a private copy)",
        )
    return (
        f"The input {data.name} can't be laid out in {data.seen}: symbolic links can't be made there "
        f"({error.strerror}), {why}. {first} or `mode: direct` (scripts reach the data in its place, where "
        "they may change it) for this input, or choose a run directory on another file system with --run-dir."
    )


def remove_inputs(inputs: Iterable[Input]) -> None:
    """Remove what `lay_out_inputs` has made; the data itself stays."""
    for data in inputs:
        if data.is_laid_out:
            with contextlib.suppress(OSError):
                _remove(data.seen)
                os.removedirs(os.path.dirname(data.seen))  # those that are empty now


def is_copied(data: Input) -> bool:
    """Whether what scripts see is theirs to write."""
    return data.access == Access.COPY


def own_outputs(inputs: Iterable[Input], outputs: Sequence[str]) -> None:
    """Give outputs their own bytes where a script has moved a link to a file of an input into them."""
    linked = [data for data in inputs if data.is_laid_out and not is_copied(data)]
    if not linked:
        return
    with explained("what was moved from an input to an output can't be copied"):
        roots = [f"{os.path.realpath(data.path).rstrip('/')}/" for data in linked]
        files = {os.path.realpath(data.path) for data in linked}
        inodes = {identity for data in linked for identity in _inodes(data.path)}
        for path in _files(outputs):
            if os.path.islink(path):
                real = os.path.realpath(path)
                ours = real in files or any(real.startswith(root) for root in roots)
            else:
                seen = os.lstat(path)
                ours = seen.st_nlink > 1 and (seen.st_dev, seen.st_ino) in inodes
            if ours and os.path.isfile(path):
                _replace_by_copy(path)


def _replace_by_copy(path: str) -> None:
    temporary = f"{path}.daskpar-copy"
    copy_file(os.path.realpath(path), temporary)
    os.replace(temporary, path)


def _inodes(path: str) -> Iterable[tuple[int, int]]:
    for file in _files([path]):
        with contextlib.suppress(OSError):
            yield folder_identity(file)


def _files(paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        if not os.path.isdir(path):
            if os.path.lexists(path):
                yield path
            continue
        for folder, _, names in os.walk(path):
            for name in names:
                yield os.path.join(folder, name)


def _remove(seen: str) -> None:
    if os.path.isdir(seen) and not os.path.islink(seen):
        for folder, _, _ in os.walk(seen):
            os.chmod(folder, 0o700)  # a script may have taken the rights that removing takes
        shutil.rmtree(seen)
    elif os.path.lexists(seen):
        os.unlink(seen)


@mutable(kw_only=True)
class _Layout:
    run_directory: str
    copied: bool
    stopped: Callable[[], bool]
    _hard_links: bool = True
    """Whether they were possible so far: else each would be tried in vain."""
    linked: str = ""
    """The symbolic link that is being made, or was last."""
    _above: list[tuple[tuple[int, int], str]] = field(default_factory=list)

    def make(self, source: str, target: str) -> None:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(source):
            self._folder(source, target)
        elif os.path.exists(source):
            self._file(source, target)

    def _folder(self, source: str, target: str) -> None:
        os.mkdir(target)
        self._above.append((folder_identity(source), target))
        with os.scandir(source) as entries:
            for entry in entries:
                if self.stopped():
                    return
                try:
                    self._entry(entry, f"{target}/{entry.name}")
                except FileNotFoundError:
                    if os.path.lexists(entry.path):  # else it has gone while it was looked at
                        raise
        self._above.pop()
        # The times of a folder are those of its entries; its rights are what a script may need to clear it.
        shutil.copystat(source, target)
        os.chmod(target, stat.S_IMODE(os.stat(source).st_mode) | stat.S_IRWXU)

    def _entry(self, entry: os.DirEntry[str], target: str) -> None:
        if is_folder(entry):
            identity = folder_identity(entry.path)
            circle = next((place for above, place in self._above if above == identity), None)
            if circle is not None:
                self._link(os.path.relpath(circle, os.path.dirname(target)), target)
            elif not os.path.samefile(entry.path, self.run_directory):
                self._folder(entry.path, target)
        elif os.path.isfile(entry.path):
            self._file(entry.path, target)
        elif entry.is_symlink():
            self._link(os.readlink(entry.path), target)  # leads nowhere, as the original does

    def _file(self, source: str, target: str) -> None:
        if self.copied:
            copy_file(source, target)
        else:
            self.linked = target
            self._hard_links = link_file(source, target, hard=self._hard_links)

    def _link(self, to: str, target: str) -> None:
        self.linked = target
        os.symlink(to, target)
