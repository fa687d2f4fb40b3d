"""The page of a run on its scheduler: whoever looks gets the driver's answer, which is asked for once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tornado import web

from daskpar.engine.page_link import page_address
from daskpar.engine.plugins import run_page
from daskpar.engine.plugins.run_page import RunPage, end_page, give_answer, runs_of

QUESTION = {"step": ""}
KEY = json.dumps(QUESTION)


class FakeScheduler(SimpleNamespace):
    """Keeps what is sent to clients; it has no web server."""

    def __init__(self) -> None:
        super().__init__(sent=[], plugins={}, http_application=None)

    def client_send(self, client: str, message: dict[str, Any]) -> None:
        self.sent.append((client, json.loads(message["event"][1])))


async def page_on(scheduler: Any, run_id: str = "one") -> RunPage:
    page = RunPage(run_id=run_id, driver="driver", name="job", directory="/runs/one", started=1.0)
    scheduler.plugins[page.name] = page
    await page.start(scheduler)
    return page


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_two_viewers_cost_one_question() -> None:
    async def scene() -> None:
        scheduler = FakeScheduler()
        page = await page_on(scheduler)
        assert scheduler.sent == []  # nobody looks, nothing is asked
        viewers = [asyncio.create_task(page.facts(QUESTION, wait=False)) for _ in range(2)]
        await asyncio.sleep(0)
        assert scheduler.sent == [("driver", {"key": KEY, "question": QUESTION})]
        give_answer(scheduler, "one", KEY, b"{}")
        assert [await viewer for viewer in viewers] == [b"{}", b"{}"]
        assert await page.facts(QUESTION, wait=False) == b"{}"  # still fresh
        assert len(scheduler.sent) == 1 and page.waiting == 0

    run(scene())


def test_a_run_that_begins_while_dasks_pages_are_being_loaded_has_its_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread imports the module of these pages then: it is there, and empty."""

    async def scene() -> None:
        half_loaded = ModuleType("distributed.dashboard.scheduler")
        monkeypatch.setitem(sys.modules, half_loaded.__name__, half_loaded)
        scheduler = FakeScheduler()
        scheduler.http_application = web.Application()
        page = await page_on(scheduler)
        assert runs_of(scheduler)["one"] is page
        shown: dict[str, list[Any]] = {"pages": ["status"], "plots": []}
        half_loaded.template_variables = lambda _: shown  # type: ignore[attr-defined]
        run_page.add_to_navigation(scheduler)
        assert shown["pages"] == ["daskpar", "status"]

    run(scene())


def test_who_waits_gets_something_new_or_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        scheduler = FakeScheduler()
        page = await page_on(scheduler)
        page.take(KEY, b"old")
        monkeypatch.setattr(run_page, "FRESH_SECONDS", 0.05)
        newer = asyncio.create_task(page.facts(QUESTION, wait=True))
        while not scheduler.sent:
            await asyncio.sleep(0.01)
        page.take(KEY, b"new")
        assert await newer == b"new"
        monkeypatch.setattr(run_page, "FRESH_SECONDS", 1000.0)
        last = asyncio.create_task(page.facts(QUESTION, wait=True))
        await asyncio.sleep(0)
        await end_page(scheduler, "one", "completed", {KEY: b"end"})
        assert await last == b"end"
        assert page.line["status"] == "completed" and scheduler.plugins == {}

    run(scene())


def test_the_end_of_a_run_waits_for_who_has_just_looked_and_for_nobody_else() -> None:
    async def scene() -> None:
        scheduler = FakeScheduler()
        page = await page_on(scheduler)
        ending = asyncio.create_task(end_page(scheduler, "one", "completed", {KEY: b"end"}))
        await asyncio.sleep(0)
        assert ending.done() and not page.end_seen, "nobody has looked"

        page = await page_on(scheduler, "two")
        viewer = asyncio.create_task(page.facts(QUESTION, wait=False))
        await asyncio.sleep(0)
        give_answer(scheduler, "two", KEY, b"{}")
        assert await viewer == b"{}"
        ending = asyncio.create_task(end_page(scheduler, "two", "completed", {KEY: b"end"}))
        await asyncio.sleep(0)
        assert not ending.done()
        assert await page.facts(QUESTION, wait=True) == b"end"
        await ending

    run(scene())


def test_a_driver_that_vanishes_or_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        scheduler = FakeScheduler()
        monkeypatch.setattr(run_page, "ANSWER_SECONDS", 0.02)
        page = await page_on(scheduler)
        assert await page.facts(QUESTION, wait=False) is None
        monkeypatch.setattr(run_page, "ANSWER_SECONDS", 1000.0)
        asked = asyncio.create_task(page.facts(QUESTION, wait=False))
        await asyncio.sleep(0)
        page.remove_client(scheduler, "another")
        assert page.status == "running"
        page.remove_client(scheduler, "driver")
        assert await asked is None
        assert page.status == "gone"
        give_answer(scheduler, "one", KEY, b"late")
        give_answer(scheduler, "none", KEY, b"late")
        for number in range(30):
            (await page_on(scheduler, f"run-{number}")).end("completed", {})
        assert len(runs_of(scheduler)) == run_page.GONE_KEPT

    run(scene())


@pytest.mark.parametrize(
    ("dashboard", "alone", "address"),
    [
        ("http://127.0.0.1:1/status?token=x", True, "http://127.0.0.1:1/daskpar?token=x"),
        ("http://host:8787/status", False, "http://host:8787/daskpar?run=r"),
        ("https://hub/user/me/proxy/8787/status", False, "https://hub/user/me/proxy/8787/daskpar?run=r"),
        ("http://host/elsewhere", False, "http://host/elsewhere"),
        ("", True, ""),
    ],
)
def test_the_address_of_a_run(dashboard: str, alone: bool, address: str) -> None:
    assert page_address(dashboard, "r", alone=alone) == address
