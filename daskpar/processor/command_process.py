"""Runs a command below a fork server of its own, so that all that it started ends with it or its node."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Mapping
from time import monotonic

from daskpar.processor import linux
from daskpar.processor.child_setup import CommandTask
from daskpar.processor.fork_protocol import Exited, Spawned
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.private_mounts import NO_GUARD, Guard

TIMED_OUT = 124
"""Exit code of a command that ran past its limit, as of timeout(1)."""


class CommandRunner:
    """Runs one shell text (bash where there is one) in `cwd`; `kill` may be called from any thread."""

    def __init__(
        self,
        *,
        command: str,
        cwd: str,
        environment: Mapping[str, str],
        stdout_path: str,
        stderr_path: str,
        timeout: float | None = None,
        guard: Guard = NO_GUARD,
        python: str = "",
    ) -> None:
        self._task = CommandTask(
            command=command,
            cwd=cwd,
            stdout=stdout_path,
            stderr=stderr_path,
            environment=dict(environment),
            guard=guard,
        )
        self._timeout = timeout
        self._python = python
        self._killed = threading.Event()
        self._wake, self._waker = os.pipe()
        self._lock = threading.Lock()
        self._over = False

    def kill(self) -> None:
        """End the command and everything it started."""
        self._killed.set()
        with self._lock, contextlib.suppress(OSError):
            if not self._over:  # else the number may be another file's by now
                os.write(self._waker, b"x")

    def _begin(self) -> None:
        """Before its fork server starts; for runners that need more than that."""

    def _after_end(self, code: int | None) -> None:
        """After its fork server has ended all that was left; `code`: as it ended by itself, else None."""

    def run(self) -> int:
        """The exit code: 128 + N for a death by signal N, 124 for one past its limit. Once only."""
        server: ForkServer | None = None
        code: int | None = None
        try:
            if self._killed.is_set():
                return 128 + 9
            self._begin()
            server = ForkServer(light=True, python=self._python)
            server.spawn(self._task, [])
            deadline = monotonic() + self._timeout if self._timeout else None
            pid = 0
            while True:
                wait = None if deadline is None else max(0.0, deadline - monotonic())
                ready, _, _ = select.select([server.fileno(), self._wake], [], [], wait)
                if not ready:
                    return TIMED_OUT
                if self._killed.is_set():
                    if pid:
                        linux.kill_group(pid)
                    return 128 + 9
                for event in server.read_events():
                    if isinstance(event, Spawned):
                        pid = event.pid
                    elif isinstance(event, Exited):
                        status = event.status
                        code = 128 + (status & 0x7F) if status & 0x7F else status >> 8
                        return code
        finally:
            try:
                if server is not None:
                    server.close()
            finally:
                self._after_end(code)
            with self._lock:
                self._over = True
                os.close(self._wake)
                os.close(self._waker)
