"""What each processor of a step is doing and has done, as its node saw it just now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from daskpar.paths import process_name
from daskpar.processor.protocol import LookRow
from daskpar.processor.shared_page import Phase
from daskpar.reports.step_facts import StepFacts
from daskpar.value_classes import frozen

PROCESSORS_SHOWN = 200
ALMOST = 0.5
"""Part of its time limit after which a call that still runs is shown as slow."""
BUSY = (Phase.INIT, Phase.LOAD, Phase.RUN, Phase.FLUSH, Phase.SHUTDOWN)


@frozen(kw_only=True)
class Look:
    """What a processor is doing, as its node saw it just now."""

    step: str
    node: int
    processor: int
    pid: int
    phase: int
    """A `processor.shared_page.Phase`."""
    index: int
    """Mini-batch; -1: none."""
    age: float
    """Seconds since that began."""
    memory: int
    """Resident bytes."""
    cpu: float
    """Cores that it has used since the look before; -1: this is the first one."""
    calls: int = 0
    """Calls in flight, where there may be several; `index` and `age` are then those of the oldest one."""


def looks_from(rows: Iterable[LookRow], step: str) -> list[Look]:
    """The looks of plain rows, as nodes send them, at the processors of one step: a node may run several."""
    names = ("step", "node", "processor", "pid", "phase", "index", "age", "memory", "cpu", "calls")
    return [Look(**dict(zip(names, row, strict=False))) for row in rows if row[0] == step]


def phase_word(look: Look, step: StepFacts) -> str:
    """What a processor is doing, `slow` for a call that has used most of its time."""
    limit = number(step.settings.get("timeout"), 0.0)
    if look.phase == Phase.RUN and limit and look.age > ALMOST * limit:
        return "slow"
    words = {Phase.IDLE: "idle", Phase.INIT: "init", Phase.LOAD: "loading", Phase.RUN: "running"}
    return words.get(Phase(look.phase), Phase(look.phase).name.lower())


def label(node: int, processor: int) -> str:
    return f"{node}/{process_name(processor)}"


def processors(step: StepFacts, looks: Sequence[Look] = ()) -> list[dict[str, Any]]:
    """Each processor: where it is, what it does and has done."""
    totals = step.tally.totals.known()
    seen = {(look.node, look.processor): look for look in looks}
    places = sorted({*step.processors_now, *totals, *seen})[:PROCESSORS_SHOWN]
    indices = sorted({look.index for look in looks if look.index >= 0})
    names = dict(zip(indices, step.names(indices), strict=True))
    rows = []
    for place in places:
        known, total, look = step.processors_now.get(place), totals.get(place), seen.get(place)
        row: dict[str, Any] = {
            "name": label(*place),
            "node": place[0],
            "processor": place[1],
            "address": known.address if known else "",
            "pid": known.pid if known else 0,
            "state": str(known.state) if known else "",
            "detail": known.detail if known else "",
            "tries": total.succeeded + total.empty + total.tries_failed if total else 0,
            "failed": total.tries_failed if total else 0,
            "busy": total.elapsed if total else 0.0,
        }
        if look is not None:
            row |= {"pid": look.pid, "state": phase_word(look, step), "memory": look.memory, "cpu": look.cpu}
            row |= {"calls": look.calls} if look.calls else {}
            if look.phase in BUSY:
                row |= {"age": look.age}
            if look.index >= 0 and look.phase in (Phase.LOAD, Phase.RUN, Phase.FLUSH):
                row |= {"index": look.index, "mini_batch": names.get(look.index, "")}
        rows.append(row)
    return rows


def number(value: object, default: float) -> float:
    try:
        return float(str(value))
    except ValueError:
        return default
