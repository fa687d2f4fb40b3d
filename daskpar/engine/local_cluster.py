"""A cluster of this machine that answers nobody but its owner.

Whoever can talk to a Dask scheduler or worker can run code as the user who started it, and other users of
this machine reach every address of it, the loopback one too. So nodes in this process have no address that
others could reach (`inproc://`), nodes in processes of their own speak TLS with a certificate that nobody
else ever gets, and no HTTP server runs but that of the dashboard, where it is asked for: it answers who
knows the token in its address (`dashboard.only_for_owner`).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import resource
import secrets
import socket
import subprocess
from collections import deque
from contextlib import ExitStack, suppress
from typing import Any

from distributed import Nanny, Scheduler, Security, SpecCluster, Worker
from tornado.ioloop import IOLoop

from daskpar import masking
from daskpar.engine.dashboard import TOKEN, only_for_owner, show_on_demand
from daskpar.engine.garbage_watch import measure_no_garbage
from daskpar.engine.quiet_dask import only_errors
from daskpar.engine.steady_sends import make_sends_steady
from daskpar.engine.wanted_pages import load_pages_where_wanted
from daskpar.errors import InfrastructureLost, UsageError

TICK_MILLISECONDS = 500
"""Between two looks of a server in the driver's process at whether its event loop answers. Dask looks fifty
times a second, which costs 20 ms of a core for every second of a run; it tells of a loop that was busy for
seconds."""
THREADS = 4
"""Of each worker. Blocks leave these slots at once; they only bound how many are handed over together."""
LOOPBACK = "127.0.0.1"
LEAST_ADDRESS_SPACE = 3 << 30
"""Bytes of addresses that a run takes in this process, most of them for threads, and hardly any of memory."""
BEAT_SECONDS = 2.0
"""How long a worker that ends waits for the answer to its last heartbeat."""
CERTIFICATE_DAYS = "365"
"""A run may take long; the certificate is forgotten with it."""


class LocalScheduler(Scheduler):
    """A scheduler with an HTTP server only where `doors`, sockets that listen, are given for it, and only for
    its owner.

    `with_nodes`: its nodes are in its own process.
    """

    has_pages = False
    """They are loaded when somebody first looks at them."""

    def __init__(self, *, token: str, doors: list[socket.socket], with_nodes: bool, **settings: Any) -> None:
        self._token = token
        self._doors = doors
        self._http_server: Any = None
        if with_nodes:
            watch_no_loop()
        super().__init__(dashboard=False, **settings)
        if with_nodes:
            look_seldom(self)
            # A node in this process can't be lost alone: when its heartbeat is late, this process was
            # stopped, or the machine asleep.
            self.worker_ttl = None
            self.periodic_callbacks.pop("worker-ttl", None)

    def start_http_server(self, *args: Any, **settings: Any) -> None:
        """Called by Dask, which would listen on all addresses where no dashboard is wanted."""
        if self._doors:
            super().start_http_server(*args, **settings)  # type: ignore[no-untyped-call]
            # No request is read before this returns: both are steps of one event loop.
            only_for_owner(self.http_server, self.http_application, self._token)

    @property
    def http_server(self) -> Any:
        """The web server, which Dask makes and would then let listen at an address."""
        return self._http_server

    @http_server.setter
    def http_server(self, server: Any) -> None:
        # It takes over our sockets: another process can't have taken their port meanwhile.
        server.listen = lambda *_, **__: server.add_sockets(self._doors)
        self._http_server = server


class LocalWorker(Worker):
    """A worker without an HTTP server.

    `with_driver`: it is in the driver's own process.
    """

    has_pages = False

    def __init__(self, *args: Any, with_driver: bool = False, **settings: Any) -> None:
        # It may have a process of its own.
        make_sends_steady()
        measure_no_garbage()
        load_pages_where_wanted()
        self._beats: dict[asyncio.Future[None], asyncio.Task[Any] | None] = {}
        self._leaving = False
        super().__init__(*args, **settings)
        if with_driver:
            look_seldom(self)
            # Only waiting threads are to be seen here, and looking at them a hundred times a second may stop
            # all of them for ever: up to Python 3.11 a collection of garbage in `sys._current_frames` keeps a
            # lock that the next new thread waits for with the GIL.
            self.periodic_callbacks.pop("profile", None)
            self.periodic_callbacks.pop("profile-cycle", None)

    def start_http_server(self, *args: Any, **settings: Any) -> None:
        """Called by Dask, which would listen on all addresses of the machine."""

    async def heartbeat(self) -> None:
        """Called by Dask, twice a second."""
        if self._leaving:
            return
        answered = asyncio.get_running_loop().create_future()
        self._beats[answered] = asyncio.current_task()
        try:
            await super().heartbeat()
        finally:
            del self._beats[answered]
            answered.cancel()

    async def close(self, *args: Any, **settings: Any) -> str | None:  # type: ignore[override]
        """Called by Dask, by a heartbeat too.

        A heartbeat that is on its way is answered first: Dask would close its connection, and write that to
        the terminal as an error.
        """
        self._leaving = True
        others = [beat for beat, task in self._beats.items() if task is not asyncio.current_task()]
        if others:
            await asyncio.wait(others, timeout=BEAT_SECONDS)
        return await super().close(*args, **settings)


class LocalNanny(Nanny):
    """Starts a worker with a process of its own, with the variables of this process.

    Dask's sets some beforehand, in this process and for good (one thread, its own settings of the allocator,
    a seed of hashes), unless they are set. Processors would take them for the user's: those of this run, and
    of each one in this process that begins later.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.env = {name: value for name, value in self.env.items() if name not in self.pre_spawn_env}
        self.pre_spawn_env = {}


def look_seldom(server: Any) -> None:
    """Let a server that is not started yet look seldom whether its event loop answers."""
    server.periodic_callbacks["tick"].callback_time = TICK_MILLISECONDS


def watch_no_loop() -> None:
    """Let the first server of this thread's event loop find that the loop is watched already.

    Else Dask has a thread that looks at it fifty times a second, as at the threads of workers.
    """
    loop: Any = IOLoop.current()
    if not hasattr(loop, "profile"):
        loop.profile = deque()


class LocalCluster:
    """`workers` nodes in this process, or with `processes` in processes of their own, until `close`.

    `dashboard`: HOST:PORT of the dashboard; HOST may be left out and is this machine's loopback address then.
    None: no dashboard. Raises UsageError where nodes in processes can't be protected, InfrastructureLost
    where this process may have too few addresses.
    """

    def __init__(self, *, workers: int, processes: bool, dashboard: str | None) -> None:
        check_address_space()
        make_sends_steady()
        measure_no_garbage()
        load_pages_where_wanted()
        self.token = secrets.token_urlsafe(24)
        masking.allow(self.token)
        self._host = _host_of(dashboard) if dashboard is not None else ""
        security = throwaway_security() if processes else Security()
        protocol = "tls://" if processes else "inproc://"
        common = {"protocol": protocol, "host": LOOPBACK if processes else None, "security": security}
        node = {**common, "nthreads": THREADS, "memory_limit": 0, "silence_logs": logging.ERROR}
        if processes:
            each = {"cls": LocalNanny, "options": {**node, "worker_class": LocalWorker}}
        else:
            each = {"cls": LocalWorker, "options": {**node, "with_driver": True}}
        with ExitStack() as until_end:
            until_end.enter_context(only_errors())
            doors = [] if dashboard is None else _doors(self._host, int(dashboard.rpartition(":")[2]))
            for door in doors:
                until_end.callback(door.close)  # where no server took it over
            address = f"{self._host}:{doors[0].getsockname()[1]}" if doors else None
            # What Dask has settings for is set on the servers themselves: settings are those of the whole
            # process, and other runs in it, or the user, may start a cluster meanwhile.
            asked = {"token": self.token, "doors": doors, "dashboard_address": address}
            own = {**common, **asked, "port": 0, "with_nodes": not processes}
            self.dask = _dask_cluster(
                scheduler={"cls": LocalScheduler, "options": own},
                workers=dict.fromkeys(range(workers), each),
                worker=each,
                security=security,
                silence_logs=False,
            )
            self._until_end = until_end.pop_all()
        if dashboard is not None:
            scheduler = self.dask.scheduler
            scheduler.loop.add_callback(show_on_demand, scheduler)

    @property
    def dashboard_link(self) -> str:
        """Address of the dashboard, with what lets its reader in; empty where there is none."""
        # Dask's own link names an address of the machine; the pages are served where they were asked for.
        if not self._host:
            return ""
        return f"http://{self._host}:{self.dask.scheduler.http_server.port}/status?{TOKEN}={self.token}"

    def close(self) -> None:
        """End the nodes and the scheduler."""
        with self._until_end:
            self.dask.close()


def _dask_cluster(**settings: Any) -> Any:
    return SpecCluster(**settings)


def check_address_space() -> None:
    """InfrastructureLost where a limit leaves this process too few addresses for its threads.

    Dask would only log that a thread was refused, and what was to run in it would be waited for.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit not in (-1, resource.RLIM_INFINITY) and limit < LEAST_ADDRESS_SPACE:
        raise InfrastructureLost(
            f"This process may have {limit >> 20:,} MB of addresses (`ulimit -v`), and a run needs "
            f"{LEAST_ADDRESS_SPACE >> 20:,} MB for its threads: raise that limit. To limit memory, give "
            "--processor_memory in program_arguments"
        )


def _host_of(dashboard: str) -> str:
    """The host that a dashboard's address names; a port alone does not mean all addresses of the machine."""
    return dashboard.rpartition(":")[0] or LOOPBACK


def _doors(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at a port of `host`, or at any where that one is taken: the address that is printed
    is the right one either way. A name may have other addresses, such as those of IPv6; they are served too
    where that is possible.
    """

    def door(kind: int, address: str, port: int) -> socket.socket:
        made = socket.create_server((address, port), family=kind, backlog=128)
        made.setblocking(False)
        return made

    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    first, *others = dict.fromkeys((kind, str(where[0])) for kind, _, _, _, where in found)
    try:
        doors = [door(*first, port)]
    except OSError:
        doors = [door(*first, 0)]
    for other in others:
        with suppress(OSError):
            doors.append(door(*other, doors[0].getsockname()[1]))
    return doors


def throwaway_security() -> Security:
    """TLS with a certificate of this run alone: it is in the memory of the run's own processes, and no file.

    Both sides of a connection have to show it, so no other process gets one. Raises UsageError where none can
    be made.
    """
    if not _has_cryptography():
        key, certificate = _from_openssl()
        names = ("client", "scheduler", "worker")
        return Security(
            require_encryption=True,
            tls_ca_file=certificate,
            **{f"tls_{name}_key": key for name in names},
            **{f"tls_{name}_cert": certificate for name in names},
        )
    made: Security = Security.temporary()
    return made


def _has_cryptography() -> bool:
    try:
        importlib.import_module("cryptography")
    except ImportError:
        return False
    return True


def _from_openssl() -> tuple[str, str]:
    """A new key and a certificate signed by it, as the command `openssl` makes them: PEM texts."""
    ask = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ask += ["-days", CERTIFICATE_DAYS, "-subj", "/CN=dask-internal", "-keyout", "-", "-out", "-"]
    try:
        made = subprocess.run(ask, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout.decode()
        start = made.index("-----BEGIN CERTIFICATE-----")
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise UsageError(
            "--worker-processes needs a certificate, which keeps other users of this machine out, and "
            f"neither the package cryptography nor the command openssl can make one ({error}): "
            "pip install cryptography, or leave out --worker-processes"
        ) from error
    return made[:start], made[start:]
