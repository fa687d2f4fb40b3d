"""How large a run's cluster is to be: what its steps can use, told to whoever sizes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskpar.engine.computes import StartedCompute

logger = logging.getLogger(__name__)


class Sizing:
    """The nodes that the steps of a run can use.

    `tell` is given the number, for clusters that adapt. One that was `started` for the run, and that nothing
    else sizes, is made that large; it shrinks only when a step begins that needs less, for a cluster manager
    may take long to bring back what was given up. `there`: addresses of its nodes, in the order in which
    steps take them.
    """

    def __init__(
        self,
        tell: Callable[[int], None],
        *,
        there: Callable[[], Sequence[str]] = tuple,
        started: StartedCompute | None = None,
    ) -> None:
        self._tell = tell
        self._there = there
        self._started = started
        self._needs: dict[str, int] = {}
        self._peaks: dict[str, int] = {}
        """The most that each step could use since it began."""
        self._told = -1
        self._size = started.asked if started is not None else 0
        self._lock = threading.Lock()
        self._working = threading.Lock()

    @property
    def asked(self) -> int:
        """How many nodes were asked for last; 0 where others say how large the cluster is."""
        if self._started is None:
            return 0
        if self._started.bounds is None:
            return self._size
        least, most = self._started.bounds
        return max(least, min(most, self._told))

    @property
    def trouble(self) -> str:
        """Why no further node can be started; empty while nothing is known."""
        return self._started.trouble.text if self._started is not None else ""

    def want(self, step: str, nodes: int) -> None:
        """A step can use so many nodes now. Returns at once."""
        with self._lock:
            if self._needs.get(step) == nodes:
                return
            self._needs[step] = nodes
            self._peaks[step] = max(nodes, self._peaks.get(step, 0))
        self._act()

    def release(self, step: str) -> None:
        """A step has ended."""
        with self._lock:
            self._needs.pop(step, None)
            self._peaks.pop(step, None)
        self._act()

    def _act(self) -> None:
        threading.Thread(target=self._tell_and_resize, name="daskpar-sizing", daemon=True).start()

    def _tell_and_resize(self) -> None:
        # One at a time, and each with what holds by then: no late call undoes a newer one.
        with self._working:
            with self._lock:
                wanted = max(self._needs.values(), default=0)
                size = max(self._peaks.values(), default=0)
            try:
                if wanted != self._told:
                    self._told = wanted
                    self._tell(wanted)
                if self._started is not None and self._started.resizable and 0 < size != self._size:
                    self._size = size
                    self._started.resize(size, self._there())
            except Exception:
                logger.info("the cluster could not be resized to %d nodes", size, exc_info=True)
