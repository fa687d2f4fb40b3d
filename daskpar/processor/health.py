"""Tells a broken processor from bad mini-batches, by how the calls in each of a node's processes end: pure.

A bad mini-batch fails wherever it is tried. A broken process (a lost GPU, a dead connection, too many open
files) fails at whatever it is given from some moment on. Which of both it is, the next calls show:

* A mini-batch that has failed is tried again only in a process that is fresh or has succeeded since it failed
  last, so that no retry is spent on a process that fails at everything.
* A mini-batch that fails where the one before it has failed too may be a victim: that try is not charged.
  This happens once for each mini-batch, so a script that fails at each bad file comes to its end.
* One item of a divided mini-batch is run only in such a process too. A larger piece, which is divided when
  it fails, is not given to one in which the last few calls have failed.
* Calls that were in flight together and fail are one sign, not several: a short outage of the service that
  they ask ends all of them at once. The next sign is a call that began after the one before had failed.
* A process that breaks after a while fails first at a mini-batch that nothing speaks for, and that one
  may meet several such processes. So where fresh processes have helped before, the last try of what failed
  in one that broke, or may be breaking, is for a fresh process.
* A process that fails at several mini-batches in a row is replaced. How many these are grows with the share
  of failures that is usual here, and doubles each time until replacing has helped: bad files that lie side
  by side cost a few calls of `init()`, however many they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import field
from itertools import repeat

from daskpar.processor.protocol import BlockOrder
from daskpar.results import TryStatus
from daskpar.value_classes import mutable

ROW = 3
"""Different mini-batches that fail in a row, with no success between, by which a process looks broken."""
MOST_KEPT = 1000
"""Mini-batches of a row, or of those on trial, that are remembered: more show nothing more."""
CHANCE = 0.001
"""A row that the usual share of failures gives more often than this shows nothing."""
LONGEST_ROW = 100
FRUITLESS = 8
"""Fresh processes in a row, none of which succeeded at anything, after which the mini-batches or the script
are taken to be at fault.
"""


def row_by_chance(failed: int, tries: int) -> int:
    """How long a row of failures has to be where `failed` of `tries` fail anyway."""
    share = failed / (tries + 2)  # two that succeed are taken for granted, for the first few tell little
    length, chance = ROW, share**ROW
    while chance > CHANCE and length < LONGEST_ROW:
        length, chance = length + 1, chance * share
    return length


@mutable
class ProcessRecord:
    """How the calls in one process have ended."""

    worked: bool = False
    """Whether any has succeeded."""
    row: dict[int, None] = field(default_factory=dict)
    """Mini-batches that have failed since the last success, in order."""
    signs: int = 0
    """The same mini-batches, but those that were in flight together counted once."""
    sign_at: float = -math.inf
    """When the last one counted ended."""
    failures: int = 0
    """Failed tries since then."""
    successes_before: int = 0
    """Of the whole node, when the row began."""
    replaced: bool = False
    """Whether a fresh process is to take its place."""

    def others_failed(self, index: int) -> bool:
        """Whether any other mini-batch than this one is in the row."""
        return len(self.row) > (index in self.row)


@mutable
class Health:
    """The processes of one step on one node, each by a key."""

    _processes: dict[int, ProcessRecord] = field(default_factory=dict)
    _successes: int = 0
    _tries: int = 0
    _failures: int = 0
    """Of `_tries`; those in the rows of replaced processes are left out."""
    _doublings: int = 0
    """How often a process was replaced in vain since replacing has helped last."""
    _fruitless: int = 0
    """Processes replaced since the last success."""
    _on_trial: dict[int, int] = field(default_factory=dict)
    """Mini-batches that failed in processes that were replaced, in order -> in how many."""
    _has_helped: bool = False
    """Whether any of those has succeeded in a fresh process."""

    def succeeded(self, key: int, number: int) -> bool:
        """Count `number` successes of a process that is in no row of failures; False where it is in one.

        It is then to be told which these were, by `ended`.
        """
        process = self._processes.setdefault(key, ProcessRecord())
        if process.row or self._on_trial:
            return False
        process.worked = True
        self._successes += number
        self._tries += number
        self._fruitless = 0
        return True

    def ended(
        self,
        key: int,
        tries: Iterable[tuple[int, int]],
        clocks: Iterable[tuple[float, float]] | None = None,
    ) -> set[int]:
        """Count tries of a process, in order: (mini-batch, `TryStatus`).

        `clocks`: when each began and ended, where several are in flight at a time.
        Returns the mini-batches that may have failed only because the process is broken.
        """
        process = self._processes.setdefault(key, ProcessRecord())
        in_doubt = set()
        one_by_one = repeat((math.inf, math.inf))
        for (index, status), (began, at) in zip(tries, clocks or one_by_one, strict=False):
            if status == TryStatus.SUCCEEDED:
                self._one_succeeded(process, index)
            elif status == TryStatus.FAILED:
                if not process.row:
                    process.successes_before = self._successes
                if process.others_failed(index) and self._plausible(process):
                    in_doubt.add(index)
                elif process.worked and not process.row:
                    self._on_trial.pop(index, None)  # it fails in a sound process too
                if index not in process.row and began >= process.sign_at:
                    process.signs, process.sign_at = process.signs + 1, at
                if len(process.row) < MOST_KEPT:
                    process.row[index] = None
                process.failures += 1
                if process.replaced:  # it was in the middle of its block
                    self._on_trial[index] = self._on_trial.get(index, 0) + 1
        return in_doubt

    def _one_succeeded(self, process: ProcessRecord, index: int) -> None:
        if index in self._on_trial:
            # What failed in the process that was replaced succeeds: that process was broken.
            del self._on_trial[index]
            self._doublings, self._has_helped = 0, True
        self._tries += 1 + process.failures
        self._failures += process.failures
        process.worked, process.failures = True, 0
        process.row.clear()
        process.signs, process.sign_at = 0, -math.inf
        self._successes += 1
        self._fruitless = 0

    def _plausible(self, process: ProcessRecord) -> bool:
        """Whether a process may be broken: it has worked, others do, or few fresh ones were tried."""
        others_succeed = self._successes > process.successes_before
        return process.worked or others_succeed or self._has_helped or self._fruitless < FRUITLESS

    def looks_broken(self, key: int) -> bool:
        """Whether a fresh process is to take the place of this one."""
        process = self._processes.get(key)
        if process is None or process.signs < ROW:
            return False
        return process.signs >= row_by_chance(self._failures, self._tries) << self._doublings

    def fits(self, key: int, order: BlockOrder, *, last: bool = False) -> bool:
        """Whether a process may be given a block: a retry not where the last call has failed.

        A piece of several items, which is divided when it fails, not where the last few calls have.
        `last`: no try is left after this one.
        """
        if order.piece is not None and not order.is_one_item:
            process = self._processes.get(key)
            return process is None or process.failures < ROW
        if not order.is_retry:
            return True
        return self.is_fresh(key) if last and self._may_be_innocent(order.start) else not self.row(key)

    def is_fresh(self, key: int) -> bool:
        """Whether no call in a process has succeeded or failed yet."""
        process = self._processes.get(key)
        return process is None or not (process.worked or process.row)

    def _may_be_innocent(self, index: int) -> bool:
        """Whether processes break here, and a mini-batch failed in one that did or that may be about to."""
        return self._has_helped and (
            index in self._on_trial or any(index in process.row for process in self._processes.values())
        )

    def on_trial(self, key: int) -> list[int]:
        """Mini-batches that a fresh process had best be given first, the best ones first: they say most.

        They failed in processes that were replaced: those that failed in few of them are least likely to be
        at fault, and of these the later ones. None for a process that has run anything.
        """
        if not self.is_fresh(key):
            return []
        return sorted(reversed(self._on_trial), key=lambda index: self._on_trial[index])

    def is_worth_a_fresh_process(self, key: int, retry: BlockOrder, *, last: bool, alone: bool) -> bool:
        """Whether a process that has nothing to do but a retry, which does not fit, is replaced for it.

        `last`: no try is left after this one. `alone`: it is the only processor of its node.
        """
        process = self._processes.setdefault(key, ProcessRecord())
        if not self._plausible(process):
            return False
        # What fails of a divided mini-batch is lost, or costs more calls: its process must be sound.
        if process.others_failed(retry.start) or retry.piece is not None:
            return True
        # All that has failed here is this mini-batch. The only processor is replaced where it worked before,
        # and after the last try nobody could tell any more that it does not now.
        return not alone or (last and process.worked)

    def row(self, key: int) -> int:
        """How many different mini-batches have failed in a row in a process."""
        process = self._processes.get(key)
        return 0 if process is None else len(process.row)

    def replaced(self, key: int) -> None:
        """A process is replaced because its calls fail."""
        process = self._processes.setdefault(key, ProcessRecord())
        process.replaced = True
        if len(process.row) >= ROW:
            self._doublings += 1
        if len(self._on_trial) > MOST_KEPT:
            self._on_trial.clear()  # others than this node may have run them
        for index in process.row:
            self._on_trial[index] = self._on_trial.get(index, 0) + 1
        self._fruitless += 1

    def forget(self, key: int) -> None:
        """A process has ended."""
        self._processes.pop(key, None)
