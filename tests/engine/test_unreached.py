"""Mini-batches whose data was not reached: held without a charge, or failed where it is certainly not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskpar.batches.records import unpack
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.rules.outages import FIRST_PAUSE
from daskpar.engine.try_results import TryResults
from daskpar.engine.unreached import UnreachedData, is_gone
from daskpar.processor.protocol import Flushed, Released, ReleaseReason
from daskpar.results import Counts, Reason


class Step:
    """A step of one block of five mini-batches on node `n`."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.failures: list[Any] = []
        self.dispatcher = Dispatcher([(0, 5)], BlockSizer())
        self.dispatcher.sizer.measure(1000, 0.001)
        self.dispatcher.add_node("n", 1)
        self.orders = [order for _, order in self.dispatcher.orders()]
        self.counter = ThresholdCounter(Thresholds(), Counts(planned=5))
        self.results = TryResults(
            step="s",
            dispatcher=self.dispatcher,
            counter=self.counter,
            commit=self.commit,
            publish=lambda _: None,
            charged_items=lambda _: 10,
        )
        self.unreached = UnreachedData(
            dispatcher=self.dispatcher, results=self.results, warn=self.warnings.append
        )

    def commit(self, flushed: Flushed) -> np.ndarray:
        self.failures += flushed.failures
        return unpack(flushed.records)

    def release(self, now: float, *, missing: str = "") -> bool:
        """The node gives the rest of its first block back."""
        order = self.orders.pop(0)
        released = Released(
            block=order.block, token="t", start=order.start, stop=order.stop,
            reason=ReleaseReason.UNREACHED, trouble="it is down", missing=missing,
        )  # fmt: skip
        failed = self.unreached.released("n", 0, released, now)
        self.dispatcher.end(order.block, "t")
        return failed

    def give_out(self, now: float) -> list[int]:
        """First mini-batches of the blocks that go out now."""
        self.unreached.let_go(now)
        orders = [order for _, order in self.dispatcher.orders()]
        self.orders += orders
        return [order.start for order in orders]


def test_it_waits_uncharged_and_its_node_too():
    step = Step()
    assert not step.release(100.0)
    assert step.counter.counts.tries_failed == 0
    assert step.give_out(100.0) == []  # its node waits, with all the rest
    assert 0 in step.give_out(100.0 + FIRST_PAUSE)
    (warning,) = step.warnings
    assert "node n can't reach its data: it is down. No try is charged" in warning


def test_a_node_that_reaches_data_again_is_said_to():
    step = Step()
    step.release(100.0)
    step.unreached.reached("n")
    step.unreached.reached("n")
    assert step.warnings[1:] == ["node n reaches its data again"]


def test_a_file_that_only_the_node_does_not_see_is_its_trouble(tmp_path: Path):
    step = Step()
    (tmp_path / "a").touch()
    assert not step.release(100.0, missing=str(tmp_path / "a"))
    assert "is not seen there, and is seen here" in step.warnings[0]


def test_a_file_that_nobody_sees_fails_at_once(tmp_path: Path):
    step = Step()
    assert step.release(100.0, missing=str(tmp_path / "a"))
    (failure,) = step.failures
    assert (failure.reason, failure.index, failure.final) == (Reason.INPUT_CHANGED, 0, True)
    assert step.counter.counts.failed == 1 and step.counter.counts.failed_items == 10
    assert step.results.input_changed == 1 and not step.unreached.outages.any


def test_a_report_of_another_start_changes_nothing():
    step = Step()
    step.dispatcher.owns(step.orders[0].block, "other")
    assert not step.release(100.0)
    assert step.warnings == [] and step.dispatcher.held == {}


@pytest.mark.parametrize(
    ("name", "gone"), [("there", False), ("missing", True), ("folder-missing/file", False)]
)
def test_what_is_gone_had_a_folder_that_is_there(tmp_path: Path, name: str, gone: bool):
    (tmp_path / "there").touch()
    assert is_gone(str(tmp_path / name)) is gone
