"""Which workers of a cluster take part in a step, with what: pure bookkeeping, and asking them to begin and to end."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from daskpar.engine.dealing import gpus_per_node, processors_per_node, threads_per_processor
from daskpar.processor import last_words
from daskpar.processor.protocol import ProcessorSettings

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.engine.node import NodeFacts

logger = logging.getLogger(__name__)

TASK_ERRORS = 3
"""Block tasks of one node that may fail in a row, without a word from its processors between."""

WORDS_SECONDS = 5.0
"""How long the last words of a lost node are waited for; one that has gone with its whole machine leaves none."""
WORDS_TICK_SECONDS = 0.05
LAST_WORD_SECONDS = 2.0
"""What the last word of a node gets to arrive, once it has answered that it has left."""

Inbox = queue.SimpleQueue[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A worker that takes part."""

    address: str
    host: str
    number: int
    """Its number within the step, never given twice."""
    python: str
    processors: int
    gpus: tuple[str, ...]
    threads: int

    def settings(self, shared: ProcessorSettings) -> ProcessorSettings:
        """What its processors are told, beside what all nodes share."""
        return replace(shared, node=self.number, python=self.python, processors=self.processors, gpus=self.gpus, threads=self.threads)


@dataclass(kw_only=True)
class Members:
    """The workers of one step: up to `instance_count` at a time (-1: all there are), each with `processors_wanted` processors."""

    instance_count: int
    processors_wanted: int | None
    open: dict[str, Member] = field(default_factory=dict)
    """Those whose processors have been started."""
    opening: dict[str, Member] = field(default_factory=dict)
    """Those that have been asked to start them."""
    left_out: set[str] = field(default_factory=set)
    """Workers that can't take part, until the cluster loses them: who comes under that address then is another one."""
    _numbers: int = 0
    _errors: dict[str, int] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether at least one takes part, or is about to."""
        return bool(self.open or self.opening)

    def fill_up(self, there: Mapping[str, NodeFacts]) -> list[Member]:
        """Take in as many workers of those that are `there` as are still wanted; those, which count as opening from here on."""
        free = [a for a in there if a not in self.open and a not in self.opening and a not in self.left_out]
        if self.instance_count != -1:
            free = free[: max(0, self.instance_count - len(self.open) - len(self.opening))]
        if not free:
            return []
        known = {m.address: m for m in [*self.open.values(), *self.opening.values()]}
        facts = [there[address] for address in [*known, *free] if address in there]
        processors = processors_per_node(facts, self.processors_wanted)
        processors.update({address: member.processors for address, member in known.items()})
        held = {(member.host, device) for member in known.values() for device in member.gpus if device}
        gpus = gpus_per_node([there[address] for address in free], processors, held)
        chosen = []
        for address in free:
            mine = there[address]
            member = Member(
                address=address,
                host=mine.host,
                number=self._numbers,
                python=mine.python,
                processors=processors[address],
                gpus=gpus[address],
                threads=threads_per_processor(mine, facts, processors),
            )
            self._numbers += 1
            self.opening[address] = member
            chosen.append(member)
        return chosen

    def opened(self, address: str, number: int) -> Member | None:
        """The worker has answered the request to open as member `number`; None when that one is no member any more."""
        member = self.opening.get(address)
        if member is None or member.number != number:
            return None
        del self.opening[address]
        self.open[address] = member
        return member

    def number(self, address: str) -> int | None:
        """Number of an open member."""
        member = self.open.get(address)
        return None if member is None else member.number

    def lose(self, address: str) -> Member | None:
        """The cluster has lost the worker; it as it was where it was open."""
        self.left_out.discard(address)
        return self._remove(address)

    def leave_out(self, address: str) -> Member | None:
        """The worker is to take no more part, though it is there; it as it was where it was open."""
        self.left_out.add(address)
        return self._remove(address)

    def _remove(self, address: str) -> Member | None:
        self.opening.pop(address, None)
        self._errors.pop(address, None)
        return self.open.pop(address, None)

    def task_failed(self, address: str) -> bool:
        """A block's task has failed on a member's worker; whether that has happened too often in a row."""
        self._errors[address] = self._errors.get(address, 0) + 1
        return self._errors[address] >= TASK_ERRORS

    def task_ended_well(self, address: str) -> None:
        """A member has run a block to its end."""
        self._errors.pop(address, None)


# -- asking workers, each on a thread of its own: one that does not answer holds up no other -----------------------------------


def open_on_worker(client: Client, member: Member, settings: ProcessorSettings, inbox: Inbox) -> None:
    """Have a worker start the processors of a step; ("opened", address, number, trouble) follows in `inbox`."""
    from daskpar.engine.node import open_step

    def ask() -> None:
        trouble = ""
        try:
            client.run(open_step, run_id=settings.run_id, settings=settings, workers=[member.address])
        except Exception as error:  # whatever it is, it is this node's trouble alone
            trouble = f"{type(error).__name__}: {error}"
        inbox.put(("opened", member.address, member.number, trouble))

    threading.Thread(target=ask, daemon=True, name=f"daskpar-open-{member.address}").start()


def await_last_words(settings: ProcessorSettings, address: str, inbox: Inbox) -> None:
    """Look for what a lost node was at when it died; ("words", address, number, LastWords or None) follows in `inbox` within seconds."""

    def look() -> None:
        words = None
        try:
            deadline = monotonic() + WORDS_SECONDS
            while (words := last_words.read(settings)) is None and monotonic() < deadline:
                sleep(WORDS_TICK_SECONDS)
        finally:
            inbox.put(("words", address, settings.node, words))

    threading.Thread(target=look, daemon=True, name=f"daskpar-words-{address}").start()


def close_on_worker(client: Client, address: str, settings: ProcessorSettings) -> None:
    """Have a worker end the processors of a step at once; nobody waits for it."""
    from daskpar.engine.node import close_step

    def ask() -> None:
        try:
            client.run(close_step, run_id=settings.run_id, step=settings.step, workers=[address], on_error="ignore")
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
    """Have every worker end its processors; one that is lost meanwhile, or does not answer within `seconds`, is not waited for.

    What else comes in meanwhile goes to `hear`, which tells the last word of a node; those who were `talking` get a moment to say it.
    """
    waiting, deadline = set(addresses), monotonic() + seconds
    unheard = set(talking) & waiting

    def ask(address: str) -> None:
        try:
            client.run(leave, run_id=settings.run_id, step=settings.step, workers=[address], on_error="ignore")
        except Exception as error:
            logger.info("node %s could not be left in order: %r", address, error)
        inbox.put(("left", address))

    if client.status == "running":
        for address in waiting:
            threading.Thread(target=ask, args=(address,), daemon=True, name=f"daskpar-leave-{address}").start()
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
