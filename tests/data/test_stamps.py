"""What files are known by, and the errors of those that are others than planned."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest

from daskpar.data import stamps
from daskpar.data.stamps import (
    UNKNOWN,
    Stamp,
    check,
    check_local,
    check_opened,
    remote_stamp,
    stamp_now,
    stamps_of,
)
from daskpar.errors import DataUnreached, InputChanged, InputError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("0123456789")
    return path


def overwritten(path: Path) -> None:
    path.write_text("9876543210")
    os.utime(path, ns=(1, 2))


def replaced(path: Path) -> None:
    path.with_suffix(".new").write_text("0123456789")
    os.utime(path.with_suffix(".new"), ns=(1, 2))
    path.with_suffix(".new").replace(path)


def truncated(path: Path) -> None:
    before = path.stat()
    os.truncate(path, 5)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def grown(path: Path) -> None:
    before = path.stat()
    with path.open("a") as opened:
        opened.write("x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = [overwritten, replaced, truncated, grown]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_told_with_what_was_planned_and_what_is_there(
    file: Path, change: Callable[[Path], None]
) -> None:
    planned = stamp_now(str(file))
    check(str(file), planned)
    check_local([str(file)], [planned.size], [planned.mark])
    change(file)
    now = file.stat().st_size
    for one in (
        lambda: check(str(file), planned),
        lambda: check_local([str(file)], [planned.size], [planned.mark]),
    ):
        with pytest.raises(
            InputChanged,
            match=rf"a\.txt has changed since the step was planned \(planned: 10 bytes of .*; now: {now} bytes of ",
        ) as told:
            one()
        assert told.value.path == str(file) and not told.value.gone


def test_a_file_that_is_gone(file: Path) -> None:
    planned = stamp_now(str(file))
    file.unlink()
    with pytest.raises(InputChanged, match=r"a\.txt can't be read: No such file; .* \(10 bytes of ") as told:
        check(str(file), planned)
    assert told.value.gone
    again = pickle.loads(pickle.dumps(told.value))
    assert (str(again), again.path, again.gone) == (str(told.value), str(file), True)


def test_an_open_file_is_judged_by_itself_not_by_its_path(file: Path) -> None:
    planned = stamp_now(str(file))
    with file.open() as opened:
        replaced(file)
        check_opened(str(file), opened.fileno(), planned)
    with file.open() as opened, pytest.raises(InputChanged):
        check_opened(str(file), opened.fileno(), planned)


def test_what_nobody_has_looked_at_is_not_compared(file: Path) -> None:
    file.unlink()
    check(str(file), UNKNOWN)
    check("s3://nowhere/at/all", UNKNOWN)


def test_a_place_that_does_not_answer_is_no_change(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = stamp_now(str(file))

    def stale(path: str) -> os.stat_result:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(os, "stat", stale)
    for one in (
        lambda: check(str(file), planned),
        lambda: check_local([str(file)], [planned.size], [planned.mark]),
    ):
        with pytest.raises(DataUnreached, match="Stale file handle"):
            one()


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ({"size": 3, "ETag": '"abc"'}, {"size": 3, "ETag": '"abc"', "LastModified": 5}),
        ({"size": 3, "ETag": '"abc"'}, {"size": 3, "ETag": "abc"}),
        (
            {"size": 3, "created": datetime(2026, 1, 2, tzinfo=UTC)},
            {"size": 3, "created": "2026-01-02T00:00:00+00:00"},
        ),
        (
            {"size": 3, "created": 1795719507.332735},
            {"size": 3, "created": datetime(2026, 11, 26, 18, 58, 27, 332735, tzinfo=UTC)},
        ),
        ({"size": 3}, {"size": 3, "type": "file"}),
    ],
)
def test_a_listing_and_an_answer_of_its_own_agree(listed: dict[str, Any], asked: dict[str, Any]) -> None:
    assert remote_stamp(listed) == remote_stamp(asked)


@pytest.mark.parametrize(
    "other", [{"size": 4, "ETag": "abc"}, {"size": 3, "ETag": "abd"}, {"size": 3, "LastModified": "abc "}]
)
def test_objects_that_differ(other: dict[str, Any]) -> None:
    assert remote_stamp({"size": 3, "ETag": "abc"}) != remote_stamp(other)


def test_a_listing_that_says_nothing_of_its_files() -> None:
    assert remote_stamp({"size": None, "type": "file"}) == UNKNOWN


def test_an_object_in_a_store(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/stamps/a", b"one")
    planned = stamp_now("memory://stamps/a")
    check("memory://stamps/a", planned)
    store.pipe_file("/stamps/a", b"two")
    with pytest.raises(InputChanged, match="3 bytes, and its entity tag or time of change is another"):
        check("memory://stamps/a", planned)
    store.rm("/stamps/a")
    with pytest.raises(InputChanged, match="No such file") as told:
        check("memory://stamps/a", planned)
    assert told.value.gone


def test_stamps_of_many_files_on_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(tmp_path / str(number)) for number in range(300)]
    for number, path in enumerate(paths):
        Path(path).write_text("x" * number)
    quick = stamps_of(paths, {})
    monkeypatch.setattr(stamps, "SLOW_SECONDS", 0.0)
    assert stamps_of(paths, {}) == quick == [stamp_now(path) for path in paths]


def test_stamps_before_planning(file: Path, tmp_path: Path) -> None:
    known = {"s3://b/a": Stamp(3, 4)}
    missing = str(tmp_path / "missing")
    assert stamps_of(["s3://b/a", "s3://b/b", missing, str(file)], known) == [
        Stamp(3, 4), UNKNOWN, UNKNOWN, stamp_now(str(file)),
    ]  # fmt: skip
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match="is a link to nothing"):
        stamps_of([str(tmp_path / "link")], {})
