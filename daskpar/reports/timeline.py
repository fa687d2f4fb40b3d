"""What ran when on each processor of a step, as data to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daskpar.reports.looks import BUSY, PROCESSORS_SHOWN, Look, label, phase_word
from daskpar.reports.step_facts import StepFacts
from daskpar.reports.try_tally import OUTCOMES, SPANS, outcomes_of


def timeline(step: StepFacts, now: float, looks: Sequence[Look] = ()) -> dict[str, Any]:
    """What ran when on each processor: single tries where they are few, else shares of columns of time.

    Times are seconds from `start`.
    """
    if step.tally.tries > SPANS:
        return _busy_timeline(step, now)
    records = step.tally.kept
    records = records[records["started"] > 0]
    places = {
        (int(node), int(number)) for node, number in zip(records["node"], records["processor"], strict=True)
    }
    places |= {(init.node, init.processor) for init in step.inits} | {
        (look.node, look.processor) for look in looks
    }
    rows = sorted(place for place in places if place[0] >= 0)[:PROCESSORS_SHOWN]
    number = {place: row for row, place in enumerate(rows)}
    starts = [*records["started"].tolist(), *(init.start for init in step.inits)]
    start = min(starts, default=step.started or now)
    spans: list[list[Any]] = []
    tries = zip(
        records["node"].tolist(),
        records["processor"].tolist(),
        records["started"].tolist(),
        records["elapsed"].tolist(),
        records["run"].tolist(),
        outcomes_of(records).tolist(),
        records["index"].tolist(),
        strict=True,
    )
    for node, processor, began, elapsed, run, outcome, index in tries:
        row = number.get((node, processor))
        if row is not None:
            ran = min(run, elapsed) if run else (0.0 if outcome else elapsed)
            spans.append(
                [
                    row,
                    round(began - start, 4),
                    round(elapsed - ran, 4),
                    round(elapsed, 4),
                    OUTCOMES[outcome],
                    index,
                ]
            )
    for init in step.inits:
        row = number.get((init.node, init.processor))
        if row is not None:
            kind = "init" if init.well else "init failed"
            spans.append([row, round(init.start - start, 4), 0, round(init.end - init.start, 4), kind, -1])
    for look in looks:
        row = number.get((look.node, look.processor))
        if row is not None and look.phase in BUSY:
            spans.append(
                [
                    row,
                    round(now - look.age - start, 4),
                    0,
                    round(look.age, 4),
                    phase_word(look, step),
                    look.index,
                ]
            )
    end = max([step.ended or now, *(start + span[1] + span[3] for span in spans)])
    return {"start": start, "end": end, "rows": [label(*place) for place in rows], "spans": spans}


def _busy_timeline(step: StepFacts, now: float) -> dict[str, Any]:
    table = step.tally.busy()
    end = step.ended or now
    columns = min(max(int((end - table.start) / table.width) + 1, 1), table.shares.shape[-1])
    shares = np.rint(table.shares[:, :, :columns] * 100).astype(int)
    return {
        "start": table.start,
        "end": end,
        "rows": [label(*place) for place in table.rows],
        "width": table.width,
        "shares": shares.tolist(),
    }
