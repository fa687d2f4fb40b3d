"""Samples what a node uses, on a thread of its own: a slow sample must not hold up the processors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from daskpar.processor.gpus.gpu_readings import readings
from daskpar.processor.protocol import Sampled
from daskpar.processor.resource_usage import sample

logger = logging.getLogger(__name__)

Seconds = float

# A sample takes some hundredths of a second of the node's own process: start-up and short steps should not
# pay for it.
FIRST_SECONDS = 0.5
"""From the start to the first sample, unless the interval is shorter."""


class Sampler:
    """Gives `take` a sample of `node` and of the processors that `pids` returns, every `interval` seconds.

    An interval of 0: never. `look` takes one sample. `gpus`: those of the node, by their names.
    """

    def __init__(
        self,
        node: int,
        interval: Seconds,
        pids: Callable[[], Mapping[int, int]],
        take: Callable[[Sampled], None],
        look: Callable[[int, Mapping[int, int]], Sampled] = sample,
        gpus: Sequence[str] = (),
    ) -> None:
        self._node = node
        self._interval = interval
        self._pids = pids
        self._take = take
        self._look = look
        self._gpus = gpus
        self._started = False
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._interval > 0 and not self._started:
            self._started = True
            threading.Thread(target=self._main, name=f"daskpar-samples-{self._node}", daemon=True).start()

    def stop(self) -> None:
        """No further sample, at once: one that is being taken is dropped."""
        self._ended.set()

    def _main(self) -> None:
        # The first one comes soon, so that a step shorter than the interval has one.
        self._ended.wait(min(FIRST_SECONDS, self._interval))
        while not self._ended.is_set():
            try:
                taken = self._look(self._node, self._pids())
                if self._gpus:
                    taken = replace(taken, gpus=readings(self._gpus))
            except Exception:
                logger.debug("the use of node %d could not be looked at", self._node, exc_info=True)
            else:
                if not self._ended.is_set():
                    self._take(taken)
            self._ended.wait(self._interval)
