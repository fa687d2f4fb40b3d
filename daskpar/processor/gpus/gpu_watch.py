"""The node's side of GPUs: whose processor is replaced for an error of its GPU, and which GPU is left out.

Nothing here costs anything on a node without GPUs, or while no try has failed.
"""

from __future__ import annotations

from collections.abc import Iterable

from daskpar.batches.records import unpack
from daskpar.processor.gpus.gpu_errors import GpuTrouble, gpu_trouble
from daskpar.processor.gpus.gpu_health import GpuHealth
from daskpar.processor.protocol import BlockOrder, Flushed, ProcessorSettings
from daskpar.results import Failure, TryStatus

MOST_KEPT = 1000
"""Mini-batches that are remembered for a fresh process."""


class GpuWatch:
    """The GPUs of one step on one node."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        self._node = settings.node
        self.health = GpuHealth(tuple(dict.fromkeys(gpu for gpu in settings.gpus if gpu)))
        self._want_fresh: dict[int, None] = {}
        """Mini-batches for which a GPU had no memory left."""
        self._failed_on: dict[int, set[str]] = {}
        """Mini-batches that met a GPU's error -> the GPUs where they did."""

    def device(self, number: int) -> str:
        """What a processor got; empty: nothing."""
        gpus = self._settings.gpus
        return gpus[number] if number < len(gpus) else ""

    def may_start(self, number: int) -> bool:
        """Whether the GPU of a processor is not left out."""
        left_out = self.health.left_out
        return not left_out or self.device(number) not in left_out

    @property
    def slots(self) -> int:
        """How many processors there may be."""
        return sum(map(self.may_start, range(self._settings.processors)))

    def replaces(self, flushed: Flushed, number: int) -> str:
        """Why a fresh process takes the place of the one that has reported failures; empty: for no GPU."""
        if not (device := self.device(number)):
            return ""
        why = ""
        for failure in flushed.failures:
            trouble = gpu_trouble(_text(failure))
            if trouble == GpuTrouble.MEMORY and len(self._want_fresh) < MOST_KEPT:
                self._want_fresh[failure.index] = None
            if trouble is not None:
                why = f"its GPU ({device}) {'was ' if trouble == GpuTrouble.MEMORY else ''}{trouble}"
        return why

    def fits(self, number: int, order: BlockOrder, *, fresh: bool) -> bool:
        """Whether a processor may be given a block, as far as GPUs go; `fresh`: nothing has run in it yet.

        What met no memory wants a fresh process; what met another error of a GPU wants another GPU, while
        there is one that it has not met.
        """
        if order.start in self._want_fresh and not fresh:
            return False
        if (met := self._failed_on.get(order.start)) is None or self.device(number) not in met:
            return True
        return not set(self.health.devices) - self.health.left_out - met

    def take_in(self, flushed: Flushed) -> None:
        """Tries have ended: count which GPUs they speak for, and against."""
        open_questions = self.health.in_doubt or self._want_fresh or self._failed_on
        if not self.health.devices or not (flushed.failures or open_questions):
            return
        records = unpack(flushed.records)
        if not len(records) or not (device := self.device(int(records["processor"][0]))):
            return
        done = records["index"][records["status"] == TryStatus.SUCCEEDED].tolist()
        for index in done:
            self._want_fresh.pop(index, None)
            self._failed_on.pop(index, None)
        if done:
            self.health.succeeded(device, done)
        troubles = {one.index: gpu_trouble(_text(one)) for one in flushed.failures}
        against = [index for index, trouble in troubles.items() if trouble is not None]
        if against:
            for index in against:
                if troubles[index] == GpuTrouble.FAILED and len(self._failed_on) < MOST_KEPT:
                    self._failed_on.setdefault(index, set()).add(device)
            self.health.failed(device, against)

    def start_failed(self, number: int, text: str) -> None:
        """`init()` or the import of the script has failed."""
        if (device := self.device(number)) and gpu_trouble(text) is not None:
            self.health.not_started(device)

    def started(self, number: int) -> None:
        """`init()` has returned."""
        if device := self.device(number):
            self.health.started(device)

    def left_out_now(self) -> Iterable[tuple[str, str]]:
        """GPUs that are left out from now on: device, and a sentence for the user."""
        if not self.health.in_doubt:
            return
        for device, why in self.health.found_broken():
            text = (
                f"GPU {device} of node {self._node} is left out for the rest of the step: {why}. Look at it "
                "with nvidia-smi, and for Xid in dmesg"
            )
            yield device, text


def _text(failure: Failure) -> str:
    return "\n".join((failure.message, failure.trace, failure.printed))
