"""Dask workers that do not see some folders of this machine, as on another one without a common file system.

As a program: `far_worker.py HIDDEN[:HIDDEN...] ARGUMENTS` is `dask worker ARGUMENTS` in a mount namespace of its own,
in which each hidden folder is an empty one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from distributed import Client

import warm_python
from waiting import until

NEW_USER, NEW_MOUNTS, PRIVATE_BELOW = 0x10000000, 0x00020000, 0x4000 | 0x40000


def hide(folders: list[str]) -> None:
    """Take this process to a mount namespace without these folders; OSError where the kernel does not let it."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    check(libc.unshare(NEW_USER | NEW_MOUNTS))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    check(libc.mount(b"none", b"/", None, PRIVATE_BELOW, None))
    for folder in folders:
        check(libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, None))


@cache
def can_hide() -> bool:
    """Whether this kernel makes mount namespaces for this user."""
    pid = os.fork()
    if pid == 0:
        try:
            hide(["/mnt"])
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


class FarCluster:
    """A scheduler, and workers each with a working directory, a TMPDIR and a folder of its own for Dask's files."""

    def __init__(self, folder: Path, hidden: list[Path]) -> None:
        self.folder = folder
        self.scheduler = folder / "scheduler.json"
        self.hidden = ":".join(map(str, hidden))
        self.workers: dict[str, warm_python.WarmProcess] = {}
        folder.mkdir(parents=True)
        with open(os.devnull, "w") as nowhere:
            file = [
                "--scheduler-file",
                str(self.scheduler),
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--no-dashboard",
            ]
            self._scheduler = warm_python.start(
                "distributed.cli.dask_scheduler", *file, cwd="/", stdout=nowhere
            )
        until(
            lambda: self.scheduler.exists() and self.scheduler.read_text().endswith("}"),
            process=self._scheduler,
        )

    def start(self, name: str, *, near: bool = False, **environment: str) -> None:
        """Start a worker; `near`: one that sees all."""
        own = self.own(name)
        own.mkdir()
        options = [
            *("--scheduler-file", str(self.scheduler), "--no-nanny", "--no-dashboard", "--nthreads", "1"),
            *("--name", name, "--local-directory", str(own)),
        ]
        program = ["distributed.cli.dask_worker"] if near else [__file__, self.hidden]
        env = {**os.environ, "TMPDIR": str(own), **environment}
        with open(own / "log", "w") as log:
            self.workers[name] = warm_python.start(*program, *options, cwd=own, env=env, stdout=log)

    def own(self, name: str) -> Path:
        """The folder of a worker."""
        return self.folder / name

    def left(self) -> list[Path]:
        """Folders of runs that are there on any worker."""
        return [*self.folder.glob("*/dask-scratch-space/*/daskpar-*")]

    def wait(self, count: int, patience: float = 1.0) -> None:
        """Until `count` workers are there, which look for `patience` seconds for what they do not see."""

        def look_for(patience: float) -> None:
            from daskpar.rundir import probe

            probe.PATIENCE_SECONDS = probe.RUN_PATIENCE_SECONDS = patience

        with Client(scheduler_file=str(self.scheduler), set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)
            client.run(look_for, patience)

    def close(self) -> None:
        """End all of it."""
        for process in [*self.workers.values(), self._scheduler]:
            process.kill()
            process.wait()


@contextlib.contextmanager
def far_cluster(folder: Path, *hidden: Path) -> Iterator[FarCluster]:
    """One whose workers do not see `hidden`; skips where that can't be."""
    if not can_hide():
        pytest.skip("this kernel makes no mount namespace for an ordinary user")
    for each in hidden:
        each.mkdir(parents=True, exist_ok=True)
    cluster = FarCluster(folder, list(hidden))
    try:
        yield cluster
    finally:
        cluster.close()


if __name__ == "__main__":
    hide(sys.argv[1].split(":"))
    sys.argv = ["dask-worker", *sys.argv[2:]]
    runpy.run_module("distributed.cli.dask_worker", run_name="__main__", alter_sys=True)
