"""What is sent to nodes that do not see the run directory: archives of folders, each named by its content."""

from __future__ import annotations

import errno
import gzip
import heapq
import os
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from daskpar.data.folder_walk import folder_identity
from daskpar.engine.shipped.ignore_rules import NAME, OTHER_NAME, IgnoreRules
from daskpar.engine.shipped.node_folder import MTIME, digest_of
from daskpar.errors import InputError
from daskpar.rundir.identity import is_run_directory
from daskpar.sizes import readable_size
from daskpar.value_classes import frozen

MOST_BYTES = 1 << 30
"""A folder that holds more is not sent."""
SAMPLES, SAMPLE_BYTES = 8, 64 << 10
"""Of how many files, and how much of each, tells whether compression pays."""
_NEVER = {".git", ".hg", ".svn", "__pycache__", "node_modules", ".ipynb_checkpoints"}
"""History, caches and installed packages."""


@frozen(kw_only=True)
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

    @property
    def what(self) -> str:
        """Its kind: `code`, `plan`, `script` or `input`."""
        return self.name.rpartition("-")[0]


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
    temporary.unlink(missing_ok=True)  # of an earlier process of the run
    found = sendable(what, kind, entries)
    try:
        with (
            # Its files may be for their owner alone.
            open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file,
            # The same bytes whenever it is made.
            gzip.GzipFile("", "wb", _level([path for path, _ in found]), file, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", dereference=True) as archive,
        ):
            for path, name in found:
                _add(archive, path, name)
    except OSError as error:
        raise _unsendable(what, kind, error) from error
    name = f"{kind}-{digest_of(str(temporary))}"
    packed = folder / f"{name}.tar"
    os.replace(temporary, packed)
    return Parcel(name=name, path=packed, size=packed.stat().st_size, target=target or name)


def _level(paths: list[str]) -> int:
    """How much to compress: not at all what is compressed already, as samples of the largest files tell."""
    largest = heapq.nlargest(
        SAMPLES, ((os.path.getsize(path), path) for path in paths if os.path.isfile(path))
    )
    before = after = 0
    for size, path in largest:
        with open(path, "rb") as file:
            file.seek(max(0, size - SAMPLE_BYTES) // 2)
            sample = file.read(SAMPLE_BYTES)
        before, after = before + len(sample), after + len(zlib.compress(sample, 1))
    return 1 if after < 0.9 * before else 0


def sendable(what: str, kind: str, entries: Iterator[Entry]) -> list[Entry]:
    """The entries, which are files that can be read and together no more than can be sent.

    Arguments as of `pack`. Raises InputError otherwise.
    """
    found: list[Entry] = []
    size = 0
    try:
        for path, name in entries:
            size += os.path.getsize(path)
            if size > MOST_BYTES:
                raise InputError(
                    f"{what} holds more than {readable_size(MOST_BYTES)}; that much is not sent to nodes "
                    f"that do not see the run directory: {_WAY_OUT[kind]}"
                )
            if not os.access(path, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            found.append((path, name))
    except OSError as error:
        raise _unsendable(what, kind, error) from error
    return found


def _unsendable(what: str, kind: str, error: OSError) -> InputError:
    way_out = f"; {_WAY_OUT[kind]}" if kind == "code" else ""
    return InputError(f"{what} can't be sent to nodes: {error}{way_out}")


def _add(archive: tarfile.TarFile, path: str, name: str) -> None:
    member = archive.gettarinfo(path, name)
    # An archive has seconds as decimals, and files are known by their nanoseconds.
    member.pax_headers = {MTIME: str(os.stat(path).st_mtime_ns)}
    if member.isreg():
        with open(path, "rb") as file:
            archive.addfile(member, file)
    else:
        archive.addfile(member)


def files_of_code(
    code: Path,
    skip: Collection[str],
    run_directory: Path,
    script: str = "",
    left_out: list[str] | None = None,
) -> Iterator[Entry]:
    """What belongs to a code folder: all but what its `.amlignore` leaves out, run directories, virtual
    environments, caches, and the paths `skip`, which are data.

    `script`: the path of the entry script, which is never left out. What the rules leave out is added to
    `left_out`, folders with a slash.
    """
    rules = IgnoreRules(())
    if rules_file := rules_of(code):
        rules = IgnoreRules((code / rules_file).read_text(encoding="utf-8", errors="replace").splitlines())
    given = {path.rstrip("/") for path in skip}

    def is_code(path: str, name: str, *, folder: bool) -> bool:
        if path in given or os.path.basename(path) in _NEVER:
            return False
        if rules.leave_out(name, folder=folder):
            if left_out is not None and path != script:
                left_out.append(f"{name}/" if folder else name)
            return False
        return not folder or not (
            os.path.isfile(os.path.join(path, "pyvenv.cfg"))
            or is_run_directory(path)
            or os.path.samefile(path, run_directory)
        )

    without_script = Path(script).is_relative_to(code) and os.path.isfile(script)
    for path, name in _files(str(code), is_code):
        without_script = without_script and path != script
        yield path, name
    if without_script:
        yield script, os.path.relpath(script, code)


def rules_of(code: Path) -> str:
    """The name of the file with the rules of a code folder; empty where there is none."""
    return next((name for name in (NAME, OTHER_NAME) if (code / name).is_file()), "")


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
