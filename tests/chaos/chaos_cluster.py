"""A Dask cluster of real processes for the chaos suite, which replaces the nodes that it loses, and a relay that can cut a network."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

import psutil

import warm_python

ROOT = Path(__file__).parents[2]
QUICK = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    # How often it is looked whether a worker still lives; ten of its heartbeats, 5 s, it has in any case.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1s",
    "DASK_DISTRIBUTED__ADMIN__LOG_LENGTH": "0",
    # As in Dask's own tests: a nanny forks the workers that come and go from a process that has imported all.
    "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver",
    "PYTHONPATH": str(ROOT),
}
"""Dask's patience, shortened to seconds, and quicker starts."""


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


class Cluster:
    """One scheduler and `nodes` workers, each below a nanny; a nanny that is gone is replaced, as a cluster manager would."""

    def __init__(self, folder: Path, nodes: int = 2, *, nanny: bool = True, replace: bool = True) -> None:
        self.log = open(folder / "cluster.log", "ab")  # noqa: SIM115  # closed with the cluster
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._nanny = nanny
        self._replace = replace
        self._closing = threading.Event()
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"
        )
        self.nodes = [self.add_node() for _ in range(nodes)]
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _start(self, what: str, *arguments: str) -> warm_python.WarmProcess:
        return warm_python.start(
            f"distributed.cli.dask_{what}",
            *arguments,
            env={**os.environ, **QUICK},
            cwd=ROOT,
            stdout=self.log,
            start_new_session=True,
        )

    def add_node(self, *arguments: str, scheduler: str | None = None) -> warm_python.WarmProcess:
        how = "--nanny" if self._nanny else "--no-nanny"
        return self._start(
            "worker",
            scheduler or self.address,
            "--nthreads",
            "2",
            "--no-dashboard",
            "--memory-limit",
            "0",
            how,
            *arguments,
        )

    def _keep(self) -> None:
        while not self._closing.wait(0.1):
            for at, node in enumerate(self.nodes):
                if self._replace and node.poll() is not None:
                    self.nodes[at] = self.add_node()

    def close(self) -> None:
        """End everything, whatever state it is in."""
        self._closing.set()
        self._thread.join()
        for process in [*self.nodes, self.scheduler]:
            for one in [*_below(process.pid), process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            process.wait()
        self.log.close()


def _below(pid: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    return []


class Relay:
    """Forwards connections to `target`; `cut` stops forwarding, both ways, without closing anything; `mend` goes on with what waits."""

    def __init__(self, target: int) -> None:
        self._target = ("127.0.0.1", target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._whole = threading.Event()
        self._whole.set()
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def close(self) -> None:
        self._closing = True
        self._whole.set()
        self._thread.join()
        for one in [self._listener, *self._peers]:
            one.close()

    def _forward(self) -> None:
        while not self._closing:
            ready = self._selector.select(0.05)
            self._whole.wait()
            for key, _ in ready:
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._pass_on(key.fileobj)

    def _accept(self) -> None:
        here, _ = self._listener.accept()
        try:
            there = socket.create_connection(self._target)
        except OSError:
            here.close()
            return
        self._peers |= {here: there, there: here}
        for one in (here, there):
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, source) -> None:
        peer = self._peers.get(source)
        if peer is None:
            return
        try:
            data = source.recv(1 << 16)
            if data:
                peer.sendall(data)
                return
        except OSError:
            pass
        for one in (source, peer):
            self._peers.pop(one, None)
            with suppress(KeyError, ValueError):
                self._selector.unregister(one)
            one.close()
