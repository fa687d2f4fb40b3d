"""Says why a processor ended: a reason and a sentence, from its exit status and what its node did to it."""

from __future__ import annotations

import signal
from enum import StrEnum

from daskpar.processor.own_ground import LOST_DESCRIPTORS, LOST_LIMITS
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Phase
from daskpar.results import Reason
from daskpar.value_classes import frozen

GIB = 1024**3


class KillReason(StrEnum):
    """Why a node has killed a processor; `NOT_KILLED` is false."""

    NOT_KILLED = ""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    STOPPED = "stopped"
    DAMAGED = "damaged"
    """Its script has written to, or read from, what only daskpar uses."""
    OVERTAKEN = "overtaken"
    """Another copy of its mini-batch was first."""
    NOT_NEEDED = "not needed"
    """Its `init()` was under way when nothing was left to do."""


_LOST = {
    LOST_DESCRIPTORS: "the script has closed descriptors that it did not open (os.closerange, or a recipe "
    "for daemons?), daskpar's own among them: the processor was replaced",
    LOST_LIMITS: "the script has set a limit on files, or closed descriptors, so that the processor could "
    "not write or read any more (resource.setrlimit?): it was replaced",
}
"""Exit codes with which a processor ends by itself."""


@frozen
class ExitReason:
    """Why a processor ended."""

    reason: Reason
    text: str
    """One sentence for users."""


def exit_reason(
    status: int,
    *,
    killed_for: KillReason,
    phase: int,
    settings: ProcessorSettings,
    out_of_memory: bool = False,
) -> ExitReason:
    """What the exit `status` (of os.waitpid) of a processor in `phase` means.

    `out_of_memory`: the kernel has killed some process for want of memory in the meantime.
    """
    if killed_for == KillReason.TIMEOUT:
        return _timed_out(phase, settings)
    if killed_for == KillReason.MEMORY:
        limit = (
            f", which its Dask worker limits to {settings.node_memory / GIB:.3g} GiB"
            if settings.node_memory
            else ""
        )
        return ExitReason(
            Reason.MEMORY,
            f"the processor was killed because the node was running out of memory{limit}, "
            "and it was the largest one",
        )
    if killed_for == KillReason.DAMAGED:
        return ExitReason(
            Reason.DIED,
            "the script has written to or read from descriptors or memory that it did not open: "
            "they are daskpar's own, and the processor was replaced",
        )
    if text := _LOST.get(status >> 8, "") if not status & 0x7F else "":
        return ExitReason(Reason.DIED, text)
    if killed_for == KillReason.NOT_NEEDED:
        return ExitReason(
            Reason.DIED, "not needed any more: nothing was left to do before init() had returned"
        )
    if killed_for == KillReason.OVERTAKEN:
        return ExitReason(Reason.DIED, "stopped, for another copy of its mini-batch was first")
    if killed_for == KillReason.STOPPED:
        return ExitReason(Reason.DIED, "stopped with its step")
    if number := status & 0x7F:
        return _died_by_signal(number, out_of_memory)
    where = {Phase.LOAD: "loading", Phase.FLUSH: "writing its rows"}.get(Phase(phase), "run()")
    return ExitReason(
        Reason.DIED, f"the processor ended with exit code {status >> 8} in the middle of {where}"
    )


def _timed_out(phase: int, settings: ProcessorSettings) -> ExitReason:
    if phase == Phase.LOAD:
        limit = f"{settings.overhead_timeout:g} s (task_overhead_timeout)"
        return ExitReason(Reason.LOAD_TIMEOUT, f"loading took longer than {limit}; the processor was killed")
    if phase == Phase.FLUSH:
        limit = f"{settings.overhead_timeout:g} s (task_overhead_timeout)"
        return ExitReason(Reason.TIMEOUT, f"writing rows took longer than {limit}; the processor was killed")
    limit = f"{settings.run_timeout:g} s (retry_settings.timeout)"
    return ExitReason(Reason.TIMEOUT, f"run() took longer than {limit}; the processor was killed")


def _died_by_signal(number: int, out_of_memory: bool) -> ExitReason:
    name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
    died = f"the processor died by {name}"
    if number != signal.SIGKILL:
        return ExitReason(Reason.DIED, died)
    if out_of_memory:
        return ExitReason(Reason.MEMORY, f"{died}: killed by the kernel for want of memory")
    return ExitReason(
        Reason.DIED, f"{died}: killed from outside, or by a limit on its memory that is not daskpar's"
    )


def exit_text_in_init(status: int, *, killed_for: KillReason, settings: ProcessorSettings) -> str:
    """The same as a sentence, of a processor that ended before `init()` had returned."""
    if killed_for == KillReason.TIMEOUT:
        limit = f"{settings.init_timeout:g} s (--init_timeout)"
        return f"import or init() took longer than {limit}; the processor was killed"
    found = exit_reason(status, killed_for=killed_for, phase=Phase.INIT, settings=settings)
    return found.text.replace("in the middle of run()", "in import or init()")
