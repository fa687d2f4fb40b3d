"""Removes run directories: never one that is running, and nothing that lies outside of them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from daskpar.errors import RunDirectoryError
from daskpar.rundir.lock import Lock
from daskpar.rundir.run_directory import RunDirectory
from daskpar.sizes import readable_size
from daskpar.value_classes import frozen


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
    trouble: list[str] = []
    try:
        _make_folders_writable(found.path)

        def note(_: Callable[..., object], path: str, info: tuple[type, BaseException, object]) -> None:
            if not isinstance(info[1], FileNotFoundError):
                trouble.append(f"{path}: {getattr(info[1], 'strerror', None) or info[1]}")

        # run.json goes last: what is left of a directory that could not be removed is still known as a run.
        for entry in sorted(os.listdir(found.path), key=lambda name: name in ("run.json", "lock")):
            whole = found.path / entry
            if trouble and entry in ("run.json", "lock"):
                break
            if whole.is_dir() and not whole.is_symlink():
                shutil.rmtree(whole, onerror=note)
            else:
                try:
                    whole.unlink()
                except OSError as error:
                    note(os.unlink, str(whole), (type(error), error, None))
        if not trouble:
            found.path.rmdir()
    except OSError as error:
        trouble.append(f"{error.filename or found.path}: {error.strerror}")
    finally:
        lock.release()
    if trouble:
        raise RunDirectoryError(f"{found.path} could not be removed whole: {trouble[0]}")


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
