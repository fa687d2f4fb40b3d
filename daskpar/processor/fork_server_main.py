"""The main of a fork server: a small process of one thread from which processors are forked in milliseconds.

It imports beforehand what processors need, reaps what dies and reports it, inherits orphans as a subreaper,
and at the end of its node (end-of-file) kills every descendant before it ends. Its client is `fork_server`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from time import monotonic, sleep
from typing import NoReturn

from daskpar.processor import channel, guardian, last_state, leftovers, linux
from daskpar.processor.fork_protocol import (
    ChildTask,
    CloseServer,
    Exited,
    Prepare,
    Spawn,
    Spawned,
    SpawnFailed,
)
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Announcement, SharedPage

MAX_FDS = 4
"""File descriptors that come with one `Spawn` at most."""


def serve(fd: int, preload: str, mark: str, *, node: int = 0) -> None:
    """Main of the fork server; `fd` is its socket, `preload` one of `commands`, `files`, `tables`; empty: a
    `Prepare` says it.

    `mark`: NAME=value, in the environment of this process and of all below it. `node`: process of its node,
    where that is not the parent.
    """
    linux.become_subreaper()
    # Whoever started the run may block signals, and that is inherited: deaths of children would go unnoticed.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Signals to a whole group or machine are handled by the driver, which ends this process in order.
        signal.signal(number, signal.SIG_IGN)
    guarded = guardian.start(mark, fd, node)
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
    os.set_blocking(waker, False)
    # A handler of Python's own is needed for the wake-up descriptor to be written; it has nothing to do.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    own = [fd for fd in (sock.fileno(), wake, waker, guarded) if fd >= 0]
    if preload:
        _preload(preload)
    else:
        _prepare(sock, own)
    _hide_what_loads_dask()
    _Server(sock, wake, waker, guarded, mark).run()


def _prepare(sock: socket.socket, own: list[int]) -> None:
    """Wait until the step is known, take over its variables, and load what it needs; before pandas is loaded,
    a child is forked that plans without it meanwhile. `own`: descriptors that the child must not have.
    """
    try:
        order: Prepare = channel.receive(sock)
        planner = socket.recv_fds(sock, 1, 1)[1] if order.preload == "tables" else []
    except (EOFError, OSError):  # no step wants it
        os._exit(0)
    for name, value in order.variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if planner:
        _load_arrow()
        _fork_planner(planner, own)
    _preload(order.preload)


def _fork_planner(fds: list[int], own: list[int]) -> None:
    """Fork a child that runs the one `RemoteCall` which comes to it."""
    parent = os.getpid()
    with contextlib.suppress(OSError):  # no process can be had: then each call has its own, or none
        if os.fork() == 0:
            _as_child(parent, own, lambda: _run_call(fds))
    for fd in fds:
        os.close(fd)


def _run_call(fds: list[int]) -> None:
    gc.enable()
    with socket.socket(fileno=os.dup(fds[0])) as caller:
        try:
            call: ChildTask = channel.receive(caller)
        except (EOFError, OSError):  # nobody needs it
            return
    call.run(fds)


def _preload(preload: str) -> None:
    """Load what children need; until then no garbage is looked for, since what is loaded stays."""
    if preload == "commands":
        gc.enable()
        return
    import subprocess  # noqa: F401

    import daskpar.processor.host  # what every processor needs

    with contextlib.suppress(ImportError):  # what many scripts need; a Python of their own may do without
        import numpy  # noqa: F401

    if preload == "tables":
        _load_arrow()
        import pandas  # noqa: F401

        import daskpar.rows.frame_text  # noqa: F401
    # The children's garbage collector then leaves these memory pages shared. The garbage that there is (some
    # hundred objects) stays: to look for it is a twelfth of the work of the whole start.
    gc.freeze()
    gc.enable()


def _load_arrow() -> None:
    """What plans tables, and reads them up to the frames."""
    import pyarrow  # noqa: F401

    import daskpar.data.tables.table_reader  # noqa: F401


def _hide_what_loads_dask() -> None:
    """Leave the public names of the package out of its directory: they are loaded at their first use,
    with Dask and its threads, and a script may walk over the attributes of all modules.
    """
    package = vars(sys.modules["daskpar"])
    package["__all__"][:] = ["__version__"]
    package.pop("__dir__", None)


def _as_child(parent: int, own: list[int], work: Callable[[], None]) -> NoReturn:
    """In a forked child: undo what is the server's `own`, do the work, and end."""
    try:
        os.setsid()
        linux.die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for fd in own:
            os.close(fd)
        linux.prefer_for_oom_kill()
        work()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


class _Server:
    def __init__(self, sock: socket.socket, wake: int, waker: int, guarded: int, mark: str) -> None:
        self._sock, self._wake, self._waker, self._mark = sock, wake, waker, mark
        self._own = [fd for fd in (wake, waker, guarded) if fd >= 0]
        """Descriptors that children must not have."""
        self._keys: dict[int, int] = {}
        """Key of each living child, by its process."""
        self._watched: dict[int, tuple[ProcessorSettings, SharedPage]] = {}
        """The same for processors: their settings and pages."""
        self._folders: dict[int, str] = {}
        """Folder for the temporary files of each living child."""
        self._last_of_dead: list[Announcement] = []
        """Last announcements of the processors that died after the last fork."""
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
                    request = channel.receive(self._sock)
                    if isinstance(request, CloseServer):
                        self._orderly = True
                        break
                    self._spawn(request)
        except (EOFError, OSError):
            pass  # the node is gone
        finally:
            self._kill_groups()
            # Before the children's memory is gone, which takes time: the driver waits for the file.
            self._write_last_state()
            self._kill_all()
            leftovers.remove_server_folder(self._mark)
        os._exit(0)

    def _spawn(self, request: Spawn) -> None:
        _, fds, _, _ = socket.recv_fds(self._sock, 1, MAX_FDS)
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            for fd in fds:
                os.close(fd)
            why = f"{error.strerror} (too many processes, or too little memory)"
            text = f"the machine refuses another process: {why}"
            channel.send(self._sock, SpawnFailed(request.key, text))
            return
        if pid == 0:
            self._run_child(request, fds, parent)
        if (watched := request.task.watched_page(fds)) is not None:
            self._watched[pid] = watched
            self._settings = watched[0]
        for fd in fds:
            os.close(fd)
        self._keys[pid] = request.key
        if folder := request.task.temporary_folder(pid):
            self._folders[pid] = folder
        self._last_of_dead.clear()  # the node lives, and has seen those deaths
        channel.send(self._sock, Spawned(request.key, pid))

    def _run_child(self, request: Spawn, fds: list[int], parent: int) -> None:
        """In the forked child; never returns."""

        def work() -> None:
            for _, page in self._watched.values():
                page.close()
            request.task.run(fds)

        _as_child(parent, [*self._own, self._sock.detach()], work)

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
                self._end_group(pid)
                self._remove_folder(pid)
                if pid in self._watched:
                    # Its node may have died with it, and would then not report it.
                    self._last_of_dead += self._watched[pid][1].all_announced()
                channel.send(self._sock, Exited(key, pid, status, usage.ru_maxrss * 1024))
                if pid in self._watched:
                    self._watched.pop(pid)[1].close()
            else:
                self._folders.pop(pid, None)  # one that has removed a folder has ended

    def _end_group(self, leader: int) -> None:
        """Kill what is left of the group of a child that has ended.

        Its resource tracker, which is ours by now, goes last and by itself: once it is gone, the shared
        memory is. The successor is forked after that.
        """
        left = linux.members_of_group(leader, os.getpid())
        trackers = linux.trackers_among(left)
        if trackers:
            for pid in set(left) - trackers:
                linux.kill(pid)
            end = monotonic() + linux.TRACKER_SECONDS
            while trackers and monotonic() < end:
                for pid in list(trackers):
                    with contextlib.suppress(ChildProcessError):
                        if os.waitpid(pid, os.WNOHANG) == (0, 0):
                            continue
                    trackers.discard(pid)
                if trackers:
                    sleep(0.001)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)

    def _remove_folder(self, pid: int) -> None:
        """Remove the temporary files of a child that has ended; the next one does not wait for that."""
        folder = self._folders.pop(pid, "")
        if not folder:
            return
        try:
            os.rmdir(folder)  # nearly always there is nothing in it
        except FileNotFoundError:
            return
        except OSError:
            parent = os.getpid()
            with contextlib.suppress(OSError):
                if (cleaner := os.fork()) == 0:
                    try:
                        for fd in self._own:
                            os.close(fd)
                        self._sock.close()
                        linux.die_with_parent(parent)
                        leftovers.remove_tree(folder)
                    finally:
                        os._exit(0)
                self._folders[cleaner] = folder  # should it be killed with us, the rest is ours to remove

    def _kill_groups(self) -> None:
        for pid in list(self._keys):
            linux.kill_tree(pid)

    def _kill_all(self) -> None:
        # Again and again: killing a parent makes its children ours (PR_SET_CHILD_SUBREAPER, prctl(2)).
        end = monotonic() + linux.LAST_TRACKER_SECONDS
        while True:
            children = linux.children_of(os.getpid())
            spared = linux.trackers_among(children) if monotonic() < end else set()
            for pid in children:
                if pid not in spared:
                    linux.kill(pid)
            only_trackers = bool(spared) and len(spared) == len(children)
            try:
                if only_trackers and os.waitpid(-1, os.WNOHANG) == (0, 0):
                    sleep(0.001)
                elif not only_trackers:
                    os.wait()
            except ChildProcessError:
                return
            except InterruptedError:
                continue

    def _write_last_state(self) -> None:
        """The node is gone, and its processors have just been killed: write what they were doing."""
        if self._settings is not None:
            pages = [page for _, page in self._watched.values()]
            last = [*self._last_of_dead, *(one for page in pages for one in page.all_announced())]
            last_state.write(self._settings, last, orderly=self._orderly)
