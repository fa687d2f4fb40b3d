"""Estimates how fast a step is and when it will be done, from samples of its progress; it has no clock."""

from __future__ import annotations

from collections import deque

from daskpar.value_classes import frozen


@frozen
class Pace:
    """What the samples say."""

    per_second: float
    """Mini-batches per second of the recent past, 0 before the first two samples differ."""
    seconds_left: float | None
    """None while nothing can be said: no pace yet, or no plan yet."""


@frozen
class Sample:
    """How far a step was at a time."""

    time: float
    """Seconds on any clock that only goes forward."""
    done: int
    """Mini-batches with a final outcome."""


ENOUGH_MINI_BATCHES = 5
"""A pace is taken from this many finished mini-batches, where there are as many."""


class Samples:
    """A bounded memory of progress: samples of the last `window` seconds (a minute), thinned to about 60.

    The window reaches back until a few mini-batches were finished in it, so that slow steps have a steady
    pace too.
    """

    def __init__(self, window: float = 60.0) -> None:
        self._window = window
        self._kept: deque[Sample] = deque()
        self._last: Sample | None = None
        self._ready = False

    def processor_ready(self, time: float) -> None:
        """A processor is ready: the time before the first one was, of imports and `init()`, says nothing
        about the pace.
        """
        if not self._ready and self._last is not None and self._last.done == self._kept[0].done:
            self._last = Sample(max(time, self._last.time), self._last.done)
            self._kept = deque([self._last])
        self._ready = True

    def add(self, time: float, done: int) -> None:
        """Take a sample; times that go back and counts that shrink start the memory afresh."""
        if self._last is not None and (time < self._last.time or done < self._last.done):
            self._kept.clear()
        self._last = Sample(time, done)
        # A sample at which nothing more was finished is not kept: `_last` has its time.
        newest = self._kept[-1] if self._kept else None
        if newest is None or (done > newest.done and time - newest.time >= self._window / 60):
            self._kept.append(self._last)
        while (
            len(self._kept) > 2
            and self._kept[1].time <= time - self._window
            and done - self._kept[1].done >= ENOUGH_MINI_BATCHES
        ):
            self._kept.popleft()

    def pace(self, now: float, planned: int) -> Pace:
        """The pace at the time `now` towards `planned` mini-batches.

        A step that stands still slows down in what is shown: the time since the last sample counts.
        """
        if self._last is None or not self._kept:
            return Pace(0.0, None)
        return pace(self._kept[0], self._last, now, planned)

    def pace_until(self, time: float) -> Pace:
        """The pace until `time`, when something was finished last, whatever has not happened since."""
        if self._last is None or not self._kept:
            return Pace(0.0, None)
        return pace(self._kept[0], Sample(time, self._last.done), time, 0)


def pace(first: Sample, last: Sample, now: float, planned: int) -> Pace:
    """The pace between two samples, and the time left for the rest at that pace."""
    finished = last.done - first.done
    span = max(now, last.time) - first.time
    if finished <= 0 or span <= 0:
        return Pace(0.0, 0.0 if planned and last.done >= planned else None)
    per_second = finished / span
    left = max(planned - last.done, 0)
    since = max(now - last.time, 0.0)
    return Pace(per_second, max(left / per_second - since, 0.0) if planned else None)
