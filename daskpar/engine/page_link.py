"""The driver's end of its page: answers what the scheduler asks when somebody looks, on its own thread."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from daskpar.engine.cluster import Cluster, bounded
from daskpar.processor.protocol import LookRow

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

Answer = Callable[[Mapping[str, object], list[LookRow]], bytes]
"""What a question is answered with; the list holds what processors do just now."""

LOOK_SECONDS = 1.0
"""How long nodes may take to say what their processors do."""
NODES_ASKED = 64
LAST_ANSWERS = 5
"""Questions that are answered once more at the end of a run."""
LEAVE_SECONDS = 3.0
"""How long the end of a run waits for the scheduler to take the last answers."""


def page_address(dashboard: str, run_id: str, *, alone: bool) -> str:
    """The address of a run's page, from that of Dask's dashboard.

    `alone`: whether no other run can be there.
    """
    place, _, query = dashboard.partition("?")
    if not place.endswith("/status"):
        return dashboard
    asked = query if alone else "&".join(part for part in (query, f"run={run_id}") if part)
    return f"{place.removesuffix('status')}daskpar{'?' if asked else ''}{asked}"


class PageLink:
    """Registers the page of a run on its scheduler and answers for it until `close`.

    Nothing here holds up a run or ends it: without a page it goes on.
    """

    def __init__(
        self, cluster: Cluster, answer: Answer, *, name: str, directory: str, started: float
    ) -> None:
        self._cluster = cluster
        self._answer = answer
        self._about = {"name": name, "directory": directory, "started": started}
        self._questions: queue.SimpleQueue[tuple[str, Mapping[str, object]] | None] = queue.SimpleQueue()
        self._asked: dict[str, tuple[float, Mapping[str, object]]] = {}
        """What was asked lately, and when."""
        self._cpu: dict[tuple[int, int, int], tuple[float, float]] = {}
        self._open = self._warned = False
        self._thread = threading.Thread(target=self._main, name="daskpar-page", daemon=True)

    @property
    def _client(self) -> Client:
        return self._cluster.client

    @property
    def _topic(self) -> str:
        from daskpar.engine.plugins.run_page import page_name

        return page_name(self._cluster.run_id)

    def start(self) -> None:
        """Register the page, in the background."""
        self._thread.start()

    def close(self, status: str, settle: Callable[[], None]) -> None:
        """The run ends as `status`: leave what was asked for lately, as it is after `settle`."""
        self._questions.put(None)
        self._thread.join(LEAVE_SECONDS)
        if not self._open or self._client.status != "running":
            return
        from daskpar.engine.plugins.run_page import end_page

        lately = monotonic() - 60.0
        try:
            if self._asked:
                settle()
            asked = [(key, q) for key, (at, q) in self._asked.items() if at > lately and "log" not in q]
            last = {key: self._answer(question, []) for key, question in asked[-LAST_ANSWERS:]}
            bounded(
                self._client.run_on_scheduler,
                end_page,
                run_id=self._cluster.run_id,
                status=status,
                last=last,
                seconds=LEAVE_SECONDS,
            )
        except Exception:
            logger.debug("the page could not be told of the end", exc_info=True)
        self._client._event_handlers.pop(self._topic, None)

    # -- the thread

    def _main(self) -> None:
        try:
            self._register()
        except Exception as error:
            logger.info("the run has no page on this scheduler: %r", error)
            logger.debug("the page could not be registered", exc_info=True)
            return
        while (asked := self._questions.get()) is not None:
            key, question = asked
            try:
                self._reply(key, question)
            except Exception:
                logger.debug("a question of the page could not be answered", exc_info=True)

    def _register(self) -> None:
        from daskpar.engine.plugins.run_page import RunPage

        # First the handler: what is asked before there is one would be lost.
        self._client._event_handlers[self._topic] = self._receive
        page = RunPage(run_id=self._cluster.run_id, driver=self._client.id, **self._about)  # type: ignore[arg-type]
        bounded(self._client.register_plugin, page, name=self._topic)
        self._open = True

    def _receive(self, event: tuple[float, str]) -> None:
        asked = json.loads(event[1])
        self._questions.put((asked["key"], asked["question"]))

    def _reply(self, key: str, question: Mapping[str, object]) -> None:
        from daskpar.engine.plugins.run_page import give_answer

        self._asked.pop(key, None)
        self._asked[key] = (monotonic(), question)  # the newest is the last
        if len(self._asked) > 100:
            del self._asked[next(iter(self._asked))]
        looks = [] if "log" in question else self._look()
        try:
            answer = self._answer(question, looks)
        except Exception as error:  # a mistake of ours: the page can't say it
            if not self._warned:
                self._warned = True
                logger.warning("the page of the run has nothing to show: %r", error)
            raise
        bounded(
            self._client.run_on_scheduler, give_answer, run_id=self._cluster.run_id, key=key, answer=answer
        )

    def _look(self) -> list[LookRow]:
        """What each processor does just now; nodes that do not answer soon are left out."""
        from daskpar.engine.plugins.node import look_here

        try:
            found: dict[str, Any] = bounded(
                self._client.run,
                look_here,
                run_id=self._cluster.run_id,
                workers=list(self._cluster.facts)[:NODES_ASKED],
                on_error="ignore",
                seconds=LOOK_SECONDS,
            )
        except Exception:
            return []
        now = monotonic()
        rows: list[LookRow] = []
        for answers in found.values():
            for step, node, number, pid, phase, index, age, memory, used, *calls in (
                answers if isinstance(answers, list) else ()
            ):
                before = self._cpu.get((node, number, pid))
                span = now - before[0] if before else 0.0
                cores = max(used - before[1], 0.0) / span if before and span > 0.2 else -1.0
                self._cpu[node, number, pid] = (now, used)
                row = (step, node, number, pid, phase, index, age, memory, round(cores, 2), *calls)
                rows.append(row)
        return rows
