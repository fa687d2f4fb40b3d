"""Which files in an output folder belong to which mini-batch, where outputs are uploaded with their commits.

Each processor fills folders of its own and runs one mini-batch at a time: what is there when `run()` returns
was written by that call. It is moved aside ("sealed") under a name of its own, to be uploaded; what a failed
call has left is removed. Two kinds of files stay in their place, and a copy of them is sealed: what `init()`
has made, and what the script holds open.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import field

from daskpar.own_calls import OWN
from daskpar.paths import process_name
from daskpar.value_classes import frozen, mutable

FOLDERS_KEPT = 64
"""Empty folders that a script has made stay for its next call, unless they are more."""
COPY_BYTES = 1 << 20
NOTHING = (0, 0)
OF_INIT = "@init"
"""The folder in a sealed one for files that `init()` has made: every processor may make the same."""


@frozen(kw_only=True)
class Uploads:
    """The outputs at URLs of one step, and where their files lie until they are uploaded."""

    root: str
    """`StepPaths.uploads`."""
    outputs: tuple[tuple[str, str], ...]
    """Name of each output, and the URL of the folder that its files go to."""

    @property
    def filled(self) -> str:
        """The folder in which scripts see a folder for each output, as the spec's texts name it."""
        return f"{self.root}/filled/"

    @property
    def sealed(self) -> str:
        """The folder that holds a folder for each mini-batch whose files are not uploaded yet."""
        return f"{self.root}/sealed"

    @property
    def left(self) -> str:
        """The same for what processors have written after their last mini-batch, in `shutdown()`."""
        return f"{self.root}/left"

    @property
    def log(self) -> str:
        """The folder of what was uploaded, see `outputs.upload_log`."""
        return f"{self.root}/log"

    def of(self, node: int, number: int) -> OwnFolders:
        """The folders of one processor."""
        own = f"{self.filled}{node}-{process_name(number)}/"
        return OwnFolders(named=self.filled, own=own, outputs=tuple(name for name, _ in self.outputs))


@frozen
class OwnFolders:
    """The output folders of one processor."""

    named: str
    """How texts begin that name an output of the step."""
    own: str
    """How they begin for this processor."""
    outputs: tuple[str, ...]

    def make(self) -> None:
        """Make them, empty: what a processor before this one has left there belongs to no mini-batch."""
        shutil.rmtree(self.own, ignore_errors=True)
        for name in self.outputs:
            os.makedirs(self.own + name, exist_ok=True)

    def named_in(self, text: str) -> str:
        """`text` with the processor's own folders in the place of those of the step."""
        return text.replace(self.named, self.own)


@mutable
class OutputSweep:
    """Sweeps the output folders of one processor.

    `folder`: as `OwnFolders.own`. `sealed`: how the paths of the folders begin into which files are moved.
    """

    folder: str
    outputs: tuple[str, ...]
    sealed: str
    _number: int = 0
    _stays: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Files that stay in their place -> time and size of what was sealed of them last; NOTHING at first."""
    links: set[str] = field(default_factory=set)
    """Links to folders that were found: these are not followed."""

    def begin(self) -> None:
        """After `init()`: what is there now goes along with the first mini-batch that succeeds."""
        self._stays = {path: NOTHING for path in self._files([])}

    def seal(self) -> str:
        """Move the files that were written since the last call; the path of the folder, empty for none.

        OSError where that can't be done.
        """
        folders: list[str] = []
        found = list(self._files(folders))
        taken = 0
        target = f"{self.sealed}-{self._number}"
        if found:
            held = _open_files()
            for path in found:
                of_init = f"{OF_INIT}/" if self._stays.get(path) == NOTHING else ""
                taken += self._take(path, f"{target}/{of_init}{path.removeprefix(self.folder)}", held)
        self._remove_empty(folders)
        if not taken:
            return ""
        self._number += 1
        return target

    def discard(self) -> None:
        """Remove what was written since the last call."""
        folders: list[str] = []
        for path in self._files(folders):
            if path not in self._stays:
                OWN.unlink(path)
        self._remove_empty(folders)

    def leave(self, target: str) -> None:
        """At the end of the processor: move what is there to the folder `target`."""
        for path in self._files([]):
            self._take(path, f"{target}/{path.removeprefix(self.folder)}", frozenset())

    def _take(self, path: str, target: str, held: frozenset[tuple[int, int]]) -> bool:
        """Move or copy a file; False where it was taken as it is before."""
        seen = OWN.stat(path)
        stamp = (seen.st_mtime_ns, seen.st_size)
        stays = path in self._stays
        if stays and self._stays[path] == stamp:
            return False
        _make_folder_of(target)
        if stays or (seen.st_dev, seen.st_ino) in held:
            _copy(path, target)
            self._stays[path] = stamp
        elif stat.S_ISLNK(OWN.lstat(path).st_mode):
            _copy(path, target)  # it may lead on from the folder that it is in
            OWN.unlink(path)
        else:
            OWN.rename(path, target)
        return True

    def _files(self, folders: list[str]) -> Iterator[str]:
        """Regular files, links to them among these; empty folders are added to `folders`, the inner first."""
        for name in self.outputs:
            yield from self._files_below(self.folder + name, folders, top=True)

    def _files_below(self, folder: str, folders: list[str], *, top: bool = False) -> Iterator[str]:
        try:
            with OWN.scandir(folder) as listed:
                entries = list(listed)
        except FileNotFoundError:
            if top:
                _make_folder_of(f"{folder}/x")  # a script may have removed it
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._files_below(entry.path, folders)
            elif entry.is_file():
                yield entry.path
            elif entry.is_dir():
                self.links.add(entry.path)
        if not top:
            folders.append(folder)

    def _remove_empty(self, folders: list[str]) -> None:
        if len(folders) > FOLDERS_KEPT:
            for folder in folders:
                try:
                    OWN.rmdir(folder)
                except OSError:
                    pass  # something stays in it


def _open_files() -> frozenset[tuple[int, int]]:
    """Device and number of the files that this process holds open."""
    found = set()
    try:
        with OWN.scandir("/proc/self/fd") as entries:
            for entry in entries:
                try:
                    seen = OWN.fstat(int(entry.name))
                except OSError:
                    continue
                if stat.S_ISREG(seen.st_mode):
                    found.add((seen.st_dev, seen.st_ino))
    except FileNotFoundError:
        pass  # not on this system
    return frozenset(found)


def _make_folder_of(path: str) -> None:
    folder = path.rpartition("/")[0]
    try:
        OWN.mkdir(folder)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_folder_of(folder)
        OWN.mkdir(folder)


def _copy(path: str, target: str) -> None:
    source = OWN.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        copy = OWN.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            while data := OWN.read(source, COPY_BYTES):
                view = memoryview(data)
                while view:
                    view = view[OWN.write(copy, view) :]
        finally:
            OWN.close(copy)
    finally:
        OWN.close(source)
