"""The fork server: a small single-threaded process from which processors are forked in milliseconds, and
below which they all end.

A node talks to it over one socket. It imports beforehand what processors need, reaps what dies and says so,
inherits orphans as a subreaper, and at the end of its node (end-of-file) kills every descendant before it
leaves.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daskpar.processor import channel, last_state, linux
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Announced, Page

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
ALLOCATION = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
"""Arrow's own allocator keeps what it has had: 35 MB more in each processor that scores a table, at no gain
in speed (measured). The C library's gives back and fetches again what each mini-batch needs, unless it may
keep some: 2 to 7 % of the time of such jobs, for 3 to 7 % of their memory. Variables that the user sets
are heeded."""
MAX_FDS = 4


class Order:
    """What a forked child is to do; pickled on its way."""

    def run(self, fds: list[int]) -> None:
        """In the child, with the file descriptors that were sent along."""
        raise TypeError(f"{type(self).__name__} does not say what it does")

    def watch(self, fds: list[int]) -> tuple[ProcessorSettings, Page] | None:
        """In the fork server: whose child that is and the page in which it will say what it is at; None for
        one that says nothing.
        """
        return None


@dataclass(frozen=True)
class Spawn:
    """Fork a child that runs `what`."""

    key: int
    what: Order


@dataclass(frozen=True)
class Spawned:
    """The child of order `key` is process `pid`."""

    key: int
    pid: int


@dataclass(frozen=True)
class SpawnFailed:
    """There is no child for order `key`: the machine refused the fork."""

    key: int
    text: str


@dataclass(frozen=True)
class Exited:
    """The child of order `key` has ended: `status` as of os.waitpid, its largest resident size in bytes; the
    group it led is gone.
    """

    key: int
    pid: int
    status: int
    max_rss: int


Word = Spawned | SpawnFailed | Exited


@dataclass(frozen=True)
class Leave:
    """The node ends in order: nobody has to know what its processors were at."""


# -- the node's side
# -----------------------------------------------------------------------------------------------------------


class ForkServer:
    """Starts a fork server with `environment` on top of this process's own; `tabular`: with pandas and
    pyarrow loaded.

    `threads`: for the thread variables that neither the environment nor the user sets. `light`: with nothing
    loaded, for commands. `log`: file for its standard error, and for that of children until they have their
    own; empty: as this process's.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        tabular: bool = False,
        threads: int = 1,
        python: str = sys.executable,
        light: bool = False,
        log: str = "",
    ) -> None:
        self.threads = threads
        self._log = log
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        defaults = {} if light else {**dict.fromkeys(THREAD_VARIABLES, str(threads)), **ALLOCATION}
        variables = {**defaults, **os.environ, **(environment or {})}
        # The package may lie anywhere on this process's path; what it is found by must hold for the server
        # too.
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        load = "commands" if light else "tables" if tabular else "files"
        # It is looked for there alone, then the folder goes to the end of the path: no module beside it or in
        # the folder that this
        # process happens to be in may stand in for one of the standard library or of the user's.
        launch = (
            f"import sys; sys.path[:] = [{root!r}, *filter(None, sys.path)]; import daskpar; sys.path.append(sys.path.pop(0)); "
            f"from daskpar.processor.fork_server import serve; serve({theirs.fileno()}, {load!r})"
        )
        stderr = _open_log(log)
        try:
            self.process = subprocess.Popen(
                [python, "-c", launch],
                env=variables,
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C at the terminal is for the driver alone
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            if stderr is not None:
                os.close(stderr)
        self.socket = ours
        self._inbox = channel.Inbox(ours)
        self._next = 0

    def fileno(self) -> int:
        """For selectors: readable when something is to be heard."""
        return self.socket.fileno()

    def spawn(self, what: Order, fds: Sequence[int]) -> int:
        """Fork a child; the key by which its fate will be told. OSError when the server is gone."""
        self._next += 1
        channel.send(self.socket, Spawn(self._next, what))
        socket.send_fds(self.socket, [b"f"], list(fds))
        return self._next

    def hear(self) -> list[Word]:
        """What has been told since; when the server is gone, what it told last and then ConnectionResetError,
        which says how it ended.
        """
        found = list(self._inbox.read())
        if self._inbox.closed and not found:
            raise ConnectionResetError(f"the fork server {self._end()}")
        return found

    def _end(self) -> str:
        try:
            code = self.process.wait(1)
        except subprocess.TimeoutExpired:
            return "does not answer"
        if code < 0:
            return f"was killed ({signal.Signals(-code).name})"
        return f"ended with exit code {code}; what it said is {f'in {self._log}' if self._log else 'on the standard error of its node'}"

    def close(self) -> None:
        """End it and every process below it; once is enough."""
        with contextlib.suppress(OSError):
            channel.send(self.socket, Leave())
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # whoever else may have a copy of our end
        self.socket.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._forget_empty_log()

    def kill(self) -> None:
        """End it at once, whatever it is about: only where nothing of the user's runs below it."""
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self._forget_empty_log()

    def _forget_empty_log(self) -> None:
        with contextlib.suppress(OSError):
            if self._log and os.path.getsize(self._log) == 0:
                os.unlink(self._log)  # it had nothing to say


def _open_log(path: str) -> int | None:
    if not path:
        return None
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError:
        return None  # a full disk is for others to tell


# -- the server
# ----------------------------------------------------------------------------------------------------------------


def serve(fd: int, load: str) -> None:
    """Main of the fork server."""
    linux.become_subreaper()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Signals to a whole group or machine are the driver's to act upon: it ends this process in order.
        signal.signal(number, signal.SIG_IGN)
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    _preload(load)
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    _Server(sock, wake, waker).run()


def _preload(load: str) -> None:
    if load == "commands":
        return
    import multiprocessing.process  # noqa: F401

    import daskpar.processor.host  # what every processor needs

    if load == "tables":
        import pandas  # noqa: F401
        import pyarrow  # noqa: F401

        import daskpar.data.tables.table_reader
        import daskpar.processor.frame_text  # noqa: F401
    gc.collect()
    gc.freeze()  # the children's collector leaves these pages shared


class _Server:
    def __init__(self, sock: socket.socket, wake: int, waker: int) -> None:
        self._sock, self._wake, self._waker = sock, wake, waker
        self._keys: dict[int, int] = {}
        self._watched: dict[int, tuple[ProcessorSettings, Page]] = {}
        """Processors that live, by their process."""
        self._dead: list[Announced] = []
        """What those said last that have died since the last birth: their node may have died with them."""
        self._settings: ProcessorSettings | None = None
        self._orderly = False

    def run(self) -> None:
        try:
            while True:
                ready, _, _ = select.select([self._sock.fileno(), self._wake], [], [])
                if self._wake in ready:
                    with contextlib.suppress(BlockingIOError):
                        while os.read(self._wake, 4096):
                            pass
                self._reap()
                if self._sock.fileno() in ready:
                    order = channel.receive(self._sock)
                    if isinstance(order, Leave):
                        self._orderly = True
                        break
                    self._spawn(order)
        except (EOFError, OSError):
            pass
        finally:
            self._kill_groups()
            self._leave_words()
            self._kill_all()
        os._exit(0)

    def _spawn(self, order: Spawn) -> None:
        _, fds, _, _ = socket.recv_fds(self._sock, 1, MAX_FDS)
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            for fd in fds:
                os.close(fd)
            text = f"the machine refuses another process: {error.strerror} (too many processes, or too little memory)"
            channel.send(self._sock, SpawnFailed(order.key, text))
            return
        if pid == 0:
            try:
                os.setsid()
                linux.die_with_parent(parent)
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                    signal.signal(number, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for fd in (self._wake, self._waker):
                    os.close(fd)
                for _, page in self._watched.values():
                    page.close()
                self._sock.close()
                linux.prefer_for_oom_kill()
                order.what.run(fds)
            except BaseException:
                import traceback

                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        if (watched := order.what.watch(fds)) is not None:
            self._watched[pid] = watched
            self._settings = watched[0]
        for fd in fds:
            os.close(fd)
        self._keys[pid] = order.key
        self._dead.clear()
        channel.send(self._sock, Spawned(order.key, pid))

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait3(os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            key = self._keys.pop(pid, None)
            if key is not None:  # else an orphan that was inherited
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                if pid in self._watched:
                    self._dead.append(self._watched[pid][1].announced())
                channel.send(self._sock, Exited(key, pid, status, usage.ru_maxrss * 1024))
                if pid in self._watched:
                    self._watched.pop(pid)[1].close()

    def _kill_groups(self) -> None:
        for pid in list(self._keys):
            linux.kill_group(pid)

    def _kill_all(self) -> None:
        """Kill what is below, again and again: killing a parent hands its children to us."""
        while True:
            for pid in linux.children_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.wait()
            except ChildProcessError:
                return
            except InterruptedError:
                continue

    def _leave_words(self) -> None:
        """The node is gone, and its processors have just been killed: say what they were at, before their
        memory takes its time to go.
        """
        if self._settings is not None:
            said = [*self._dead, *(page.announced() for _, page in self._watched.values())]
            last_state.leave(self._settings, said, orderly=self._orderly)
