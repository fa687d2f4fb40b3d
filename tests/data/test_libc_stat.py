"""The C library says of files what `os.stat` says, or is not asked."""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from array import array
from pathlib import Path

import pytest

from daskpar.data import libc_stat as module
from daskpar.data.libc_stat import LibcStat, libc_stat

TIMES = (0, 1, 10**9 - 1, -1, -(10**9) - 1, 10**18 + 7, 4_000_000_000 * 10**9 + 5)
"""In nanoseconds: the last one is beyond 32 bits, some are before 1970."""


@pytest.fixture
def look() -> LibcStat:
    """With room for three files, which is fewer than there are."""
    known = sys.platform == "linux" and os.uname().machine in module._LAYOUTS
    if not known or not hasattr(ctypes.CDLL(None), "stat"):
        pytest.skip("the C library of this machine is not one that we know")
    found = libc_stat(3)
    assert found is not None and found.places == 3
    return found


def columns(files: list[Path]) -> tuple[memoryview[int], ...]:
    seen = [os.stat(file) for file in files]
    times = [divmod(one.st_mtime_ns, 10**9) for one in seen]
    values = [one.st_size for one in seen], [time[0] for time in times], [time[1] for time in times]
    return tuple(memoryview(array("q", value)) for value in values)


@pytest.mark.parametrize("time", TIMES)
def test_sizes_times_and_modes(look: LibcStat, tmp_path: Path, time: int) -> None:
    sparse = tmp_path / "more than 4 GB"
    sparse.touch(mode=0o600)
    os.truncate(sparse, 5 << 30)
    os.utime(sparse, ns=(1, time))
    seen = os.stat(sparse)
    assert look.seen([os.fsencode(sparse), os.fsencode(tmp_path)]) == [0, 0]
    assert look.sizes(1).tolist() == [5 << 30]
    assert look.seconds(1)[0] * 10**9 + look.nanoseconds(1)[0] == seen.st_mtime_ns
    sizes, seconds, nanoseconds = columns([sparse, tmp_path])
    assert (look.sizes(2), look.seconds(2), look.nanoseconds(2)) == (sizes, seconds, nanoseconds)
    assert look.modes(2) == [seen.st_mode, tmp_path.stat().st_mode]
    assert stat.S_ISREG(look.modes(1)[0])


def test_what_is_missing_is_no_file(look: LibcStat, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    first, second, third = look.seen([os.fsencode(tmp_path / "gone"), os.fsencode(there), b"/dev/null/x"])
    assert first and third and not second


def test_each_change_is_seen(look: LibcStat, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "é", os.fsdecode(b"no-text-\xff"))]
    for file in files:
        file.write_text("abc")
        os.utime(file, ns=(1, 10**18 + 5))
    paths, planned = list(map(str, files)), columns(files)
    assert look.unchanged(paths, *planned)
    assert look.unchanged([], *(column[:0] for column in planned))
    for file in files:
        for change in (
            lambda file=file: file.write_text("abcd"),
            lambda file=file: os.utime(file, ns=(1, 10**18 + 4)),
            lambda file=file: os.utime(file, ns=(1, 10**18 + 10**9 + 5)),
            lambda file=file: file.unlink(),
        ):
            change()
            assert not look.unchanged(paths, *planned), change
            file.write_text("abc")
            os.utime(file, ns=(1, 10**18 + 5))
            assert look.unchanged(paths, *planned)


def test_a_library_that_is_not_as_we_know_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LAYOUTS", {})
    assert libc_stat() is None, "another machine"
    monkeypatch.setattr(module, "_LAYOUTS", {os.uname().machine: (144, 32)})
    assert libc_stat() is None, "it says what Python does not"
    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: {})
    monkeypatch.setattr(module, "_LAYOUTS", {os.uname().machine: (144, 24)})
    assert libc_stat() is None, "no function of that name"


def test_it_is_asked_of_no_other_system_or_word_size(look: LibcStat, monkeypatch: pytest.MonkeyPatch) -> None:
    assert libc_stat() is not None
    with monkeypatch.context() as other:
        other.setattr(module.sys, "platform", "darwin")
        assert libc_stat() is None
    monkeypatch.setattr(module.sys, "maxsize", 2**31 - 1)
    assert libc_stat() is None


@pytest.mark.parametrize("wrong", ["sizes", "seconds", "nanoseconds", "modes"])
def test_one_that_says_anything_else_than_python_is_not_asked(
    look: LibcStat, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    right = getattr(LibcStat, wrong)
    monkeypatch.setattr(LibcStat, wrong, lambda self, count: [one + 1 for one in right(self, count)])
    assert libc_stat() is None


def test_one_that_does_not_find_a_file_that_is_there_is_not_asked(
    look: LibcStat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LibcStat, "seen", lambda self, names: [-1])
    assert libc_stat() is None
