"""The node's decisions about its processors: pure, fed with plain values, the time included."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass

from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Phase
from daskpar.results import Reason

Seconds = float

SLOW_SECONDS = 0.2
"""A mini-batch that runs this much longer than expected is slow: its block gives the rest of its range back.
"""
INIT_FAILURES = 3
"""Times processors: failures of `init()` in a row, with none that succeeded, that end the step."""
MEMORY_FLOOR = 0.05
"""Share of the memory below which the largest processor is killed."""


def limit_of(phase: int, settings: ProcessorSettings) -> Seconds | None:
    """How long a processor may be at `phase`; None: as long as it likes."""
    return {
        Phase.INIT: settings.init_timeout,
        Phase.LOAD: settings.overhead_timeout,
        Phase.RUN: settings.run_timeout,
        Phase.SHUTDOWN: settings.run_timeout,
    }.get(Phase(phase))


def overdue(phase: int, since: Seconds, now: Seconds, settings: ProcessorSettings) -> bool:
    """Whether what was announced has taken longer than it may."""
    limit = limit_of(phase, settings)
    return limit is not None and now - since > limit


def is_slow(phase: int, since: Seconds, now: Seconds, expected: Seconds) -> bool:
    """Whether the current mini-batch takes so long that others had better take what comes after it.

    `expected`: what a mini-batch takes on average. One that merely takes as long as all others is not slow.
    """
    return phase in (Phase.LOAD, Phase.RUN) and now - since > SLOW_SECONDS + 2 * expected


def too_many_init_failures(in_a_row: int, processors: int) -> bool:
    """Whether to stop starting processors on this node."""
    return in_a_row >= INIT_FAILURES * processors


def memory_victim(available: int, total: int, sizes: Mapping[int, int]) -> int | None:
    """Which processor (key of `sizes`, resident bytes) is to be killed when `available` of `total` bytes are
    left; None: none.
    """
    if total <= 0 or available >= MEMORY_FLOOR * total or not sizes:
        return None
    return max(sizes, key=lambda key: sizes[key])


@dataclass(frozen=True)
class Ending:
    """Why a processor ended, in words."""

    reason: int
    text: str


def ending(
    status: int,
    *,
    killed_for: str,
    run_timeout: Seconds,
    overhead_timeout: Seconds,
    phase: int,
    out_of_memory: bool = False,
) -> Ending:
    """What the exit `status` (of os.waitpid) means. `killed_for`: `timeout`, `memory`, `stopped` where the
    node killed it, else empty.

    `out_of_memory`: the kernel has killed some process for want of memory in the meantime.
    """
    if killed_for == "timeout":
        if phase == Phase.LOAD:
            return Ending(
                Reason.LOAD_TIMEOUT,
                f"loading took longer than {overhead_timeout:g} s (task_overhead_timeout); the processor was killed",
            )
        return Ending(
            Reason.TIMEOUT,
            f"run() took longer than {run_timeout:g} s (retry_settings.timeout); the processor was killed",
        )
    if killed_for == "memory":
        return Ending(
            Reason.MEMORY,
            "the processor was killed because the node was running out of memory, and it was the largest one",
        )
    if status & 0x7F:
        number = status & 0x7F
        name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
        if number == signal.SIGKILL and out_of_memory:
            return Ending(
                Reason.MEMORY, f"the processor died by {name}: killed by the kernel for want of memory"
            )
        if number == signal.SIGKILL:
            return Ending(
                Reason.DIED,
                f"the processor died by {name}: killed from outside, or by a limit on its memory that is not daskpar's",
            )
        return Ending(Reason.DIED, f"the processor died by {name}")
    return Ending(
        Reason.DIED,
        f"the processor ended with exit code {status >> 8} in the middle of {'loading' if phase == Phase.LOAD else 'run()'}",
    )


def ending_in_init(status: int, *, killed_for: str, init_timeout: Seconds) -> str:
    """The same, in words, of a processor that ended before `init()` had returned."""
    if killed_for == "timeout":
        return (
            f"import or init() took longer than {init_timeout:g} s (--init_timeout); the processor was killed"
        )
    end = ending(status, killed_for=killed_for, run_timeout=0, overhead_timeout=0, phase=Phase.INIT)
    return end.text.replace("in the middle of run()", "in import or init()")
