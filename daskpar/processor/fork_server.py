"""The node's side of a fork server: starts it, has it fork children, and reads what became of them.

What runs in the server process itself is in `fork_server_main`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from daskpar.processor import channel, leftovers, linux
from daskpar.processor.fork_protocol import MARK, ChildEvent, ChildTask, CloseServer, Prepare, Spawn

if TYPE_CHECKING:
    from daskpar.processor.containers.container_server import ContainerClient, ServerPlace

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
# Arrow's own allocator keeps what it has had: 35 MB more in each processor that scores a table, and no faster
# (measured). The C library's allocator returns the memory of each mini-batch to the kernel and fetches it
# again, unless it may keep some: that is 2 to 7 % of the time of such jobs, for 3 to 7 % of their memory.
ALLOCATION = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
"""Variables of the memory allocators; those that the user sets are kept."""
READ_AT_START = ("LD_", "MALLOC_", "GLIBC_", "PYTHON", "LC_", "COVERAGE_", "SETUPTOOLS_")
"""How variables begin that a process reads as it starts: to change them later changes nothing. Packages have
Python call them at its start too (`.pth` files): setuptools and coverage do.
"""
READ_AT_START_TOO = frozenset({"LANG", "LANGUAGE", "LOCPATH", "TZ", "HOME", "TEMP", "TMP"})
"""Others; the folders for temporary files are for the guardian of the server to know."""
PRELOADED = "LD_PRELOAD"
"""Names libraries that are loaded before Python: any variable may be one that they read as they start."""
CLOSE_SECONDS = 10.0
"""For a server to end with all that is below it; it takes some hundredths of a second."""
CONTAINER_END_SECONDS = 10.0
"""For a runtime to take down a container in which nothing runs any more; it takes a tenth of a second."""


class ForkServer:
    """One fork server process, started at once.

    `environment` comes on top of this process's own. `tabular`: pandas and pyarrow are loaded. `threads`:
    value of the thread variables that neither the environment nor the user sets. `python`: another Python
    than this one, with the variables that belong to its environment. `light`: nothing is loaded, for
    commands; these find that Python by the variables, and the server itself runs in this one. `log`: file for
    its standard error, and for that of children until they have their own; empty: as this process's.
    `place`: a container in which it runs, with that one's variables. `ahead`: what it is for is not known,
    `prepare` will say it. Raises OSError where it can't be started.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        tabular: bool = False,
        threads: int = 1,
        python: str = "",
        light: bool = False,
        log: str = "",
        place: ServerPlace | None = None,
        ahead: bool = False,
    ) -> None:
        self.threads = threads
        self.outside = dict(os.environ)
        """This process's variables when it learnt what it is for: whoever sets others means another one."""
        self._log = log
        self._mark = f"{MARK}={os.urandom(16).hex()}"
        self._last_key = 0
        self.process: subprocess.Popen[bytes] | ContainerClient
        self._container: ContainerClient | None = None
        self._planner: socket.socket | None = None
        if place is not None:
            self._start_in_container(place, environment or {}, tabular=tabular)
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        defaults = {} if light else ALLOCATION if ahead else self._defaults()
        given: Mapping[str, str] = self.outside
        another = bool(python) and not light
        if python:
            from daskpar.processor.python_variables import activated

            given = activated(python, given)
        variables = {**defaults, **given, **(environment or {})}
        variables[MARK] = self._mark.partition("=")[2]
        self._variables = variables
        preload = "" if ahead else "commands" if light else "tables" if tabular else "files"
        stderr = _open_log(log)
        try:
            self.process = subprocess.Popen(
                [
                    python if another else sys.executable,
                    "-c",
                    _launch_code(theirs.fileno(), preload, self._mark, another=another),
                ],
                env=variables,
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C at the terminal is for the driver alone
            )
        except OSError as error:
            ours.close()
            if another:
                raise OSError(error.errno, f"{python} can't be started: {error.strerror}") from error
            raise
        finally:
            theirs.close()
            if stderr is not None:
                os.close(stderr)
        self.socket = ours
        self._inbox = channel.Inbox(ours)

    def _defaults(self) -> dict[str, str]:
        return {**dict.fromkeys(THREAD_VARIABLES, str(self.threads)), **ALLOCATION}

    def prepare(self, environment: Mapping[str, str], *, tabular: bool, threads: int) -> bool:
        """Say what a server is for that was started ahead, as when it is made; False where it can't be for
        that: a variable would have to be there from the beginning. OSError when it is gone.
        """
        self.threads = threads
        self.outside = dict(os.environ)
        wanted = {**self._defaults(), **self.outside, **environment, MARK: self._variables[MARK]}
        changed: dict[str, str | None] = dict.fromkeys(self._variables.keys() - wanted.keys())
        changed.update(wanted.items() - self._variables.items())
        if changed and wanted.get(PRELOADED):
            return False
        if any(name.startswith(READ_AT_START) or name in READ_AT_START_TOO for name in changed):
            return False
        channel.send(self.socket, Prepare(changed, "tables" if tabular else "files"))
        if tabular:
            self._planner, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with theirs:
                socket.send_fds(self.socket, [b"f"], [theirs.fileno()])
        return True

    def take_planner(self) -> socket.socket | None:
        """The caller's end of a child that has forked before pandas was loaded, for one `RemoteCall`.

        None where there is none, or it was taken. The child ends with the socket, and may have ended.
        """
        taken, self._planner = self._planner, None
        return taken

    def _start_in_container(
        self, place: ServerPlace, environment: Mapping[str, str], *, tabular: bool
    ) -> None:
        from daskpar.processor.containers.container_server import ContainerClient

        if (log := _open_log(self._log)) is not None:
            os.close(log)
        client = self.process = self._container = ContainerClient(
            place,
            mark=self._mark,
            environment=environment,
            defaults=self._defaults(),
            preload="tables" if tabular else "files",
            log=self._log if log is not None else "",
        )
        self.socket = client.ours
        self._inbox = channel.Inbox(self.socket)

    def fileno(self) -> int:
        """For selectors: readable when there are events to read."""
        return self.socket.fileno()

    def spawn(self, task: ChildTask, fds: Sequence[int]) -> int:
        """Fork a child that runs `task`; returns the key of its events. OSError when the server is gone."""
        self._last_key += 1
        channel.send(self.socket, Spawn(self._last_key, task))
        # The file descriptors follow with one byte of their own: the kernel passes them with data only.
        socket.send_fds(self.socket, [b"f"], list(fds))
        return self._last_key

    def read_events(self) -> list[ChildEvent]:
        """The events that have arrived since the last call.

        When the server is gone: first the events that it still sent, then ConnectionResetError, which says
        how it ended.
        """
        found = list(self._inbox.read())
        if self._inbox.closed and not found:
            raise ConnectionResetError(f"the fork server {self._how_it_ended()}")
        return found

    def _how_it_ended(self) -> str:
        try:
            code = self.process.wait(1 if self._container is None else CONTAINER_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "does not answer"
        if code < 0:
            return f"was killed ({signal.Signals(-code).name})"
        where = f"in {self._log}" if self._log else "on the standard error of its node"
        return f"ended with exit code {code}; what it said is {where}"

    def close(self) -> None:
        """End it and every process below it; may be called again."""
        with contextlib.suppress(OSError):
            channel.send(self.socket, CloseServer())
        with contextlib.suppress(OSError):
            # A process that this one has forked may hold a copy of the socket: closing it would not be seen.
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        until = monotonic() + CLOSE_SECONDS
        pid: int | None = getattr(self.process, "pid", None)
        if pid is not None and self.process.returncode is None:
            # Python looks from time to time whether it has ended, with pauses of up to 50 ms.
            linux.wait_for_end(pid, CLOSE_SECONDS)
        try:
            self.process.wait(max(0.0, until - monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.returncode != 0:
            self.kill_what_is_left()
        self._leave_nothing()

    def kill_what_is_left(self) -> None:
        """After a death of the server by violence: end what it could not end, in whatever sessions,
        and remove its temporary files.
        """
        linux.kill_marked(self._mark)
        leftovers.remove_server_folder(self._mark)

    def kill(self) -> None:
        """End it at once, in the middle of its imports too; only where no user code runs below it."""
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self._leave_nothing()

    def _leave_nothing(self) -> None:
        if (planner := self.take_planner()) is not None:
            planner.close()
        if self._container is not None:
            self._container.close()
        with contextlib.suppress(OSError):
            if self._log and os.path.getsize(self._log) == 0:
                os.unlink(self._log)


def _launch_code(fd: int, preload: str, mark: str, *, another: bool) -> str:
    """Python text that the server process runs."""
    # The package may lie anywhere on this process's path, and the server must find the same one. It is looked
    # for in its folder alone, which then goes to the end of the path: no other module in that folder, or in
    # the current folder, may hide one of the standard library or of the user's.
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if another:
        from daskpar.processor.shared_library import library_folder

        root = library_folder()
    return (
        f"import gc, sys; gc.disable(); sys.path[:] = [{root!r}, *filter(None, sys.path)]; "
        "import daskpar; sys.path.append(sys.path.pop(0)); "
        f"from daskpar.processor.fork_server_main import serve; serve({fd}, {preload!r}, {mark!r})"
    )


def _open_log(path: str) -> int | None:
    if not path:
        return None
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError:
        return None  # a full disk is reported where rows or results can't be written
