"""Files of lists of any length are looked at once, long lists by processes of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from daskpar.data import file_look
from daskpar.data.file_look import planned_stamps, stamps_as_they_are
from daskpar.data.folder_walk import FolderWalk
from daskpar.data.path_column import PathColumn
from daskpar.data.stamps import UNKNOWN, Stamp, stamp_now
from daskpar.errors import InputError


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PathColumn:
    """What lies below a folder, looked at as if it were much."""
    monkeypatch.setattr(file_look, "MANY", 1)
    monkeypatch.setattr(file_look, "FILES_EACH", 40)
    for number in range(100):
        path = tmp_path / f"{number % 3}" / f"{number:03}é"
        path.parent.mkdir(exist_ok=True)
        path.write_text("x" * number)
        os.utime(path, ns=(1, 10**18 + number))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/no-text-\xff")).write_text("abc")
    (tmp_path / "link").symlink_to("0/000é")
    return FolderWalk(str(tmp_path)).run()


def as_single(paths: PathColumn) -> list[Stamp]:
    return [stamp_now(path) for path in paths]


def test_sizes_and_times_of_all(paths: PathColumn) -> None:
    assert len(paths) == 102
    assert planned_stamps(paths, {}) == as_single(paths)
    assert planned_stamps(list(paths), {}) == as_single(paths), "absolute paths, one by one"
    assert stamps_as_they_are(paths, stamp_now) == as_single(paths)


def test_a_file_that_comes_many_times(paths: PathColumn) -> None:
    twice = [*paths, *paths[::-1], paths[0]]
    assert planned_stamps(twice, {}) == [stamp_now(path) for path in twice]


def test_files_on_a_slow_disk_are_looked_at_by_threads(
    paths: PathColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_look, "SLOW_SECONDS", 0.0)
    assert planned_stamps(paths, {}) == as_single(paths)


def test_what_is_missing_or_no_plain_file(paths: PathColumn) -> None:
    Path(paths[50]).unlink()
    found = planned_stamps(paths, {})
    assert found[50] == UNKNOWN
    assert [stamp for stamp in found if not stamp.known] == [UNKNOWN]
    os.mkfifo(paths[50])
    with pytest.raises(InputError, match="is a named pipe, not a file"):
        planned_stamps(paths, {})
    Path(paths[50]).unlink()
    Path(paths[50]).symlink_to("nowhere")
    with pytest.raises(InputError, match="is a link to nothing"):
        planned_stamps(paths, {})


@pytest.mark.parametrize("python", ["", "/bin/false", "/nowhere/python"])
def test_without_other_processes_it_is_done_here(
    paths: PathColumn, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    assert planned_stamps(paths, {}) == as_single(paths)


def test_a_name_with_a_null_character_is_not_cut_there(paths: PathColumn) -> None:
    odd = [*paths, paths[0] + "\0more"]
    assert planned_stamps(odd, {}) == [*as_single(paths), UNKNOWN]
