"""Starts a fork server in a container: the socket to it is made in the container's own folder."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from time import monotonic

from daskpar.chosen_container import ChosenContainer
from daskpar.errors import UsageError
from daskpar.processor.containers.container_keeper import ContainerKeeper
from daskpar.processor.containers.container_line import (
    LIBRARY,
    OWN,
    container_name,
    python_program,
    run_line,
)
from daskpar.processor.containers.container_mounts import Mount
from daskpar.processor.containers.container_runtime import last_words, runtime_of
from daskpar.processor.containers.container_variables import handed_on, names_of_user, umask_now
from daskpar.value_classes import frozen

START_SECONDS = 120.0
"""For a container to start, which takes a third of a second, and longer from a network file system."""

_FIRST = """
import json, os, socket, sys
own, library = sys.argv[1:]
sock = socket.socket(socket.AF_UNIX)
sock.connect(own + "/link")
def read(size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            sys.exit(1)
        data += piece
    return data
told = json.loads(read(int(read(8), 16)))
os.umask(told["umask"])
if told["path"]:
    os.environ["PATH"] = os.pathsep.join([told["path"], os.environ.get("PATH", os.defpath)])
for name, value in told["defaults"].items():
    os.environ.setdefault(name, value)
os.environ["TMPDIR"] = own + "/tmp"
os.environ.update(told["environment"])
if not os.access(os.path.expanduser("~"), os.W_OK):
    os.environ["HOME"] = own + "/tmp"
sock.set_inheritable(True)
try:
    os.execv(sys.executable, [sys.executable, "-c", told["code"], str(sock.fileno()), library])
except (OSError, ValueError) as error:
    sys.exit("its Python can't be started with the variables of the step: %s" % error)
"""
"""What runs first in the container: it gets all that no command line and no file is to show, and becomes the
fork server. It is read by any Python 3.
"""


@frozen(kw_only=True)
class ServerPlace:
    """Where a fork server runs: a container, and what is seen there."""

    container: ChosenContainer
    step: str
    mounts: Sequence[Mount]


class ContainerClient:
    """The runtime's process that runs a fork server's container, as far as `subprocess.Popen` is asked.

    `ours` is our end of the socket to the server. `environment` comes on top of the image's own variables,
    `defaults` below them. `log`: file for what is said there; empty: it is shown where it can't be started.
    Raises OSError, with the runtime's words, for that.
    """

    def __init__(
        self,
        place: ServerPlace,
        *,
        mark: str,
        environment: Mapping[str, str],
        defaults: Mapping[str, str],
        preload: str,
        log: str,
    ) -> None:
        container, step, mounts = place.container, place.step, place.mounts
        self._container, self._closed = container, False
        try:
            self._runtime = runtime_of(container.runtime)
            self._keeper = ContainerKeeper(self._runtime, name := container_name(step, os.urandom(4).hex()))
        except UsageError as error:
            raise OSError(str(error)) from None
        try:
            listener = _listen(self._keeper.folder)
            with listener, open(log or os.path.join(self._keeper.folder, "said"), "ab") as said:
                start = said.tell()
                line = run_line(
                    self._runtime,
                    container,
                    python_program(container.python, ["-I", "-S", "-c", _FIRST, OWN, LIBRARY]),
                    name=name,
                    mark=mark,
                    own=self._keeper.folder,
                    mounts=mounts,
                )
                self._process = subprocess.Popen(
                    line,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    cwd="/",
                    start_new_session=True,
                )
                self.ours = self._connected(listener, said.name, start)
            _tell(self.ours, container, environment, defaults, _code(preload, mark))
        except UsageError as error:
            self._keeper.close()
            raise OSError(str(error)) from None
        except BaseException:
            self._give_up()
            raise

    def _connected(self, listener: socket.socket, said: str, start: int) -> socket.socket:
        end = monotonic() + START_SECONDS
        while not select.select([listener], [], [], 0.05)[0]:
            if self._process.poll() is not None and not select.select([listener], [], [], 0)[0]:
                raise OSError(f"{self._what} can't be started: {_said(said, start)}")
            if monotonic() > end:
                raise OSError(f"{self._what} did not start within {START_SECONDS:g} s: {_said(said, start)}")
        ours, _ = listener.accept()
        pid, uid, _ = struct.unpack("3i", ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if pid <= 0 or uid != os.geteuid():
            ours.close()
            raise OSError(
                f"the processes of {self._what} can't be watched from here, as their numbers or their user "
                "are others outside of it: leave out options for users and namespaces"
            )
        return ours

    @property
    def _what(self) -> str:
        return f"the container of {self._container.image} ({self._runtime.name})"

    @property
    def returncode(self) -> int | None:
        """As of `subprocess.Popen`: -N for a death by signal N."""
        code = self._process.returncode
        return 128 - code if code is not None and 128 < code < 128 + signal.NSIG else code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the container; how its main process ended, as `returncode`."""
        self._process.wait(timeout)
        code = self.returncode
        assert code is not None
        return code

    def kill(self) -> None:
        """End the container at once."""
        self._keeper.remove()
        self._process.kill()

    def close(self) -> None:
        """After the end of the runtime's process: leave nothing behind. May be called again."""
        if self._closed:
            return
        self._closed = True
        if self._process.wait() != 0:
            self._keeper.remove()
        self._keeper.close()

    def _give_up(self) -> None:
        with contextlib.suppress(AttributeError):  # it may not have been started
            self._process.kill()
            self._process.wait()
        self._keeper.remove()  # not before: it would be made after that
        self._keeper.close()


def _listen(folder: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{at}/link")  # a path of a socket has 107 characters at most
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(at)
    return listener


def _tell(
    sock: socket.socket,
    container: ChosenContainer,
    environment: Mapping[str, str],
    defaults: Mapping[str, str],
    code: str,
) -> None:
    told = {
        "code": code,
        "umask": umask_now(),
        "path": os.path.dirname(container.python),
        "environment": {**handed_on(), **environment},
        "defaults": {**defaults, **names_of_user()},
    }
    data = json.dumps(told).encode()
    sock.sendall(b"%08x" % len(data) + data)


def _code(preload: str, mark: str) -> str:
    return (
        "import gc, sys; gc.disable(); _, fd, library = sys.argv; "
        "sys.path[:] = [library, *filter(None, sys.path)]; import daskpar; sys.path.append(sys.path.pop(0)); "
        f"from daskpar.processor.fork_server_main import serve; "
        f"serve(int(fd), {preload!r}, {mark!r}, node={os.getpid()})"
    )


def _said(path: str, start: int) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(start)
            return last_words(file.read(10_000).decode(errors="replace"))
    except OSError:
        return "it said nothing"
