"""Keeps which workers of a cluster take part in a step, with how many processors: pure bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from daskpar.engine.rules.allocation import (
    NodeFacts,
    gpus_per_node,
    processors_per_node,
    threads_per_processor,
)
from daskpar.engine.rules.gpu_shares import ONE_EACH, GpuShares
from daskpar.processor.gpus.gpu_devices import one_by_one
from daskpar.processor.protocol import ProcessorSettings
from daskpar.value_classes import frozen, mutable

TASK_ERRORS = 3
"""Block tasks of one node that may fail in a row, without any report from its processors between."""


@frozen(kw_only=True)
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
    memory: int | None = None
    """What all of its processes may take together, in bytes; None: what its machine has."""

    def settings(self, shared: ProcessorSettings) -> ProcessorSettings:
        """Settings of its processors: what all nodes share, and its own number, threads and devices."""
        return replace(
            shared,
            node=self.number,
            python=self.python,
            processors=self.processors,
            gpus=self.gpus,
            threads=self.threads,
            node_memory=self.memory,
        )


@mutable(kw_only=True)
class Members:
    """The workers of one step, each with `processors_wanted` processors.

    Up to `instance_count` at a time (-1: all there are).
    """

    instance_count: int
    processors_wanted: int | None
    shares: GpuShares = ONE_EACH
    """Of GPUs."""
    open: dict[str, Member] = field(default_factory=dict)
    """Those whose processors have been started."""
    opening: dict[str, Member] = field(default_factory=dict)
    """Those that have been asked to start them."""
    unheard: set[str] = field(default_factory=set)
    """Those of them of which nothing is heard: others are taken in their place."""
    left_out: set[str] = field(default_factory=set)
    """Workers that can't take part, until the cluster loses them: who comes under that address then is
    another one.
    """
    asked: set[str] = field(default_factory=set)
    """Workers that were ever asked to start processors, but for those that the cluster has lost."""
    _numbers: int = 0
    _errors: dict[str, int] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether at least one takes part, or is about to."""
        return bool(self.open or self.coming)

    @property
    def coming(self) -> set[str]:
        """Those that are about to take part."""
        return self.opening.keys() - self.unheard

    def fill_up(self, there: Mapping[str, NodeFacts]) -> list[Member]:
        """Take in workers of those that are `there`, as many as are still wanted.

        Returns the new members; they count as opening from here on.
        """
        free = [a for a in there if a not in self.open and a not in self.opening and a not in self.left_out]
        if self.instance_count != -1:
            free = free[: max(0, self.instance_count - len(self.open) - len(self.coming))]
        if not free:
            return []
        # Members keep what they were given: their processors run already.
        known = {m.address: m for m in [*self.open.values(), *self.opening.values()]}
        facts = [there[address] for address in [*known, *free] if address in there]
        processors = processors_per_node(facts, self.processors_wanted, self.shares)
        processors.update({address: member.processors for address, member in known.items()})
        held = {(member.host, device) for member in known.values() for device in one_by_one(member.gpus)}
        gpus = gpus_per_node([there[address] for address in free], processors, held, self.shares)
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
                memory=mine.memory,
            )
            self._numbers += 1
            self.opening[address] = member
            self.asked.add(address)
            chosen.append(member)
        return chosen

    def opened(self, address: str, number: int) -> Member | None:
        """The worker has started its processors as member `number`; None when that is no member any more."""
        member = self.opening.get(address)
        if member is None or member.number != number:
            return None
        del self.opening[address]
        self.unheard.discard(address)
        self.open[address] = member
        return member

    def not_heard(self, address: str, number: int) -> bool:
        """Nothing is heard of the worker that is about to be member `number`; whether it was."""
        member = self.opening.get(address)
        if member is None or member.number != number:
            return False
        self.unheard.add(address)
        return True

    def is_one_too_many(self, address: str) -> bool:
        """Whether the place of an opening member was given to another one, since nothing was heard of it."""
        others = len(self.open) + len(self.coming)
        return address in self.unheard and self.instance_count != -1 and others >= self.instance_count

    def number(self, address: str) -> int | None:
        """Number of an open member."""
        member = self.open.get(address)
        return None if member is None else member.number

    def lose(self, address: str) -> Member | None:
        """The cluster has lost the worker; it as it was where it was open."""
        self.left_out.discard(address)
        self.asked.discard(address)
        return self._remove(address)

    def leave_out(self, address: str) -> Member | None:
        """The worker is to take no more part, though it is there; it as it was where it was open."""
        self.left_out.add(address)
        return self._remove(address)

    def _remove(self, address: str) -> Member | None:
        self.opening.pop(address, None)
        self.unheard.discard(address)
        self._errors.pop(address, None)
        return self.open.pop(address, None)

    def task_failed(self, address: str) -> bool:
        """A block's task has failed on a member's worker; whether that has happened too often in a row."""
        self._errors[address] = self._errors.get(address, 0) + 1
        return self._errors[address] >= TASK_ERRORS

    def task_ended_well(self, address: str) -> None:
        """A member has run a block to its end."""
        self._errors.pop(address, None)
