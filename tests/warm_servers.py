"""Fork servers that need no time for their imports: forked from a Python that has done them.

A small job costs half a second of computing, most of it for what its fork server imports. While `warm` holds, the
fork servers of this process are forked from two templates, of which one has imported what all scripts need, the
other pandas too. They are children of this process all the same, with their own variables, streams, folder
and session. (`fork_server.ForkServer` starts them; what runs in them is the same.)

What differs from a fork server that Python has started: `/proc/PID/environ`, in which the leftovers of a killed one
are looked for, and what a started process inherits beside that (blocked signals, limits). Tests of these, and of what
a script finds in its Python, are marked `fresh_servers`. Whatever runs in other processes, as all that
`warm_python` starts does, has fork servers that Python has started.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

TEMPLATES = {"commands": "files", "files": "files", "tables": "tables", "": "tables"}
"""What a fork server loads beforehand -> the template that has; nothing: it is told later."""
READ_AT_START = ("PYTHON", "DASK_", "LD_")
"""Variables that count when Python starts: a server with others than its template's is started by Python."""
CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine(), 0) if sys.platform == "linux" else 0
"""Number of the kernel's call; 0 where it is not known, and Python starts all servers."""
CLONE_PARENT = 0x8000


class ServerProcess:
    """What of `subprocess.Popen` is used of a fork server: a child of this process that another has forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code once it has ended; minus the signal that ended it."""
        with self._lock:
            if self.returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if ended else None
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended; subprocess.TimeoutExpired after `timeout` seconds."""
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() >= end:
                raise subprocess.TimeoutExpired("fork server", timeout or 0)
            time.sleep(0.002)
        return code

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class _Template:
    """This side of a template, in the process whose children it forks."""

    def __init__(self, kind: str) -> None:
        self.owner = os.getpid()
        from daskpar.processor.fork_server import ALLOCATION, THREAD_VARIABLES

        self.variables = {**dict.fromkeys(THREAD_VARIABLES, "1"), **ALLOCATION, **os.environ}
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            here = os.path.dirname(os.path.abspath(__file__))
            serve = f"import warm_servers; warm_servers.serve({theirs.fileno()}, {kind!r})"
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r}); {serve}"],
                env=self.variables,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def fork(self, code: str, variables: Mapping[str, str], number: int, stderr: int) -> int:
        """The process of a server that runs `code` with the descriptor `number` of this process; -1 where that is refused."""
        order = {"code": code, "variables": dict(variables), "folder": os.getcwd(), "number": number}
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(order).encode()], [number, 1, stderr])
            return int(self._socket.recv(64))

    def close(self) -> None:
        self._socket.close()
        self.process.wait()


_templates: dict[str, _Template] = {}


def start() -> None:
    """Start the templates, where that is not done yet: they are children of this process until it ends."""
    for kind in sorted(set(TEMPLATES.values()) - _templates.keys()):
        _templates[kind] = _Template(kind)
        atexit.register(_templates[kind].close)


def pids() -> set[int]:
    """Processes of the templates: no test has left them behind."""
    return {template.process.pid for template in _templates.values()}


@contextlib.contextmanager
def warm(*, pandas: bool = False) -> Iterator[None]:
    """Until the end of it, fork servers of this process are forked from templates.

    `pandas`: those for files have imported it as well, for scripts that would import it in each of their processes.
    """
    from daskpar.processor import fork_server

    def popen(command: Sequence[str], **more: Any) -> Any:
        preload = next(name for name in TEMPLATES if f", {name!r}, " in command[-1])
        return _popen("tables" if pandas and preload == "files" else TEMPLATES[preload], command, **more)

    names = SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
    fork_server.subprocess = names  # type: ignore[assignment]
    try:
        yield
    finally:
        fork_server.subprocess = subprocess


def _popen(
    kind: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    pass_fds: Sequence[int],
    stderr: int | None,
    **more: Any,
) -> Any:
    """In the place of `subprocess.Popen`."""
    start()
    python, _, code = command
    template = _templates[kind]
    (number,) = pass_fds
    same = python == sys.executable and _read_at_start(env) == _read_at_start(template.variables)
    if CLONE > 0 and same and template.owner == os.getpid():
        pid = template.fork(code, env, number, 2 if stderr is None else stderr)
        if pid > 0:
            return ServerProcess(pid)
    return subprocess.Popen(command, env=env, pass_fds=pass_fds, stderr=stderr, **more)


def _read_at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(READ_AT_START)}


# -- in a template


def serve(control: int, kind: str) -> None:
    """Fork servers as it is told, until the tests have ended."""
    here = sys.path.pop(0)
    del sys.modules[__name__]
    sys.path.insert(0, os.path.dirname(here))
    from daskpar.processor import fork_server_main

    sys.path.pop(0)
    fork_server_main._preload(kind)
    told = socket.socket(fileno=control)
    while True:
        data, fds, _, _ = socket.recv_fds(told, 1 << 20, 3)
        if not data:
            os._exit(0)
        pid = _fork_sibling()
        if pid == 0:
            told.close()
            _become(json.loads(data), fds)
        for fd in fds:
            os.close(fd)
        told.send(str(pid).encode())


def _fork_sibling() -> int:
    """As `os.fork`, but the new process is a child of this one's parent (clone(2))."""
    kernel, python = ctypes.PyDLL(None), ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = int(kernel.syscall(CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))
    (python.PyOS_AfterFork_Parent if pid else python.PyOS_AfterFork_Child)()
    return pid


def _become(order: dict[str, Any], fds: list[int]) -> None:
    """In what was forked: its own streams, descriptor, folder, variables and session; then the code, which ends it."""
    at = (order["number"], 1, 2)
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, max(at) + 1) for fd in fds]
    for fd in fds:
        os.close(fd)
    for fd, number in zip(moved, at, strict=True):
        os.dup2(fd, number)
        os.close(fd)
    os.setsid()
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["variables"])
    time.tzset()
    try:
        exec(order["code"], vars(sys.modules["__main__"]))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)
