"""Thresholds: equal completes, above fails; only final outcomes are charged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.batches.records import RECORD
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.results import Counts, TryStatus


def records(*outcomes: tuple[TryStatus, bool, int, int]) -> np.ndarray:
    """One record for each (status, final, items, failed items)."""
    array = np.zeros(len(outcomes), dtype=RECORD)
    for row, (status, final, items, failed_items) in zip(array, outcomes, strict=True):
        row["status"], row["final"], row["items"], row["failed_items"] = status, final, items, failed_items
    return array


OK = (TryStatus.SUCCEEDED, True, 10, 0)
SHORT = (TryStatus.FAILED, True, 10, 3)
FAILED = (TryStatus.FAILED, True, 10, 10)
RETRIED = (TryStatus.FAILED, False, 10, 10)
EMPTY = (TryStatus.EMPTY, True, 0, 0)


@pytest.mark.parametrize(
    ("limits", "outcomes", "exceeded"),
    [
        ({"error_threshold": 3}, [SHORT, OK], ""),
        ({"error_threshold": 2}, [SHORT, OK], "error_threshold allows (2)"),
        ({"error_threshold": 0}, [OK], ""),
        ({"error_threshold": -1}, [FAILED] * 50, ""),
        ({"error_threshold": 0}, [RETRIED, OK], ""),
        ({"mini_batch_error_threshold": 2}, [FAILED, FAILED, OK], ""),
        ({"mini_batch_error_threshold": 1}, [FAILED, FAILED, OK], "mini_batch_error_threshold allows (1)"),
        ({"mini_batch_error_threshold": 0}, [RETRIED, RETRIED, OK], ""),
        ({"mini_batch_error_threshold": 0}, [FAILED], "mini_batch_error_threshold allows (0)"),
        ({"allowed_failed_percent": 30}, [FAILED] * 3 + [OK] * 7, ""),
        ({"allowed_failed_percent": 29}, [FAILED] * 3 + [OK] * 7, "allowed_failed_percent allows (29 %)"),
        ({"allowed_failed_percent": 0}, [OK], ""),
        ({"allowed_failed_percent": 0}, [FAILED], "allowed_failed_percent"),
        ({"allowed_failed_percent": 100}, [FAILED] * 10, ""),
        # Mini-batches without a row are no part of the percentage: 1 of 2 failed, not 1 of 10.
        ({"allowed_failed_percent": 40}, [EMPTY] * 8 + [FAILED, OK], "1 of 2 mini-batches failed (50 %)"),
    ],
)
def test_a_count_above_its_threshold_fails_the_step_and_one_equal_to_it_does_not(limits, outcomes, exceeded):
    counter = ThresholdCounter(Thresholds(**limits), Counts(planned=10))
    counter.add(records(*outcomes))
    assert exceeded in counter.verdict()
    assert bool(exceeded) == bool(counter.verdict())


@pytest.mark.parametrize(
    ("outcomes", "allow_empty", "reason"),
    [
        ([OK, FAILED], False, ""),
        ([FAILED], False, "no mini-batch succeeded"),
        ([FAILED], True, "no mini-batch succeeded"),
        ([EMPTY], False, "holds no items"),
        ([], False, "holds no items"),
        ([EMPTY], True, ""),
        ([], True, ""),
    ],
)
def test_a_step_of_which_nothing_succeeded_fails_whatever_the_thresholds(outcomes, allow_empty, reason):
    counter = ThresholdCounter(Thresholds(), Counts(planned=len(outcomes)))
    if outcomes:
        counter.add(records(*outcomes))
    assert reason in counter.closing_verdict(allow_empty=allow_empty)
    assert bool(reason) == bool(counter.closing_verdict(allow_empty=allow_empty))


@given(st.lists(st.sampled_from([OK, SHORT, FAILED, RETRIED, EMPTY])), st.integers(1, 5))
def test_counts_do_not_depend_on_how_records_are_bundled(outcomes, bundle):
    whole, parts = (
        ThresholdCounter(Thresholds(), Counts(planned=100)),
        ThresholdCounter(Thresholds(), Counts(planned=100)),
    )
    whole.add(records(*outcomes))
    for start in range(0, len(outcomes), bundle):
        parts.add(records(*outcomes[start : start + bundle]))
    assert whole.counts == parts.counts
    assert whole.counts.tries_failed == whole.counts.failed + whole.counts.retried
    assert whole.counts.done == sum(final for _, final, _, _ in outcomes)


def test_each_outcome_counts_where_it_belongs():
    counter = ThresholdCounter(Thresholds(), Counts(planned=100, succeeded=1, repeats=2))
    counter.add(records(OK, OK, SHORT, RETRIED, RETRIED, RETRIED, FAILED, EMPTY))
    counter.add_repeats(5)
    assert counter.counts == Counts(
        planned=100,
        succeeded=3,
        failed=2,
        empty=1,
        items=40,
        failed_items=13,
        tries_failed=5,
        retried=3,
        repeats=7,
    )


@pytest.mark.parametrize(
    ("limits", "failed_items", "failed", "words"),
    [
        ({"error_threshold": 0}, 1, 0, "1 item failed, more than error_threshold allows (0);"),
        ({"error_threshold": 1}, 2, 0, "2 items failed, more than error_threshold allows (1);"),
        (
            {"mini_batch_error_threshold": 0},
            0,
            1,
            "1 mini-batch failed, more than mini_batch_error_threshold allows (0);",
        ),
        (
            {"mini_batch_error_threshold": 1},
            0,
            2,
            "2 mini-batches failed, more than mini_batch_error_threshold allows (1);",
        ),
        # Where nothing with a row is planned, one that failed is all there is.
        (
            {"allowed_failed_percent": 99.5},
            0,
            1,
            "1 of 1 mini-batches failed (100 %), more than allowed_failed_percent allows (99.5 %);",
        ),
    ],
)
def test_a_verdict_names_the_count_and_the_limit(limits, failed_items, failed, words):
    counts = Counts(planned=3, empty=3, failed_items=failed_items, failed=failed)
    counter = ThresholdCounter(Thresholds(**limits), counts)
    assert counter.verdict().startswith(words)
    assert counter.closing_verdict(allow_empty=True) == counter.verdict()


@pytest.mark.parametrize(
    ("pieces", "tries_failed", "retried"), [([1], 1, 0), ([2], 1, 1), ([3, 1, 2], 3, 2), ([1, 1], 2, 0)]
)
def test_a_piece_that_fails_is_a_failed_try_and_one_of_several_items_is_tried_again(
    pieces, tries_failed, retried
):
    counter = ThresholdCounter(Thresholds(), Counts(planned=10))
    for items in pieces:
        counter.add_piece(items)
    assert (counter.counts.tries_failed, counter.counts.retried) == (tries_failed, retried)


def test_what_is_counted_apart_from_tries():
    counter = ThresholdCounter(Thresholds(), Counts(planned=10))
    counter.add_piece(4)
    counter.add_piece(1)
    counter.add_divided(records(FAILED, OK))
    counter.add_copies(3)
    counter.copies_were_first(1)
    counter.copies_were_first(1)
    counts = counter.counts
    assert (counts.tries_failed, counts.retried, counts.failed, counts.succeeded) == (2, 1, 1, 1)
    assert (counts.copies, counts.copies_first) == (3, 2)
