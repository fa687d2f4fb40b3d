"""Files of a run appear whole or not at all, and a disk that refuses is told from a wrong place."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daskpar import atomic
from daskpar.errors import InfrastructureLost, RunDirectoryError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_the_old_content_stays_until_the_new_one_is_whole(
    tmp_path: Path, durable: bool, shared: bool
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with atomic.replacing(path, durable=durable, shared=shared) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.parent == tmp_path
        assert (str(os.getpid()) in temporary.name) == shared
    assert path.read_text() == "new" and names(tmp_path) == ["file"]


def test_an_error_inside_leaves_the_old_content_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic.writing(path) as fd:
        atomic.write_all(fd, b"half")
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), atomic.replacing(path):
        _ = 1 / 0  # before anything was written
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


@pytest.mark.parametrize("durable", [True, False])
def test_only_durable_files_wait_for_the_disk(
    tmp_path: Path, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name))
    with atomic.replacing(tmp_path / "a", durable=durable) as temporary:
        temporary.write_text("a")
    with atomic.writing(tmp_path / "b", durable=durable) as fd:
        atomic.write_all(fd, b"b")
    # The content before it has its name, the name after that.
    assert synced == ([".a.tmp", tmp_path.name, ".b.tmp", tmp_path.name] if durable else [])


def test_json_is_readable_and_takes_names_that_are_no_text(tmp_path: Path) -> None:
    atomic.replace_json(tmp_path / "file", {"ä": 1})
    assert (tmp_path / "file").read_text(encoding="utf-8") == '{\n  "ä": 1\n}\n'
    atomic.replace_json(tmp_path / "file", ["\udcff"])
    assert (tmp_path / "file").read_bytes() == b'[\n  "\\udcff"\n]\n'


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.ENOSPC, InfrastructureLost, "disk is full .*resume"),
        (errno.EFBIG, InfrastructureLost, "file-size limit"),
        (errno.EROFS, InfrastructureLost, "read-only"),
        (errno.EIO, InfrastructureLost, "disk fails"),
        (errno.EACCES, RunDirectoryError, "Permission denied"),
    ],
)
def test_a_disk_that_refuses_is_said_in_words(
    tmp_path: Path, failing_disk: Callable[[int, int], None], number: int, kind: type[Exception], says: str
) -> None:
    (tmp_path / "file").write_text("old")
    failing_disk(2, number)
    with pytest.raises(kind, match=f"file can't be written: .*{says}"):
        atomic.replace_file(tmp_path / "file", b"new content")
    assert (tmp_path / "file").read_text() == "old" and names(tmp_path) == ["file"]
