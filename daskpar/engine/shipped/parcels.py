"""What is sent to nodes that do not see the run directory: archives of folders, each named by its content."""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from daskpar.data.folder_walk import folder_identity
from daskpar.engine.shipped.ignore_rules import NAME, OTHER_NAME, IgnoreRules
from daskpar.engine.shipped.node_folder import MTIME, digest_of
from daskpar.errors import InputError
from daskpar.rundir.identity import is_run_directory
from daskpar.sizes import readable_size

MOST_BYTES = 1 << 30
"""A folder that holds more is not sent."""
_NEVER = {".git", ".hg", ".svn", "__pycache__", "node_modules", ".ipynb_checkpoints"}
"""History, caches and installed packages."""


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A folder as an archive."""

    name: str
    """The same for the same content."""
    path: Path
    """Of the archive."""
    size: int
    """Of the archive in bytes."""
    target: str
    """Where it is unpacked, below the folder of a node."""


_WAY_OUT = {
    "code": f"leave out what is no code with a file {NAME} in it",
    "script": "make it smaller",
    "plan": "choose a run directory that all nodes see (--run-dir)",
    "input": "give the output that it comes from a URL, or choose a run directory that nodes see (--run-dir)",
}
Entry = tuple[str, str]
"""Path of a file or an empty folder, and its path in the archive."""


def pack(what: str, kind: str, entries: Iterator[Entry], folder: Path, target: str = "") -> Parcel:
    """Pack files into an archive in `folder`. `what`: for messages; `kind`: how the name of the parcel
    begins; `target`: where it is unpacked, else below its own name.

    Raises InputError where that is more than can be sent, or can't be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{kind}.tar"
    size = 0
    try:
        with (
            open(temporary, "wb") as file,
            gzip.GzipFile("", "wb", 1, file, mtime=0) as zipped,  # the same bytes whenever it is made
            tarfile.open(fileobj=zipped, mode="w", dereference=True) as archive,
        ):
            for path, name in entries:
                size += os.path.getsize(path)
                if size > MOST_BYTES:
                    raise InputError(
                        f"{what} holds more than {readable_size(MOST_BYTES)}; that much is not sent to nodes "
                        f"that do not see the run directory: {_WAY_OUT[kind]}"
                    )
                _add(archive, path, name)
    except OSError as error:
        raise InputError(f"{what} can't be sent to nodes: {error}") from error
    name = f"{kind}-{digest_of(str(temporary))}"
    packed = folder / f"{name}.tar"
    os.replace(temporary, packed)
    return Parcel(name=name, path=packed, size=packed.stat().st_size, target=target or name)


def _add(archive: tarfile.TarFile, path: str, name: str) -> None:
    member = archive.gettarinfo(path, name)
    # An archive has seconds as decimals, and files are known by their nanoseconds.
    member.pax_headers = {MTIME: str(os.stat(path).st_mtime_ns)}
    if member.isreg():
        with open(path, "rb") as file:
            archive.addfile(member, file)
    else:
        archive.addfile(member)


def files_of_code(code: Path, skip: Collection[str], run_directory: Path) -> Iterator[Entry]:
    """What belongs to a code folder: all but what its `.amlignore` leaves out, run directories, virtual
    environments, caches, and the paths `skip`, which are data.
    """
    rules = IgnoreRules(())
    for name in (NAME, OTHER_NAME):
        if (code / name).is_file():
            rules = IgnoreRules((code / name).read_text(encoding="utf-8", errors="replace").splitlines())
            break
    given = {path.rstrip("/") for path in skip}

    def is_code(path: str, name: str, *, folder: bool) -> bool:
        if path in given or os.path.basename(path) in _NEVER or rules.leave_out(name, folder=folder):
            return False
        return not folder or not (
            os.path.isfile(os.path.join(path, "pyvenv.cfg"))
            or is_run_directory(path)
            or os.path.samefile(path, run_directory)
        )

    yield from _files(str(code), is_code)


def files_of_data(path: str, name: str) -> Iterator[Entry]:
    """A file, or all that a folder holds, below `name` in the archive."""
    if not os.path.isdir(path):
        yield path, name
        return
    for found, below in _files(path, lambda *_, folder: True):
        yield found, f"{name}/{below}" if name else below


def _files(root: str, wanted: Callable[..., bool]) -> Iterator[Entry]:
    """Files and empty folders below `root`, in the order of their names, each folder once."""
    above: list[tuple[int, int]] = []

    def below(folder: str, prefix: str) -> Iterator[Entry]:
        identity = folder_identity(folder)
        if identity in above:
            return  # a link to a folder that holds it
        above.append(identity)
        for name in sorted(os.listdir(folder)):
            path, inside = os.path.join(folder, name), f"{prefix}{name}"
            is_folder = os.path.isdir(path)
            if (is_folder or os.path.isfile(path)) and wanted(path, inside, folder=is_folder):
                if is_folder:
                    yield path, inside
                    yield from below(path, f"{inside}/")
                else:
                    yield path, inside
        above.pop()

    yield from below(root, "")
