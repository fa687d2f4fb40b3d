"""Folders that are read-only for one process and its children, by mounts that nobody else sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daskpar.processor.private_mounts import NO_GUARD, Guard, can_mount

needs_mounts = pytest.mark.skipif(not can_mount(), reason="this user or kernel can't mount privately")


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def tried(guard: Guard, script: str) -> str:
    """What a shell under `guard` says, tried in a fresh process as the fork server's children are."""
    code = (
        "import os, sys; from daskpar.processor.private_mounts import Guard; "
        f"{guard!r}.apply(); os.execv('/bin/sh', ['sh', '-c', {script!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert not done.stderr or done.stdout, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data/out/keep").mkdir(parents=True)
    for name in ("data/a.txt", "data/out/b.txt", "data/out/keep/c.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("read_only", "writable", "steps"),
    [
        ((), ("",), []),
        (("data",), ("",), [("data", True)]),
        (("data",), ("data/out",), [("data", True), ("data/out", False)]),
        (("data",), ("data",), [("data", True)]),
        (
            ("data", "data/out/keep"),
            ("data/out",),
            [("data", True), ("data/out", False), ("data/out/keep", True)],
        ),
        (("data/out",), ("data",), [("data/out", True)]),
        (("data", "missing"), ("gone",), [("data", True)]),
        (("data/a.txt",), ("",), [("data/a.txt", True)]),
    ],
)
def test_what_is_mounted(
    folder: Path,
    read_only: tuple[str, ...],
    writable: tuple[str, ...],
    steps: list[tuple[str, bool]],
) -> None:
    guard = Guard(
        read_only=tuple(str(folder / name) for name in read_only),
        writable=tuple(str(folder / name) for name in writable),
    )
    assert list(guard.steps()) == [(str(folder / name), flag) for name, flag in steps]


@needs_mounts
@pytest.mark.parametrize(
    ("command", "denied"),
    [
        ("echo more >> data/a.txt", True),
        ("> data/a.txt", True),
        ("mv data/a.txt data/out/", True),
        ("rm data/a.txt", True),
        ("rm -r data/out/keep", True),
        ("mkdir data/new", True),
        ("chmod 0 data/a.txt", True),
        ("touch -d 2001-01-01 data/a.txt", True),
        ("echo x > data/out/new", False),
        ("rm data/out/b.txt", False),
        ("mv data data2", True),
        ("test -s data/a.txt", False),
    ],
)
def test_nothing_in_there_can_be_changed(folder: Path, command: str, denied: bool) -> None:
    before, mounted = (folder / "data/a.txt").stat(), mounts()
    guard = Guard(
        read_only=(str(folder / "data"), str(folder / "data/out/keep")),
        writable=(str(folder / "data/out"), str(folder)),
    )
    said = tried(guard, f"cd {folder}; if {command}; then echo done; else echo denied; fi")
    assert said.split()[-1] == ("denied" if denied else "done")
    after = (folder / "data/a.txt").stat()
    assert (after.st_size, after.st_mtime_ns, after.st_mode) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_mode,
    )
    assert (folder / "data/a.txt").read_text() == "data/a.txt"
    assert mounts() == mounted


@needs_mounts
def test_the_process_sees_itself_as_before(folder: Path) -> None:
    script = "id; grep -E '^(Cap|Groups|NoNewPrivs|Seccomp)' /proc/self/status"
    assert tried(Guard(read_only=(str(folder / "data"),)), script) == tried(NO_GUARD, script)


@needs_mounts
def test_others_see_no_mount_and_may_write(folder: Path) -> None:
    guard = Guard(read_only=(str(folder / "data"),))
    code = f"import sys; from daskpar.processor.private_mounts import Guard; {guard!r}.apply(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert str(folder) in Path(f"/proc/{child.pid}/mountinfo").read_text()
        assert str(folder) not in mounts()
        (folder / "data/a.txt").rename(folder / "moved.txt")
    assert str(folder) not in mounts()


def test_looking_whether_mounts_work_leaves_none(folder: Path) -> None:
    before, space = mounts(), os.readlink("/proc/self/ns/mnt")
    can_mount.cache_clear()
    can_mount()
    assert (mounts(), os.readlink("/proc/self/ns/mnt")) == (before, space)
