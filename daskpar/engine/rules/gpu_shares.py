"""How the GPUs of a node are shared out among its processors: pure.

`--gpus_per_processor`: 1 unless the user says otherwise. A fraction: several processors use one GPU; a whole
number: each has so many. Devices are named as CUDA_VISIBLE_DEVICES names them, and what the user lets a step
see of them by that variable is kept within.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from daskpar.jobspec.model import ParallelStep
from daskpar.processor.gpus.gpu_devices import devices
from daskpar.processor.protocol import ProcessorSettings
from daskpar.value_classes import frozen


@frozen
class GpuShares:
    """What each processor of a step gets."""

    each: float = 1.0
    """GPUs of a processor: a whole number, or a part of one."""
    visible: str | None = None
    """CUDA_VISIBLE_DEVICES among the step's own variables; None where it does not say."""

    def seen(self, there: Sequence[str]) -> tuple[str, ...]:
        """Those of the devices `there` that the step may use, in the order in which it names them."""
        if self.visible is None or not there:
            return tuple(there)
        named = devices(self.visible, [])
        known = tuple(device for device in named if device in there)
        # Names of another kind (a UUID where the node counts) can't be compared: CUDA knows them.
        others = tuple(device for device in named if device.isdigit() != there[0].isdigit())
        return known or others

    def processors(self, number: int) -> int:
        """How many processors `number` GPUs are for; at least 1."""
        if self.each < 1:
            return max(1, number * self.on_one)
        return max(1, number // int(self.each))

    @property
    def on_one(self) -> int:
        """How many processors may share a GPU."""
        return max(1, math.floor(1 / self.each + 1e-9)) if self.each < 1 else 1

    def needed(self, processors: int) -> int:
        """How many GPUs so many processors use."""
        return math.ceil(processors / self.on_one) if self.each < 1 else processors * int(self.each)

    def dealt(self, there: Sequence[str], processors: int) -> tuple[str, ...]:
        """CUDA_VISIBLE_DEVICES of each processor; empty texts for those that no device is left for."""
        if self.each < 1:
            # One after the other over all devices: the first processors do not crowd on the first one.
            slots = [device for _ in range(self.on_one) for device in there]
        else:
            many = int(self.each)
            slots = [",".join(there[at : at + many]) for at in range(0, len(there) - many + 1, many)]
            if not slots and there:
                slots = [",".join(there)]  # fewer than are wanted: one processor has them all
        return (*slots[:processors], *[""] * (processors - len(slots)))


ONE_EACH = GpuShares()


def shares_of(settings: ProcessorSettings) -> GpuShares:
    """Those of a step."""
    return GpuShares(settings.gpus_each, settings.environment.get("CUDA_VISIBLE_DEVICES"))


def shares_of_step(step: ParallelStep) -> GpuShares:
    """The same, of a step that has no processors yet."""
    return GpuShares(step.settings.gpus_per_processor, step.environment_variables.get("CUDA_VISIBLE_DEVICES"))
