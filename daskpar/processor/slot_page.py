"""The shared page of a processor with many calls in flight: as `shared_page`, and a slot for each call.

Behind the fields of every page stand those of the slots:

    what    since   items
    int64   double  int64     one for each call that may be in flight; `what` is index * 8 + phase, IDLE where
                              the slot is free

The first fields tell of the processor's event loop: in phase RUN, `since` is when it came round last, and the
index is the mini-batch whose code it runs right now, -1 for none. A loop that does not come round is blocked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from daskpar.processor import linux
from daskpar.processor.shared_page import SIZE, Announcement, Phase, SharedPage

_SLOT = 24
_FIRST = SIZE // 8
_WHAT, _BEGUN = 0, 4
NO_STEP = -1 * 8 + Phase.RUN
"""`what` while the loop runs no mini-batch's code."""


class SlotPage(SharedPage):
    """One page with slots, mapped."""

    @classmethod
    def with_slots(cls, slots: int) -> SlotPage:
        """A new page."""
        fd = linux.anonymous_file("daskpar-page")
        os.ftruncate(fd, SIZE + _SLOT * slots)
        return cls(fd)

    @property
    def slots(self) -> int:
        """How many there are."""
        return (len(self._whole) - _FIRST) // 3

    def fill(self, slot: int, index: int, phase: int, since: float, items: int = 0) -> None:
        """Processor: what a slot holds from now on."""
        at = _FIRST + 3 * slot
        self._real[at + 1], self._whole[at + 2] = since, items
        self._whole[at] = index * 8 + phase

    def free(self, slot: int) -> None:
        """Processor: a slot holds nothing any more."""
        self._whole[_FIRST + 3 * slot] = -1 * 8 + Phase.IDLE

    def step(self, what: int) -> None:
        """Processor: the loop runs the code of a mini-batch (index * 8 + RUN), or `NO_STEP`."""
        self._whole[_WHAT] = what

    def begin(self) -> None:
        """Processor: one more of the mini-batches that it was given has begun."""
        self._whole[_BEGUN] += 1

    @property
    def begun(self) -> int:
        """Node: how many have begun, in the order in which they were given."""
        return self._whole[_BEGUN]

    def all_announced(self) -> list[Announcement]:
        """Node: every call in flight, or what the processor is at where there is none."""
        return [one for one, _ in self.in_flight()] or [self.announced()]

    def in_flight(self) -> Iterator[tuple[Announcement, int]]:
        """Node: what each used slot holds, and the number of items of its mini-batch."""
        for at in range(_FIRST, _FIRST + 3 * self.slots, 3):
            what = self._whole[at]
            if what > 0 and what & 7 in (Phase.LOAD, Phase.RUN):
                yield Announcement(what >> 3, what & 7, self._real[at + 1]), self._whole[at + 2]
