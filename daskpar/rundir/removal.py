"""Removes run directories: never one that is running, and nothing that lies outside of them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from daskpar.errors import RunDirectoryError
from daskpar.rundir.lock import Lock
from daskpar.rundir.run_directory import RunDirectory
from daskpar.sizes import readable_size
from daskpar.value_classes import frozen

_LAST = ("run.json", "lock")
"""Of the files in a run directory."""


@frozen(kw_only=True)
class Removable:
    """A run directory as `clean` sees it."""

    path: Path
    status: str
    started: float
    """Seconds since the epoch."""
    ended: float
    """When it ended, or began where its driver died; seconds since the epoch."""
    running: str
    """Who runs it; empty for nobody."""
    size_bytes: int
    outputs_inside: tuple[str, ...]
    """Outputs of completed steps that go with it."""
    outputs_elsewhere: tuple[str, ...]
    """Outputs that stay."""

    @property
    def in_words(self) -> str:
        """What would be removed, and what stays."""
        lines = [f"{self.path}: {self.status}, {readable_size(self.size_bytes)}"]
        lines += [f"  goes with it: {path}" for path in self.outputs_inside]
        lines += [f"  stays: {path}" for path in self.outputs_elsewhere]
        return "\n".join(lines)


def removable(path: Path) -> Removable:
    """Look at a run directory; RunDirectoryError where it is none of ours, or is damaged."""
    if path.is_symlink():
        raise RunDirectoryError(f"{path} is a link: name the run directory itself to remove it")
    run = RunDirectory.open(path, lock=False)
    outputs = [
        place for folder in run.steps() if (state := folder.state()) for place in state.outputs.values()
    ]
    inside = tuple(place for place in outputs if _is_below(place, run.path) and _has_content(place))
    return Removable(
        path=run.path,
        status=str(run.identity.status),
        started=run.identity.created,
        ended=run.identity.ended or run.identity.created,
        running=run.holder() or "",
        size_bytes=_size(run.path),
        outputs_inside=inside,
        outputs_elsewhere=tuple(place for place in outputs if not _is_below(place, run.path)),
    )


def remove(found: Removable) -> None:
    """Remove the run directory; RunDirectoryError where it has begun to run again, or something can't be
    removed.

    Links in it are removed, not followed.
    """
    lock = Lock.take(found.path, "Nothing of it was removed.")
    try:
        take_away(found.path)
    finally:
        lock.release()
    try:
        found.path.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _not_whole(found.path, f"{found.path}: {error.strerror}") from error


def take_away(run_directory: Path) -> None:
    """Remove a run directory whose lock is held; RunDirectoryError where something can't be removed.

    A network file system keeps the folder until the lock is released: try `rmdir` again then.

    run.json and the lock go last: what is left of a directory that could not be removed is still known as a
    run, and nobody else holds it while anything of it is there.
    """
    trouble: list[str] = []

    def note(_: Callable[..., object], path: str, info: tuple[type, BaseException, object]) -> None:
        if not isinstance(info[1], FileNotFoundError):
            trouble.append(f"{path}: {getattr(info[1], 'strerror', None) or info[1]}")

    try:
        _make_folders_writable(run_directory)
        for entry in (*(name for name in os.listdir(run_directory) if name not in _LAST), *_LAST):
            whole = run_directory / entry
            if trouble and entry in _LAST:
                break
            if whole.is_dir() and not whole.is_symlink():
                shutil.rmtree(whole, onerror=note)
            else:
                try:
                    whole.unlink()
                except OSError as error:
                    note(os.unlink, str(whole), (type(error), error, None))
    except OSError as error:
        trouble.append(f"{error.filename or run_directory}: {error.strerror}")
    if trouble:
        raise _not_whole(run_directory, trouble[0])
    with suppress(OSError):
        run_directory.rmdir()


def _not_whole(run_directory: Path, trouble: str) -> RunDirectoryError:
    return RunDirectoryError(f"{run_directory} could not be removed whole: {trouble}")


def _make_folders_writable(root: Path) -> None:
    """Give its owner the right to remove what is in each folder; files may be links to somebody else's."""
    for folder, names, _ in os.walk(root):
        for name in names:
            inner = os.path.join(folder, name)
            found = os.lstat(inner)
            if stat.S_ISDIR(found.st_mode) and found.st_mode & 0o700 != 0o700 and found.st_uid == os.getuid():
                os.chmod(inner, stat.S_IMODE(found.st_mode) | 0o700)


def _is_below(place: str, folder: Path) -> bool:
    if "://" in place:
        return False
    inner, outer = os.path.realpath(place), os.path.realpath(folder)
    return inner == outer or inner.startswith(outer + os.sep)


def _has_content(place: str) -> bool:
    if os.path.isdir(place):
        return any(True for _ in os.scandir(place))
    return os.path.exists(place)


def _size(root: Path) -> int:
    """Bytes on the disk, of hard links that lead elsewhere too."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # gone meanwhile
    return total
