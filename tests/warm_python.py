"""Processes of Python that need no second for their imports: forked from one that has imported what a run needs.

`start` takes the place of `subprocess.Popen` where a test needs a process of its own (to kill it, to send it signals,
to see its exit code), and not the start of Python itself. What is forked runs a module as `python -m` does, with its
own arguments, folder, variables and streams, in the state that `python` itself begins with.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import quick_disk

PRELOAD = (
    *("daskpar.cli", "daskpar.driver.start_run", "daskpar.commands.running", "daskpar.commands.looking"),
    *("daskpar.driver.pipeline_run", "daskpar.driver.resume", "daskpar.jobspec.load"),
    *("daskpar.engine.plugins.node", "daskpar.engine.local_cluster", "daskpar.engine.step_run"),
    *("daskpar.engine.parallel_step", "daskpar.engine.command_step", "daskpar.outputs.ledger"),
    *(
        "daskpar.reports.watchers",
        "daskpar.reports.run_report",
        "pyarrow",
        "numpy.ma",
        "tornado.platform.asyncio",
    ),
)
"""What a run imports, nearly; what it does not need it has imported all the same."""
READ_AT_IMPORT = ("DASK_", "PYTHON")
"""Variables whose values imported modules keep: processes with others are forked from another one."""
ROOT = str(Path(__file__).parent.parent)


class WarmProcess:
    """What of `subprocess.Popen` tests use; `stdout` is the text or bytes that it writes, where that is a pipe."""

    def __init__(self, args: Sequence[str], pid: int, status: int, stdout: Any) -> None:
        self.args = list(args)
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = stdout
        self._status = status

    def poll(self) -> int | None:
        """The exit code once it has ended; minus the signal that ended it."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended; subprocess.TimeoutExpired after `timeout` seconds."""
        if (code := self._look(timeout)) is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[Any, None]:
        """All that it writes to its pipe, when it has ended."""
        said = None
        if self.stdout:
            with self.stdout:
                said = self.stdout.read()
        self.wait(timeout)
        return said, None

    def send_signal(self, number: int) -> None:
        """To the process, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float | None) -> int | None:
        if self.returncode is None and self._readable(seconds):
            told = os.read(self._status, 64)
            assert told, "the process that it was forked from has died"
            os.close(self._status)
            self.returncode = int(told)
        return self.returncode

    def _readable(self, seconds: float | None) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            return bool(selector.select(seconds))


def start(
    module: str,
    *arguments: str,
    cwd: str | Path,
    env: Mapping[str, str] | None = None,
    stdout: Any = subprocess.PIPE,
    stderr: Any = subprocess.STDOUT,
    input: str = "",
    text: bool = False,
    start_new_session: bool = False,
) -> WarmProcess:
    """Run `python -m module arguments`, or `python module arguments` where it ends with `.py`.

    Its standard input is the text `input`; `stdout` is a pipe or a file, `stderr` a file, where
    the other goes, or None for this process's own.
    """
    given = dict(os.environ if env is None else env)
    ours, theirs = os.pipe() if stdout == subprocess.PIPE else (-1, os.dup(stdout.fileno()))
    told, tell = os.pipe()
    typed, typing = os.pipe()
    os.write(typing, input.encode())  # a pipe holds more than tests type
    os.close(typing)
    errors = os.dup(theirs if stderr == subprocess.STDOUT else 2 if stderr is None else stderr.fileno())
    order = {
        "module": module,
        "argv": list(arguments),
        "cwd": str(cwd),
        "env": given,
        "session": start_new_session,
    }
    handed = [typed, theirs, errors, tell]
    pid = _warm(given).fork(order, handed)
    for fd in handed:
        os.close(fd)
    pipe = None if ours < 0 else open(ours) if text else open(ours, "rb")  # noqa: SIM115  # its reader closes it
    return WarmProcess([sys.executable, "-m", module, *arguments], pid, told, pipe)


def run(
    module: str,
    *arguments: str,
    cwd: str | Path,
    env: Mapping[str, str] | None = None,
    input: str = "",
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """`start` it, and what it has written when it has ended; after `timeout` seconds it is killed, and TimeoutExpired."""
    with TemporaryFile("w+") as said, TemporaryFile("w+") as told:
        process = start(module, *arguments, cwd=cwd, env=env, input=input, stdout=said, stderr=told)
        try:
            process.wait(timeout)
        finally:
            process.kill()
        said.seek(0)
        told.seek(0)
        return subprocess.CompletedProcess(process.args, process.wait(), said.read(), told.read())


_running: dict[tuple[int, frozenset[tuple[str, str]]], _Warm] = {}


def _warm(env: Mapping[str, str]) -> _Warm:
    """The one that has seen these variables when it imported."""
    kept = frozenset((name, value) for name, value in env.items() if name.startswith(READ_AT_IMPORT))
    key = (os.getpid(), kept)
    if key not in _running:
        _running[key] = _Warm(env)
        atexit.register(_running[key].close)
    return _running[key]


class _Warm:
    """This side of a process that forks others. It is no child of this one, whose children tests count."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            subprocess.run(command, env=dict(env), cwd=ROOT, pass_fds=[theirs.fileno()], check=True)

    def fork(self, order: dict[str, Any], fds: list[int]) -> int:
        socket.send_fds(self._socket, [json.dumps(order).encode()], fds)
        return int(self._socket.recv(64))

    def close(self) -> None:
        self._socket.close()


# -- in the process that forks


def _serve(control: socket.socket) -> None:
    """Fork as it is told, and tell how each of them ended, until the tests have ended."""
    for name in PRELOAD:
        __import__(name)
    quick_disk.install()
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, "a fork takes one thread along"
    ended: dict[int, tuple[int, int]] = {}
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not control:
                selector.unregister(key.fd)
                pid, tell = ended.pop(key.fd)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(BrokenPipeError):
                    os.write(tell, str(code).encode())
                os.close(tell)
                continue
            data, fds, _, _ = socket.recv_fds(control, 1 << 20, 4)
            if not data:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                selector.close()
                for pidfd, (_, tell) in ended.items():
                    os.close(pidfd)
                    os.close(tell)
                control.close()
                _become(json.loads(data), fds)
                return
            tell = fds.pop()
            for fd in fds:
                os.close(fd)
            control.send(str(pid).encode())
            pidfd = os.pidfd_open(pid)
            ended[pidfd] = (pid, tell)
            selector.register(pidfd, selectors.EVENT_READ)


def _become(order: dict[str, Any], fds: list[int]) -> None:
    """In what was forked: its own streams, folder, variables and arguments."""
    *streams, tell = fds
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    os.close(tell)
    if order["session"]:
        os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = [order["module"], *order["argv"]]
    module = order["module"]
    sys.path[0] = os.path.dirname(module) if module.endswith(".py") else order["cwd"]
    time.tzset()


def _main() -> None:
    """End at once, with a child that no one waits for: it serves. Where that has forked, this is the fork."""
    control = socket.socket(fileno=int(sys.argv[1]))
    if os.fork():
        os._exit(0)
    os.setsid()
    _serve(control)
    import runpy

    what = sys.argv[0]
    if what.endswith(".py"):
        runpy.run_path(what, run_name="__main__")
    else:
        runpy.run_module(what, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
