"""What is worth knowing at the end of a step."""

from __future__ import annotations

import numpy as np

from daskpar.batches.records import RECORD
from daskpar.events import ProcessorEvent, ProcessorState
from daskpar.reports.hints import HintCollector, StepFacts, hints

from .conftest import ended, records_of, tries_ended


def records(*elapsed: float) -> np.ndarray:
    found = np.zeros(len(elapsed), RECORD)
    found["index"], found["elapsed"], found["run"] = range(len(elapsed)), elapsed, elapsed
    return found


def test_the_slowest_are_named_where_they_stand_out() -> None:
    facts = StepFacts()
    facts.add(records(*[0.1] * 50, 12.5, 4.0, 3.0, 2.0))
    facts.add(records(*[0.1] * 50, 14.5))  # a further try of 50
    assert hints(facts, lambda index: f"{index}.csv" if index != 52 else "") == [
        "slowest mini-batches: 50 (50.csv) 14.5 s, 51 (51.csv) 4.00 s, 52 3.00 s; 0.44 s on average"
    ]
    even = StepFacts()
    even.add(records(*[20.0] * 10))
    assert hints(even, str) == []
    assert hints(StepFacts(), str) == []


def test_short_calls_say_what_to_do() -> None:
    for by_keys, mend in ((False, "raise mini_batch_size"), (True, "group by keys with fewer values")):
        facts = StepFacts(by_keys=by_keys)
        facts.add(records(*[0.0004] * 5000))
        assert hints(facts, str) == [f"calls of 0.4 ms on average: {mend}, so that each does more"]
    few = StepFacts()
    few.add(records(*[0.0004] * 50))
    assert hints(few, str) == []


def test_the_collector_hears_of_tries_and_of_memory(started) -> None:
    heard = HintCollector()
    heard.handle(started())
    heard.handle(tries_ended([(0, None)]))
    for size in (30 << 20, 20 << 20):
        heard.handle(
            ProcessorEvent(
                time=1.0, step="score", node=0, address="", processor=0, pid=1, state=ProcessorState.ENDED, peak_bytes=size
            )
        )  # fmt: skip
    heard.handle(ended())
    assert heard.texts == {"score": ["peak memory of a processor: 30.0 MB"]}
    assert len(records_of([(0, None)])) == 1


def test_who_has_a_script_to_mend_is_not_told_of_short_calls(started) -> None:
    for status, told in (("completed", 1), ("failed", 0)):
        heard = HintCollector()
        heard.handle(started())
        heard.handle(tries_ended([(index, None) for index in range(2000)]))
        heard._facts["score"].run = 0.1
        heard.handle(ended(status))
        assert len(heard.texts["score"]) == told
