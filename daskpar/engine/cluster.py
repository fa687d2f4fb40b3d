"""The Dask cluster of a run: one in this process, a running one, or one named in Dask's configuration.

Opening it in the background while the input is listed saves start-up time, hence `Cluster` connects in `open`
and not before.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from daskpar import _version
from daskpar.engine.computes import StartedCompute, start_compute
from daskpar.engine.greeting import address_in, check_greeting
from daskpar.engine.introductions import Answers, Introductions, ask_workers
from daskpar.engine.plugins.scheduler_calls import services
from daskpar.engine.quiet_dask import an_end, expect_end, let_leftovers_be
from daskpar.engine.rules.cluster_size import NodeWait
from daskpar.engine.sizing import Sizing
from daskpar.engine.steady_sends import make_sends_steady
from daskpar.errors import InfrastructureLost, UsageError

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.engine.rules.allocation import NodeFacts

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10
"""For a scheduler to answer: one that is starting up gets a moment, a wrong address is told soon."""
FILE_SECONDS = 0.05
"""Between two looks for the file of a scheduler that is starting up."""
WORKER_SECONDS = 300
"""For the first worker of a cluster to come."""
LOOK_SECONDS = 0.1
"""Between two looks for it."""
ANSWER_SECONDS = 20.0
"""How long a scheduler or a worker may take to answer a question that takes no time; then it is taken to be
hung.
"""
HANGING_SECONDS = 2.0
"""The same where one is known not to answer."""
GRACE_SECONDS = 3.0
"""How long a run that begins waits for other workers, once one has answered."""
JOIN_SECONDS = 0.25
"""The same for workers that join a run; who takes longer is taken in later."""

INSTALL = f"install the same daskpar everywhere (pip install 'daskpar=={_version.__version__}')"

RESUME = "`python -m daskpar resume` goes on, there or on another cluster"
SCHEDULER_GONE = f"the connection to the Dask scheduler is lost; {RESUME}"


def bounded(function: Callable[..., Any], *args: Any, seconds: float | None = None, **kwargs: Any) -> Any:
    """What `function` returns or raises; TimeoutError when it takes longer than `seconds`.

    It is left behind on its thread then.
    """
    ended: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def call() -> None:
        try:
            ended.put((function(*args, **kwargs), None))
        except BaseException as error:  # raised again by the caller
            ended.put((None, error))

    threading.Thread(target=call, daemon=True, name="daskpar-bounded-call").start()
    try:
        value, error = ended.get(timeout=ANSWER_SECONDS if seconds is None else seconds)
    except queue.Empty:
        raise TimeoutError("the Dask cluster does not answer") from None
    if error is not None:
        raise error
    return value


class Cluster:
    """A connection to Dask for one run.

    `client`: an existing client, which stays open. `scheduler`: address of a running scheduler, or path of
    its .json file. `compute`: a name below `daskpar.computes` in Dask's configuration, `{class:
    package.Cluster, kwargs...}`. With none of them a local cluster of `workers` nodes starts in this process,
    or with `processes` in processes of their own.
    """

    def __init__(
        self,
        *,
        run_id: str,
        client: Client | None = None,
        scheduler: str | None = None,
        compute: str | None = None,
        workers: int = 1,
        processes: bool = False,
        dashboard: str | None = "127.0.0.1:8787",
    ) -> None:
        self.run_id = run_id
        self.local = client is None and scheduler is None and compute is None
        self.in_process = self.local and not processes
        self._given = client
        self._scheduler = scheduler
        self._compute = compute
        self._workers = max(1, workers)
        self._processes = processes
        self._dashboard = dashboard
        self._cluster: Any = None
        self._client: Client | None = None
        self._plugged = False
        self.facts: dict[str, NodeFacts] = {}
        """Worker address -> its facts. Replaced as a whole, never changed: several steps may
        look at it.
        """
        self.strangers: dict[str, str] = {}
        """Workers with another version of daskpar, or with none -> that version, or an empty text. They take
        no part.
        """
        self.news: queue.SimpleQueue[str] = queue.SimpleQueue()
        """What is to be said while workers are waited for."""
        self.sizing = Sizing(self._tell_wanted)
        self._started: StartedCompute | None = None
        self.hanging: set[str] = set()
        """Workers that did not answer when a step ended."""
        self.far: dict[str, str] = {}
        """Workers that do not see the run directory -> why that is, in one sentence."""
        self.on_answer: set[Callable[[], object]] = set()
        """Called, on another thread, when a worker answers at last."""
        self._plugin = b""
        self._introductions = Introductions(self._introduce, self._tell_answer)
        self._merging = threading.Lock()
        self._begun = False
        self._connection: Any = None

    @property
    def client(self) -> Client:
        """The connection; `open` makes it."""
        assert self._client is not None, "the cluster is not open yet"
        return self._client

    @property
    def connected(self) -> bool:
        """Whether the connection that `open` made still stands. One that Dask has made again does not count:
        when the first was lost, the scheduler ended what this run had on the cluster."""
        return self.client.status == "running" and self.client.scheduler_comm is self._connection

    def open(self) -> None:
        """Connect, compare versions, put the node plugin on every worker.

        Raises UsageError when the address or the configuration is wrong, InfrastructureLost when nothing
        answers.
        """
        from distributed import protocol

        from daskpar.engine.plugins.guard import Guard, guard_name
        from daskpar.engine.plugins.joining import keep_for_joining
        from daskpar.engine.plugins.node import NodePlugin, plugin_name

        if self.local and self._dashboard is not None:
            check_dashboard(self._dashboard)
        if self._scheduler is not None:
            check_scheduler(self._scheduler)
        self._client = self._given or self._connect()
        if self._given is None:
            let_leftovers_be(self._client.loop)
        self._connection = self._client.scheduler_comm
        if not self.local:
            self._check_scheduler_imports()
            self._await_workers()
        if not self.in_process:
            bounded(
                self._client.register_plugin,
                Guard(run_id=self.run_id, driver=self.client.id),
                name=guard_name(self.run_id),
            )
        self._plugged = True
        self._plugin = protocol.pickle.dumps(NodePlugin(self.run_id))
        bounded(
            self._client.run_on_scheduler,
            keep_for_joining,
            name=plugin_name(self.run_id),
            plugin=self._plugin,
        )
        self.refresh()
        self._begun = True

    def _connect(self) -> Client:
        from distributed import Client

        if self.local:
            return Client(self._local_cluster(), set_as_default=False)
        target: Any = self._scheduler
        if target is None:
            self._started = start_compute(str(self._compute), self._workers)
            self._cluster = target = self._started.cluster
            self.sizing = Sizing(self._tell_wanted, there=lambda: list(self.facts), started=self._started)
        else:
            address = address_in(target, CONNECT_SECONDS) if target.endswith(".json") else target
            check_greeting(address, CONNECT_SECONDS, target)
            target = address
        return self._reach(target)

    def _reach(self, address: Any) -> Client:
        from distributed import Client

        try:
            make_sends_steady()
            return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError) as error:
            where = self._scheduler or self._compute
            raise InfrastructureLost(
                f"no Dask scheduler answers at {where!r}: {error}. Is it running, and reachable from here?"
            ) from error

    def _local_cluster(self) -> Any:
        from daskpar.engine.local_cluster import LocalCluster

        self._cluster = LocalCluster(
            workers=self._workers, processes=self._processes, dashboard=self._dashboard
        )
        return self._cluster.dask

    def _await_workers(self) -> None:
        began = monotonic()
        if self._started is not None and self._started.bounds is not None:
            self._tell_wanted(self._workers)  # one that adapts starts none before somebody asks
        wait, asked = NodeWait(began), self.sizing.asked or 1
        while not self.workers():
            now = monotonic()
            if self._started is None and now > began + WORKER_SECONDS:
                raise InfrastructureLost(
                    "the Dask scheduler has had no worker for five minutes; start workers and try again"
                )
            # A queue may be long: what was asked for comes when it comes, or can't be submitted.
            if trouble := self.sizing.trouble:
                raise UsageError(f"daskpar.computes.{self._compute}: no worker can be started: {trouble}")
            if said := wait.look(asked, 0, now):
                self.news.put(said)
            sleep(LOOK_SECONDS)

    @property
    def brings_nodes(self) -> bool:
        """Whether it was started for this run, and new nodes come as soon as its queue has them."""
        return self._started is not None

    def _tell_wanted(self, nodes: int | None) -> None:
        """Tell the scheduler how many nodes the run can use; None: it ends."""
        from daskpar.engine.plugins.wanted_nodes import want_nodes

        if not self.local and self._client is not None and self._client.status == "running":
            bounded(self._client.run_on_scheduler, want_nodes, run_id=self.run_id, nodes=nodes)

    def _check_scheduler_imports(self) -> None:
        """Raises UsageError where the scheduler can't import daskpar, which runs there too."""
        try:
            bounded(self.client.run_on_scheduler, services)
        except TimeoutError:
            logger.warning("the Dask scheduler does not answer in time")
        except Exception as error:
            # Dask hands on some errors as text only.
            if "daskpar" not in str(error):
                raise
            raise UsageError(f"the Dask scheduler can't import daskpar ({error}): {INSTALL}") from error

    def refresh(self) -> list[str]:
        """Ask workers that joined since who they are; addresses of all that may take part, oldest first.

        Who does not answer soon is `silent`, and is here once it does. Workers without daskpar, or with
        another version, are strangers. Raises UsageError when no others are there as the run begins,
        InfrastructureLost when the scheduler does not answer.
        """
        workers = self.workers()
        self._introductions.keep(workers)
        self._doubt_hanging()
        known = self.facts.keys() | self.strangers.keys()
        unknown = {address for address in workers if address not in known}
        self._introductions.begin(unknown)
        grace = JOIN_SECONDS if self._begun and self.facts else GRACE_SECONDS
        try:
            self._introductions.wait(
                unknown, grace if self._begun or self.facts else ANSWER_SECONDS, after_the_first=grace
            )
        except OSError as error:
            raise _no_answer(error) from error
        with self._merging:  # steps may run side by side: each is to find what another one has taken
            self._take_answers(self._introductions.take(), set(workers))
        if self.strangers and not self.facts and not self._begun:
            raise UsageError(stranger_text(*next(iter(self.strangers.items()))))
        return list(self.facts)

    def _take_answers(self, answers: Answers[NodeFacts], there: set[str]) -> None:
        """Note who the workers are that have answered; `there` are all that have not gone."""
        found: dict[str, NodeFacts] = {}
        strangers: dict[str, str] = {}
        for address, answer in answers.items():
            if isinstance(answer, BaseException):
                if "daskpar" in str(answer):
                    strangers[address] = ""
                else:
                    logger.warning("worker %s can't say what it is and is left out: %r", address, answer)
            elif answer.version != _version.__version__:
                strangers[address] = answer.version
            else:
                # How many tasks a worker of ours takes at a time says nothing: the machine is ours.
                found[address] = replace(answer, threads=None, memory=None) if self.local else answer
        for address in strangers:
            logger.warning("%s", stranger_text(address, strangers[address]))
        self.strangers = {a: what for a, what in {**self.strangers, **strangers}.items() if a in there}
        self.facts = {a: facts for a, facts in {**self.facts, **found}.items() if a in there}

    def _doubt_hanging(self) -> None:
        """Ask anew who did not answer when a step ended."""
        doubtful, self.hanging = self.hanging & self.facts.keys(), set()
        if doubtful:
            self.facts = {a: facts for a, facts in self.facts.items() if a not in doubtful}

    @property
    def silent(self) -> set[str]:
        """Workers that are there and have not answered for seconds."""
        return self._introductions.silent

    def workers(self) -> list[str]:
        """Addresses of the workers that the scheduler knows, whatever their version.

        Raises InfrastructureLost when it does not answer.
        """
        # The scheduler is asked each time: what `Client.scheduler_info` returns is the client's own record,
        # which it goes on changing, and for a moment it names no worker.
        try:
            return list(bounded(self.client.nthreads))
        except (TimeoutError, OSError) as error:
            raise _no_answer(error) from error

    def forget(self, address: str) -> None:
        """A worker is lost; what comes under its address is asked anew."""
        self.facts = {other: facts for other, facts in self.facts.items() if other != address}
        self.far.pop(address, None)
        self.strangers = {other: version for other, version in self.strangers.items() if other != address}

    def _introduce(self, workers: list[str], take: Callable[[Answers[NodeFacts]], None]) -> None:
        from daskpar.engine.plugins.joining import introduce
        from daskpar.engine.plugins.node import plugin_name

        ask_workers(
            self.client,
            introduce,
            workers,
            take,
            version=_version.__version__,
            name=plugin_name(self.run_id),
            plugin=self._plugin,
        )

    def _tell_answer(self) -> None:
        for call in list(self.on_answer):
            call()

    @property
    def dashboard_link(self) -> str:
        """Address of the Dask dashboard, empty where there is none."""
        if not self.local:
            there = bounded(self.client.run_on_scheduler, services)
            return str(self.client.dashboard_link or "") if "dashboard" in there else ""
        return str(self._cluster.dashboard_link)

    def _expect_end(self) -> None:
        """Tell processes of workers that end with the run: they may write to the terminal of this one."""
        here = (socket.gethostname(), os.getpid())
        others = [address for address, facts in self.facts.items() if (facts.host, facts.pid) != here]
        if self._started is not None and others:
            run = self.client.run
            bounded(run, expect_end, workers=others, on_error="ignore", seconds=HANGING_SECONDS)

    def close(self) -> None:
        """Leave the cluster as it was found: our plugin is removed; a cluster that this run started ends."""
        from daskpar.engine.plugins.guard import guard_name
        from daskpar.engine.plugins.node import plugin_name

        silent = self.hanging | self.silent
        self._introductions.close()
        if self._plugged and self._client is not None and not self.local and self._client.status == "running":
            try:
                bounded(self._client.unregister_scheduler_plugin, guard_name(self.run_id))
                self._tell_wanted(None)
                # Dask waits for the answers of all workers.
                patience = HANGING_SECONDS if silent & set(self.workers()) else None
                bounded(self._client.unregister_worker_plugin, plugin_name(self.run_id), seconds=patience)
                self._expect_end()
            except TimeoutError:
                logger.warning("could not remove the node plugin from all workers; it ends with them")
            except Exception:
                logger.warning("could not remove the node plugin; it ends with the workers", exc_info=True)
        # What ends is ours: the connection at least, for a client that was given stays.
        with an_end():
            try:
                if self._client is not None and self._given is None:
                    self._client.close()
            finally:
                if (mine := self._started or self._cluster) is not None:
                    mine.close()


def check_scheduler(address: str) -> None:
    """Raises UsageError for what can't be the address or the file of a scheduler."""
    from distributed import comm

    # Dask's own client waits long for a wrong address, and without end for a file that is missing.
    if address.endswith(".json"):
        end = monotonic() + CONNECT_SECONDS
        while not os.path.isfile(address):
            if monotonic() >= end:
                raise UsageError(
                    f"--scheduler {address}: there is no such file; "
                    f"`dask scheduler --scheduler-file {address}` writes it"
                )
            sleep(FILE_SECONDS)
        return
    try:
        scheme, place = comm.addressing.parse_address(address)
        comm.registry.get_backend(scheme)
        if scheme != "inproc":
            comm.addressing.parse_host_port(place)
    except ValueError as error:
        raise UsageError(
            f"--scheduler {address!r} is no address of a Dask scheduler, such as tcp://host:8786: {error}"
        ) from error


def check_dashboard(address: str) -> None:
    """Raises UsageError for an address that the dashboard of a local cluster can't have."""
    match = re.fullmatch(r"(?:(?P<host>[^:/\[\]]*):)?(?P<port>\d{1,5})", address)
    try:
        if match is None or int(match["port"]) > 65535:
            raise ValueError("no host and port")
        kind, _, _, _, where = socket.getaddrinfo(match["host"] or None, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            # Port 0: whether the host is one of this machine. Where the port is taken, Dask chooses another.
            probe.bind(where)
    except (OSError, ValueError) as error:
        what = "write it as HOST:PORT, with a host of this machine, such as 127.0.0.1:8787, or `none`"
        raise UsageError(
            f"--dashboard {address!r} is no address for the Dask dashboard ({error}): {what}"
        ) from error


def stranger_text(address: str, version: str) -> str:
    """Why the worker at `address`, which has this `version` of daskpar (empty: none), takes no part; one
    sentence.
    """
    what = f"daskpar {version}" if version else "no daskpar"
    return f"worker {address} has {what}, this is {_version.__version__}: it is left out; {INSTALL}"


def _no_answer(error: Exception) -> InfrastructureLost:
    return InfrastructureLost(f"the Dask scheduler does not answer ({error}); is it running? {RESUME}")
