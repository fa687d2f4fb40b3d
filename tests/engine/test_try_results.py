"""What is reported of mini-batches is committed once, counted, and queued again where it is to be retried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daskpar.batches.records import RECORD, unpack
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.try_results import TryResults
from daskpar.events import TriesEnded
from daskpar.processor.protocol import BlockOrder, Flushed, Released
from daskpar.results import Counts, Failure, Reason, TryStatus


class Results:
    """The results of a step of one mini-batch for each block, and what came of them."""

    def __init__(self, count: int, *, internal: bool = False) -> None:
        self.committed: list[int] = []
        self.published: list[Any] = []
        self.dispatcher = Dispatcher([(0, count)], BlockSizer())
        self.dispatcher.add_node("n", count)
        self.orders: list[BlockOrder] = [order for _, order in self.dispatcher.orders()]
        self.counter = ThresholdCounter(Thresholds(), Counts(planned=count))
        self.results = TryResults(
            step="s",
            dispatcher=self.dispatcher,
            counter=self.counter,
            commit=self.commit,
            publish=self.published.append,
            charged_items=lambda index: 10 + index,
            describe=lambda index: f"{index}.csv",
            log="logs/error.txt",
            internal=internal,
        )

    def commit(self, flushed: Flushed) -> np.ndarray:
        records = unpack(flushed.records)
        self.committed += records["index"].tolist()
        return records


def flushed(
    block: int, *indices: int, token: str = "t", status: int = TryStatus.SUCCEEDED, final: int = 1
) -> Flushed:
    records = np.zeros(len(indices), dtype=RECORD)
    records["index"], records["status"], records["final"] = indices, status, final
    return Flushed(
        block=block, token=token, part="", offset=0, length=0, crc=0, records=records.tobytes(), failures=()
    )


def failure(time: float) -> Failure:
    return Failure(index=0, reason=Reason.EXCEPTION, message=f"at {time}", time=time)


def test_a_result_is_committed_counted_and_published():
    made = Results(1)
    made.results.flushed(flushed(made.orders[0].block, 0))
    assert (made.committed, made.counter.counts.succeeded) == ([0], 1)
    assert [type(event) for event in made.published] == [TriesEnded]


def test_a_second_start_of_a_block_commits_nothing():
    made = Results(1)
    block = made.orders[0].block
    made.results.flushed(flushed(block, 0, token="first"))
    made.results.flushed(flushed(block, 0, token="second"))
    assert (made.committed, made.counter.counts.succeeded, len(made.published)) == ([0], 1, 1)


def test_of_a_flush_only_what_is_due_is_committed():
    made = Results(2)
    made.results.flushed(flushed(made.orders[0].block, 0, 1))
    assert made.committed == [0]


def test_a_try_that_is_not_final_is_queued_again():
    made = Results(1)
    made.results.flushed(flushed(made.orders[0].block, 0, status=TryStatus.FAILED, final=0))
    assert (made.counter.counts.failed, made.counter.counts.tries_failed) == (0, 1)
    [(_, again)] = made.dispatcher.orders()
    assert (again.start, again.stop, again.tries) == (0, 1, 1)


def test_results_of_an_internal_pass_are_not_published():
    made = Results(1, internal=True)
    made.results.flushed(flushed(made.orders[0].block, 0))
    assert (made.committed, made.published) == ([0], [])


@pytest.mark.parametrize(("reason", "repeats"), [("unflushed", 1), ("unwritten", 1), ("stopped", 0)])
def test_only_a_lost_result_counts_as_repeated(reason, repeats):
    made = Results(1)
    released = Released(block=made.orders[0].block, token="t", start=0, stop=1, reason=reason)
    assert not made.results.released(released, 0)
    assert made.counter.counts.repeats == repeats
    assert made.dispatcher.waiting == 1


def test_a_mini_batch_that_is_given_up_is_committed_as_failed_with_all_its_items():
    made = Results(1)
    made.results.give_up(0, 3, "it was running each time", "memory")
    assert (made.counter.counts.failed, made.counter.counts.failed_items) == (1, 10)
    assert made.results.first_failure is not None
    assert made.results.first_failure.message.startswith("mini-batch 0 is given up: it was running each time")


def test_what_no_processor_reports_has_its_items_and_a_log_all_the_same():
    made = Results(2)
    made.results.input_gone(0, 0, "0.csv is gone")
    made.results.give_up(1, 0, "its node was lost", "memory")
    failures = [failure for event in made.published for failure in event.failures]
    assert [(one.items, one.log) for one in failures] == [
        ("0.csv", "logs/error.txt"),
        ("1.csv", "logs/error.txt"),
    ]


def test_the_first_failure_is_the_first_in_time():
    made = Results(1)
    for time in (3.0, 1.0, 2.0):
        made.results.note_failure(failure(time))
    assert made.results.first_failure == failure(1.0)
