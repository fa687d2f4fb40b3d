"""Asks workers to begin and to end a step, each on a thread of its own: a worker that does not answer
holds up no other.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from daskpar.engine.rules.members import Member
from daskpar.processor import last_state
from daskpar.processor.protocol import ProcessorSettings

if TYPE_CHECKING:
    from distributed import Client


logger = logging.getLogger(__name__)

WORDS_SECONDS = 5.0
"""How long the last words of a lost node are waited for; one that has gone with its whole machine leaves
none.
"""
WORDS_TICK_SECONDS = 0.05
LAST_WORD_SECONDS = 2.0
"""What the last word of a node gets to arrive, once it has answered that it has left."""

Inbox = queue.SimpleQueue[tuple[Any, ...]]


def open_on_worker(client: Client, member: Member, settings: ProcessorSettings, inbox: Inbox) -> None:
    """Have a worker start the processors of a step; ("opened", address, number, trouble) follows in `inbox`."""
    from daskpar.engine.plugins.node import open_step

    def ask() -> None:
        trouble = ""
        try:
            client.run(open_step, run_id=settings.run_id, settings=settings, workers=[member.address])
        except Exception as error:  # whatever it is, it is this node's trouble alone
            trouble = f"{type(error).__name__}: {error}"
        inbox.put(("opened", member.address, member.number, trouble))

    threading.Thread(target=ask, daemon=True, name=f"daskpar-open-{member.address}").start()


def await_last_words(settings: ProcessorSettings, address: str, inbox: Inbox) -> None:
    """Look for what a lost node was at when it died; ("words", address, number, LastState or None) follows in
    `inbox` within seconds.
    """

    def look() -> None:
        words = None
        try:
            deadline = monotonic() + WORDS_SECONDS
            while (words := last_state.read(settings)) is None and monotonic() < deadline:
                sleep(WORDS_TICK_SECONDS)
        finally:
            inbox.put(("words", address, settings.node, words))

    threading.Thread(target=look, daemon=True, name=f"daskpar-words-{address}").start()


def close_on_worker(client: Client, address: str, settings: ProcessorSettings) -> None:
    """Have a worker end the processors of a step at once; nobody waits for it."""
    from daskpar.engine.plugins.node import close_step

    def ask() -> None:
        try:
            client.run(
                close_step, run_id=settings.run_id, step=settings.step, workers=[address], on_error="ignore"
            )
        except Exception as error:
            logger.info("node %s could not be closed: %r", address, error)

    threading.Thread(target=ask, daemon=True, name=f"daskpar-close-{address}").start()


def leave_on_workers(
    client: Client,
    addresses: Iterable[str],
    leave: Callable[..., Any],
    settings: ProcessorSettings,
    inbox: Inbox,
    *,
    seconds: float,
    talking: Iterable[str],
    hear: Callable[[tuple[Any, ...]], bool],
) -> None:
    """Have every worker end its processors; one that is lost meanwhile, or does not answer within `seconds`,
    is not waited for.

    What else comes in meanwhile goes to `hear`, which tells the last word of a node; those who were `talking`
    get a moment to say it.
    """
    waiting, deadline = set(addresses), monotonic() + seconds
    unheard = set(talking) & waiting

    def ask(address: str) -> None:
        try:
            client.run(
                leave, run_id=settings.run_id, step=settings.step, workers=[address], on_error="ignore"
            )
        except Exception as error:
            logger.info("node %s could not be left in order: %r", address, error)
        inbox.put(("left", address))

    if client.status == "running":
        for address in waiting:
            threading.Thread(
                target=ask, args=(address,), daemon=True, name=f"daskpar-leave-{address}"
            ).start()
    while waiting or unheard or not inbox.empty():
        if client.status != "running" or monotonic() > deadline:
            return
        try:
            fact = inbox.get(timeout=0.25)
        except queue.Empty:
            continue
        if fact[0] in ("left", "lost"):
            waiting.discard(fact[1])
            if fact[0] == "lost":
                unheard.discard(fact[1])
            if not waiting:
                # It was sent before the answer, but by another way.
                deadline = min(deadline, monotonic() + LAST_WORD_SECONDS)
        elif fact[0] == "stop" and fact[2]:
            deadline = monotonic()
        elif hear(fact):
            unheard.discard(fact[1])
