"""The page of the runs on a scheduler (`/daskpar`): a plugin for each run, and who answers a browser.

The scheduler knows little of a run. What a page shows comes from the run's driver, which is asked when
somebody looks, at most once a second however many look. A run that nobody looks at costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
from collections.abc import Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin
from tornado import web

from daskpar.page.web_page import PLOTS, asset, page_html

if TYPE_CHECKING:
    from distributed import Scheduler

logger = logging.getLogger(__name__)

FRESH_SECONDS = 0.9
"""An answer of the driver is given to all who ask within this time."""
ANSWER_SECONDS = 5.0
"""How long a driver may take."""


LOOKS_AGAIN_SECONDS = 1.5
"""A page that asked so lately asks again at once, and is to see the end of its run too."""
STAY_SECONDS = 0.5
"""How long the end of a run that somebody looks at waits for that question."""
GONE_KEPT = 20
"""Runs that have ended and are still listed."""


def page_name(run_id: str) -> str:
    """Name of the plugin of a run, and of its driver's topic."""
    return f"daskpar-page-{run_id}"


class RunPage(SchedulerPlugin):
    """Stands for one run, whose driver is the Dask client `driver`."""

    def __init__(self, *, run_id: str, driver: str, name: str, directory: str, started: float) -> None:
        self.name = page_name(run_id)
        self.run_id = run_id
        self.driver = driver
        self.job = name
        self.directory = directory
        self.started = started
        self.status = "running"
        self.scheduler: Scheduler | None = None
        self._answers: dict[str, tuple[float, bytes]] = {}
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        self._over: asyncio.Event | None = None
        self.waiting = 0
        """Requests that are being answered."""
        self.looked = float("-inf")
        """When a request was answered last, on the monotonic clock."""
        self.end_seen = False
        """Whether one was answered after the end of the run."""

    async def start(self, scheduler: Scheduler) -> None:
        """Called by Dask: from now on the run has a page."""
        self.scheduler = scheduler
        self._over = asyncio.Event()
        runs_of(scheduler)[self.run_id] = self
        serve(scheduler)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Called by Dask when a client has closed its connection, or lost it."""
        if client == self.driver and self.status == "running":
            self.end("gone", {})

    async def close(self) -> None:
        """Called by Dask when the plugin is removed or the scheduler ends."""
        self.end("gone" if self.status == "running" else self.status, {})

    def end(self, status: str, last: Mapping[str, bytes]) -> None:
        """The driver answers no more; `last` are its last answers."""
        self.status = status
        for key, answer in last.items():
            self._answers[key] = (monotonic(), answer)
        if self._over is not None:
            self._over.set()
        for future in self._asked.values():
            if not future.done():
                future.cancel()
        self._asked.clear()

    @property
    def line(self) -> dict[str, object]:
        """The run in a list of runs."""
        return {
            "id": self.run_id,
            "name": self.job,
            "directory": self.directory,
            "started": self.started,
            "status": self.status,
        }

    async def facts(self, question: Mapping[str, object], *, wait: bool) -> bytes | None:
        """The driver's answer to a question; None where it has gone.

        `wait`: no answer that was given before, as long as the run goes on.
        """
        key = json.dumps(question, sort_keys=True)
        self.waiting += 1
        try:
            at, last = self._answers.get(key, (float("-inf"), None))
            left = FRESH_SECONDS - (monotonic() - at)
            if last is not None and left > 0 and self.status == "running":
                if not wait:
                    return last
                assert self._over is not None
                with_end = asyncio.create_task(self._over.wait())
                await asyncio.wait([with_end], timeout=left)
                with_end.cancel()
            if self.status == "running":
                try:
                    return await self._ask(key, question)
                except (TimeoutError, asyncio.CancelledError):
                    pass
            return self._answers.get(key, (0.0, None))[1]
        finally:
            self.waiting -= 1
            self.looked = monotonic()
            self.end_seen = self.status != "running"

    async def _ask(self, key: str, question: Mapping[str, object]) -> bytes:
        future = self._asked.get(key)
        if future is None:
            assert self.scheduler is not None
            future = self._asked[key] = asyncio.get_running_loop().create_future()
            # The form of Dask's own topic events, for this client alone.
            event = (time(), json.dumps({"key": key, "question": question}))
            self.scheduler.client_send(self.driver, {"op": "event", "topic": self.name, "event": event})
        try:
            return await asyncio.wait_for(asyncio.shield(future), ANSWER_SECONDS)
        except TimeoutError:
            self._asked.pop(key, None)
            raise

    def take(self, key: str, answer: bytes) -> None:
        """The driver's answer has come."""
        if len(self._answers) > 100:
            self._answers.clear()
        self._answers[key] = (monotonic(), answer)
        future = self._asked.pop(key, None)
        if future is not None and not future.done():
            future.set_result(answer)


def runs_of(scheduler: Any) -> dict[str, RunPage]:
    """The runs that this scheduler has or had, the oldest first."""
    found: dict[str, RunPage] = scheduler.__dict__.setdefault("_daskpar_runs", {})
    # Metrics of this process may be asked for in another thread.
    for run_id in [run_id for run_id, run in list(found.items()) if run.status != "running"][:-GONE_KEPT]:
        found.pop(run_id, None)
    return found


# What follows runs on the scheduler through `client.run_on_scheduler`.


def give_answer(dask_scheduler: Scheduler, run_id: str, key: str, answer: bytes) -> None:
    """The driver of a run answers a question."""
    if (run := runs_of(dask_scheduler).get(run_id)) is not None:
        run.take(key, answer)


async def end_page(dask_scheduler: Scheduler, run_id: str, status: str, last: dict[str, bytes]) -> None:
    """The driver of a run leaves; who looks just now still gets its last answers."""
    run = runs_of(dask_scheduler).get(run_id)
    if run is None:
        return
    run.end(status, last)
    dask_scheduler.plugins.pop(run.name, None)
    # A page may just draw what it was told, and ask again then: by that time the dashboard may be gone.
    now = monotonic()
    until = now + (STAY_SECONDS if run.waiting or now - run.looked < LOOKS_AGAIN_SECONDS else 0.0)
    while (run.waiting or not run.end_seen) and monotonic() < until:
        await asyncio.sleep(0.01)


# -- the web server


def serve(scheduler: Any) -> None:
    """Answer for `/daskpar` on the scheduler's web server; at most once for each scheduler."""
    application = getattr(scheduler, "http_application", None)
    if application is None or scheduler.__dict__.get("_daskpar_served"):
        return
    scheduler.__dict__["_daskpar_served"] = True
    import dask

    prefix = (dask.config.get("distributed.scheduler.http.prefix", "") or "").strip("/")
    root = f"/{prefix}/" if prefix else "/"
    with_scheduler = {"scheduler": scheduler}
    routes: list[Any] = [
        (f"{root}daskpar", _Page, {**with_scheduler, "plot": ""}),
        (f"{root}daskpar/", web.RedirectHandler, {"url": f"{root}daskpar"}),
        (f"{root}daskpar/runs.json", _Runs, with_scheduler),
        (f"{root}daskpar/facts.json", _Facts, with_scheduler),
        (f"{root}daskpar/log.json", _Log, with_scheduler),
        (f"{root}daskpar/(page\\.js|page\\.css)", _Asset),
        (f"{root}individual-plots.json", _plots_handler(), {"dask_server": scheduler}),
    ]
    routes += [(f"{root}{url}", _Page, {**with_scheduler, "plot": plot}) for plot, url in plot_urls().items()]
    application.add_handlers(r".*", routes)  # these come before Dask's own
    add_to_navigation(scheduler)


def plot_urls() -> dict[str, str]:
    """Plot -> its page, named as JupyterLab's Dask extension expects it."""
    return {plot: f"individual-daskpar-{plot}" for plot in PLOTS}


def add_to_navigation(scheduler: Any) -> None:
    """Put the page into the bar of Dask's own pages, where these are loaded."""
    pages = sys.modules.get("distributed.dashboard.scheduler")
    # While another thread imports that module, it is there without its content; whoever loads the pages comes
    # here again.
    variables = getattr(pages, "template_variables", None)
    if variables is None or not scheduler.__dict__.get("_daskpar_served"):
        return
    shown = variables(scheduler)
    if "daskpar" not in shown["pages"]:
        shown["pages"].insert(0, "daskpar")
        plots = [{"url": url, "name": f"Daskpar {plot.title()}"} for plot, url in plot_urls().items()]
        shown["plots"][:] = sorted([*shown["plots"], *plots], key=lambda plot: str(plot["name"]))


class _Handler(web.RequestHandler):
    def initialize(self, scheduler: Any = None, **_: Any) -> None:
        self.dask_scheduler = scheduler

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def run(self) -> RunPage | None:
        """The run that is asked for; the newest one that goes on where none is named."""
        runs = runs_of(self.dask_scheduler)
        asked = self.get_query_argument("run", "")
        if asked:
            return runs.get(asked)
        going = [run for run in runs.values() if run.status == "running"]
        return next(reversed(going or list(runs.values())), None)

    def send(self, value: object) -> None:
        """Answer with JSON."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.write(value if isinstance(value, bytes) else json.dumps(value).encode())

    def write_error(self, status_code: int, **_: Any) -> None:
        self.finish(f"{status_code}: {self._reason}\n")


class _Page(_Handler):
    """The page itself, or one of its plots alone; all that changes comes from the handlers below."""

    def initialize(self, scheduler: Any = None, plot: str = "", **_: Any) -> None:
        super().initialize(scheduler)
        self._plot = plot

    def get(self) -> None:
        nonce = secrets.token_urlsafe(12)
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'; "
            "style-src 'self' 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'",
        )
        self.write(page_html(plot=self._plot, nonce=nonce))


class _Asset(_Handler):
    def get(self, name: str) -> None:
        self.set_header("Content-Type", "text/css" if name.endswith("css") else "text/javascript")
        self.write(asset(name))


class _Runs(_Handler):
    def get(self) -> None:
        self.send({"runs": [run.line for run in runs_of(self.dask_scheduler).values()]})


class _Facts(_Handler):
    """`?run=ID&step=NAME&wait=1`: what is known of a run, and the list of all runs."""

    async def get(self) -> None:
        run = self.run()
        runs = [each.line for each in runs_of(self.dask_scheduler).values()]
        head: dict[str, object] = {"runs": runs, "asked": self.get_query_argument("run", "")}
        answer = None
        if run is not None:
            question = {"step": self.get_query_argument("step", "")}
            answer = await run.facts(question, wait=bool(self.get_query_argument("wait", "")))
            head |= {"run_id": run.run_id, "status": run.status, "answered": answer is not None}
            head["runs"] = [each.line for each in runs_of(self.dask_scheduler).values()]
        start = json.dumps(head).encode()
        self.send(start[:-1] + b', "facts": ' + (answer or b"null") + b"}")


class _Log(_Handler):
    """`?run=ID&step=NAME&node=N&processor=M`: what a processor's script has printed last."""

    async def get(self) -> None:
        run = self.run()
        question: dict[str, object] = {"log": self.get_query_argument("step", "")}
        for name in ("node", "processor"):
            text = self.get_query_argument(name, "0")
            question[name] = int(text) if text.isdecimal() and len(text) < 10 else 0
        answer = await run.facts(question, wait=False) if run is not None else None
        self.send(answer or {"texts": []})


def _plots_handler() -> type[web.RequestHandler]:
    """Dask's list of single plots, which JupyterLab's extension reads, with ours in it."""
    from distributed.http.scheduler.info import IndividualPlots

    class Plots(IndividualPlots):
        def write(self, chunk: Any) -> None:
            if isinstance(chunk, dict):
                ours = {f"Individual Daskpar {plot.title()}": f"/{url}" for plot, url in plot_urls().items()}
                chunk = {**chunk, **ours}
            super().write(chunk)

    return Plots
