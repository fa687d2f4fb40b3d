"""The lock of a run directory: one holder, whatever the file system knows of locks."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from daskpar.errors import RunDirectoryError
from daskpar.rundir.lock import Lock, holder


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_two_threads_do_not_both_hold_it_where_the_file_system_has_no_locks(tmp_path: Path) -> None:
    """What the file says is of the whole process, so it tells its threads nothing."""
    held = Lock.take(tmp_path)
    assert f"process {os.getpid()} " in (holder(tmp_path) or "")
    with pytest.raises(RunDirectoryError, match="in use by process"):
        Lock.take(tmp_path)
    held.release()
    assert holder(tmp_path) is None
    Lock.take(tmp_path).release()


def test_a_file_that_was_removed_while_one_waited_for_it_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who holds it removes the run and ends: a lock on the file that is gone would keep nobody out."""
    real, taken = fcntl.flock, []

    def remove_before(fd: int, operation: int) -> None:
        if not taken:
            taken.append(fd)
            (tmp_path / "lock").unlink()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_before)
    held = Lock.take(tmp_path)
    with pytest.raises(RunDirectoryError, match="in use by process"):
        Lock.take(tmp_path)
    held.release()
