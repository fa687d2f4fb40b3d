"""Runs jobs on a file system of its own that has room for a few more files only: few_inodes.py FOLDER KIND FILES...

Each job has room for so many FILES while it runs; then it gets room, is resumed, and its output is looked at.
Ends with NOT_ALLOWED where a process may not mount anything.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos_job import ChaosJob
from daskpar.errors import InfrastructureLost

NOT_ALLOWED = 77
NEW_NAMESPACE, PRIVATE, REMOUNT = 0x20000, 16384 | (1 << 18), 32
"""CLONE_NEWNS; MS_REC | MS_PRIVATE; MS_REMOUNT."""
PLENTY = 1_000_000


def mount(kind: bytes | None, folder: bytes, flags: int, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", folder, kind, flags, options.encode() or None):
        refuse("a file system can't be mounted")


def refuse(what: str) -> None:
    print(f"{what}: {os.strerror(ctypes.get_errno())}")
    sys.exit(NOT_ALLOWED)


def try_job(base: Path, kind: str, files: int) -> None:
    """One run on a file system with room for `files` more, and its resume."""
    folder = base / f"{kind}-{files}"
    folder.mkdir()
    job = ChaosJob(folder=folder, kind=kind, mini_batches=20)
    job.write()
    there = os.statvfs(base)
    mount(b"tmpfs", os.fsencode(base), REMOUNT, f"nr_inodes={there.f_files - there.f_ffree + files}")
    try:
        ended = job.run()
    except InfrastructureLost as error:  # before any step: nothing is there to go on with
        print(f"{files}: {error}")
        mount(b"tmpfs", os.fsencode(base), REMOUNT, f"nr_inodes={PLENTY}")
        return
    print(f"{files}: {ended.status} {ended.reason}")
    mount(b"tmpfs", os.fsencode(base), REMOUNT, f"nr_inodes={PLENTY}")
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.reason
    assert "the disk is full" in ended.reason and "resume" in ended.reason
    again = job.resume()
    assert again.status == "completed", again.reason
    job.check_output()
    job.check_calls()
    job.check_leftovers()


def main(folder: str, kind: str, *rooms: str) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_NAMESPACE):
        refuse("a process can't have mounts of its own")
    mount(None, b"/", PRIVATE)
    mount(b"tmpfs", os.fsencode(folder), 0, f"size=200m,nr_inodes={PLENTY}")
    for files in rooms:
        try_job(Path(folder), kind, int(files))


if __name__ == "__main__":
    main(*sys.argv[1:])
