"""Stamps beside a plan: what they say of files, quickly or not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daskpar.batches import plan_stamps
from daskpar.batches.plan_stamps import NAME, StoredStamps, write_stamps
from daskpar.data.stamps import UNKNOWN, Stamp, stamp_now
from daskpar.errors import InputChanged, PlanDamaged

COUNT = 600
"""More than the C library is asked for in one go."""


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Many small ones, with times of every kind."""
    paths = [str(tmp_path / f"{number}é") for number in range(COUNT)]
    for number, path in enumerate(paths):
        Path(path).write_text("x" * (number % 7))
        os.utime(path, ns=(1, (number - 100) * 10**15 + number))
    return paths


@pytest.fixture(params=["now", "not quick", "earlier version"])
def folder(request: pytest.FixtureRequest, files: list[str], tmp_path: Path) -> Path:
    """A plan's folder with the stamps, written and read in each way."""
    write_stamps(tmp_path, [stamp_now(path) for path in files])
    if request.param == "not quick":
        request.getfixturevalue("monkeypatch").setattr(plan_stamps, "libc_stat", lambda: None)
    if request.param == "earlier version":
        os.truncate(tmp_path / NAME, 16 * COUNT)
    return tmp_path


def test_every_file_is_looked_at(folder: Path, files: list[str]) -> None:
    stored = StoredStamps(folder, COUNT, local=True)
    for start, stop in ((0, COUNT), (0, 1), (5, 5), (COUNT - 10, COUNT), (100, 400)):
        stored.check(files[start:stop], start)
    for number in (0, 1, 255, 256, 599):
        before = os.stat(files[number])
        os.utime(files[number], ns=(1, before.st_mtime_ns + 1))
        with pytest.raises(InputChanged, match="has changed since the step was planned") as caught:
            stored.check(files, 0)
        assert caught.value.path == files[number]
        os.utime(files[number], ns=(1, before.st_mtime_ns))
    os.unlink(files[300])
    with pytest.raises(InputChanged, match="it was there when the step was planned"):
        stored.check(files[298:302], 298)
    stored.check(files[296:300], 296)


def test_files_that_nobody_has_looked_at(files: list[str], tmp_path: Path) -> None:
    Path(files[2]).write_text("another")
    write_stamps(tmp_path, [UNKNOWN if number == 2 else stamp_now(path) for number, path in enumerate(files)])
    stored = StoredStamps(tmp_path, COUNT, local=True)
    stored.check(files, 0)
    os.utime(files[3])
    with pytest.raises(InputChanged):
        stored.check(files[:10], 0)


def test_a_file_of_another_length_is_damaged(tmp_path: Path) -> None:
    write_stamps(tmp_path, [Stamp(1, -5), Stamp(2, 2**62)])
    assert StoredStamps(tmp_path, 2, local=True).slice(0, 2) == [Stamp(1, -5), Stamp(2, 2**62)]
    with pytest.raises(PlanDamaged, match="has 64 bytes of 96"):
        StoredStamps(tmp_path, 3, local=True)
