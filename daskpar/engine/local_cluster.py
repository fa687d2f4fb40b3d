"""A cluster of this machine that answers nobody but its owner.

Whoever can talk to a Dask scheduler or worker can run code as the user who started it, and other users of
this machine reach every address of it, the loopback one too. So nodes in this process have no address that
others could reach (`inproc://`), nodes in processes of their own speak TLS with a certificate that nobody
else ever gets, and no HTTP server runs but that of the dashboard, where it is asked for: it answers who
knows the token in its address (`dashboard.only_for_owner`).
"""

from __future__ import annotations

import importlib
import logging
import resource
import secrets
import socket
import subprocess
from typing import Any

from distributed import Nanny, Scheduler, Security, SpecCluster, Worker

from daskpar import masking
from daskpar.engine.dashboard import TOKEN, only_for_owner, show_on_demand
from daskpar.engine.garbage_watch import measure_no_garbage
from daskpar.engine.steady_sends import make_sends_steady
from daskpar.errors import InfrastructureLost, UsageError

IN_PROCESS = {
    # A node in this process can't be lost alone: when its heartbeat is late, this process was stopped, or the
    # machine asleep.
    "distributed.scheduler.worker-ttl": None,
    # Only waiting threads are to be seen here, and looking at them a hundred times a second may stop all of
    # them for ever: up to Python 3.11 a collection of garbage in `sys._current_frames` keeps a lock that the
    # next new thread waits for with the GIL.
    "distributed.worker.profile.enabled": False,
    # Each server looks fifty times a second whether its event loop answers, which costs 20 ms of a core for
    # every second of a run. Dask tells of a loop that was busy for seconds.
    "distributed.admin.tick.interval": "500ms",
}
"""Dask's configuration for nodes in the driver's own process."""
NO_PAGES: dict[str, object] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
"""Dask's configuration for servers without HTTP: pages that nobody can ask for need not be loaded."""
THREADS = 4
"""Of each worker. Blocks leave these slots at once; they only bound how many are handed over together."""
LOOPBACK = "127.0.0.1"
LEAST_ADDRESS_SPACE = 3 << 30
"""Bytes of addresses that a run takes in this process, most of them for threads, and hardly any of memory."""
CERTIFICATE_DAYS = "365"
"""A run may take long; the certificate is forgotten with it."""


class LocalScheduler(Scheduler):
    """A scheduler with an HTTP server only where `dashboard_address` asks for one, and only for its owner."""

    def __init__(self, *, token: str, dashboard_address: str | None, **settings: Any) -> None:
        self._token = token
        self._asked_for = dashboard_address is not None
        # The pages are loaded when somebody first looks at them, hence `dashboard` is false.
        super().__init__(dashboard=False, dashboard_address=dashboard_address, **settings)

    def start_http_server(self, *args: Any, **settings: Any) -> None:
        """Called by Dask, which would listen on all addresses where no dashboard is wanted."""
        if self._asked_for:
            super().start_http_server(*args, **settings)  # type: ignore[no-untyped-call]
            # No request is read before this returns: both are steps of one event loop.
            only_for_owner(self.http_server, self.http_application, self._token)


class LocalWorker(Worker):
    """A worker without an HTTP server."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        # It may have a process of its own.
        make_sends_steady()
        measure_no_garbage()
        super().__init__(*args, **settings)

    def start_http_server(self, *args: Any, **settings: Any) -> None:
        """Called by Dask, which would listen on all addresses of the machine."""


class LocalCluster:
    """`workers` nodes in this process, or with `processes` in processes of their own, until `close`.

    `dashboard`: HOST:PORT of the dashboard; HOST may be left out and is this machine's loopback address then.
    None: no dashboard. Raises UsageError where nodes in processes can't be protected, InfrastructureLost
    where this process may have too few addresses.
    """

    def __init__(self, *, workers: int, processes: bool, dashboard: str | None) -> None:
        import dask

        check_address_space()
        make_sends_steady()
        measure_no_garbage()
        self.token = secrets.token_urlsafe(24)
        masking.allow(self.token)
        self._host = _host_of(dashboard) if dashboard is not None else ""
        address = None if dashboard is None else _free(self._host, dashboard.rpartition(":")[2])
        security = throwaway_security() if processes else Security()
        protocol = "tls://" if processes else "inproc://"
        common = {"protocol": protocol, "host": LOOPBACK if processes else None, "security": security}
        node = {**common, "nthreads": THREADS, "memory_limit": 0, "silence_logs": logging.ERROR}
        if processes:
            each = {"cls": Nanny, "options": {**node, "worker_class": LocalWorker}}
        else:
            each = {"cls": LocalWorker, "options": node}
        scheduler = {**common, "port": 0, "token": self.token, "dashboard_address": address}
        quiet = {"distributed.worker.http.routes": []} if dashboard is not None else NO_PAGES
        with dask.config.set({**quiet, **({} if processes else IN_PROCESS)}):
            self.dask = _dask_cluster(
                scheduler={"cls": LocalScheduler, "options": scheduler},
                workers=dict.fromkeys(range(workers), each),
                worker=each,
                security=security,
                silence_logs=logging.ERROR,
            )
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


def _free(host: str, port: str) -> str:
    """The address, with port 0 (any) where the one that is asked for is taken: Dask would warn of that, and
    the address that we print is the right one either way.
    """
    kind, _, _, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(kind, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind(where)
        except OSError:
            return f"{host}:0"
    return f"{host}:{port}"


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
