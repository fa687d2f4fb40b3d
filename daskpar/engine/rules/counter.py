"""Counts tries against the thresholds of a step: pure, used by the tracker and by the driver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from daskpar.results import Counts, TryStatus
from daskpar.value_classes import frozen


@frozen(kw_only=True)
class Thresholds:
    """When a step has failed: a count above its threshold, -1 (100 for the percentage) meaning never."""

    error_threshold: int = -1
    """Failed items to tolerate."""
    mini_batch_error_threshold: int = -1
    """Failed mini-batches to tolerate."""
    allowed_failed_percent: float = 100.0
    """Failed mini-batches to tolerate in percent of the planned ones, those without a row left out."""


class ThresholdCounter:
    """The running counts of one step and the verdict on them.

    Only final outcomes are charged: a try that will be repeated shows in `tries_failed` and `retried` alone,
    so that no threshold is exceeded by a mini-batch that later succeeds.
    """

    def __init__(self, thresholds: Thresholds, counts: Counts) -> None:
        self.thresholds = thresholds
        self.counts = counts

    def add(self, records: np.ndarray) -> None:
        """Count a bulk of records (`batches.records.RECORD`)."""
        final = records[records["final"] == 1]
        status = final["status"]
        failed_tries = int(np.count_nonzero(records["status"] == TryStatus.FAILED))
        failed = int(np.count_nonzero(status == TryStatus.FAILED))
        counts = self.counts
        self.counts = replace(
            counts,
            succeeded=counts.succeeded + int(np.count_nonzero(status == TryStatus.SUCCEEDED)),
            failed=counts.failed + failed,
            empty=counts.empty + int(np.count_nonzero(status == TryStatus.EMPTY)),
            items=counts.items + int(final["items"].sum()),
            failed_items=counts.failed_items + int(final["failed_items"].sum()),
            tries_failed=counts.tries_failed + failed_tries,
            retried=counts.retried + failed_tries - failed,
        )

    def add_piece(self, items: int) -> None:
        """Count a failed try of a piece of a divided mini-batch; one of several items is divided further."""
        counts = self.counts
        retried = counts.retried + (items > 1)
        self.counts = replace(counts, tries_failed=counts.tries_failed + 1, retried=retried)

    def add_divided(self, records: np.ndarray) -> None:
        """Count the outcomes of mini-batches that were divided, whose tries were counted as they ended."""
        tries_failed = self.counts.tries_failed
        self.add(records)
        self.counts = replace(self.counts, tries_failed=tries_failed)

    def add_repeats(self, number: int) -> None:
        """Count mini-batches that run again, for their result was lost with a processor or node."""
        self.counts = replace(self.counts, repeats=self.counts.repeats + number)

    def add_throttled(self, number: int) -> None:
        """Count calls that were put off as their service asked."""
        if number:
            self.counts = replace(self.counts, throttled=self.counts.throttled + number)

    def add_copies(self, number: int) -> None:
        """Count second copies of slow mini-batches that were started."""
        self.counts = replace(self.counts, copies=self.counts.copies + number)

    def copies_were_first(self, number: int) -> None:
        """Count mini-batches whose second copy has brought their result."""
        self.counts = replace(self.counts, copies_first=self.counts.copies_first + number)

    def verdict(self) -> str:
        """One sentence on the threshold that is exceeded, naming count and limit; empty while none is."""
        # Azure ML takes a threshold of -1 as none; equal to the threshold is still tolerated.
        limits, counts = self.thresholds, self.counts
        if 0 <= limits.error_threshold < counts.failed_items:
            return (
                f"{_count(counts.failed_items, 'item', 'items')} failed, more than error_threshold allows "
                f"({limits.error_threshold}); raise error_threshold or mend the script"
            )
        if 0 <= limits.mini_batch_error_threshold < counts.failed:
            return (
                f"{_count(counts.failed, 'mini-batch', 'mini-batches')} failed, more than "
                f"mini_batch_error_threshold allows ({limits.mini_batch_error_threshold}); "
                "raise mini_batch_error_threshold or mend the script"
            )
        if limits.allowed_failed_percent < 100 and counts.failed:
            # Mini-batches that turned out to hold no row would make the failed share look smaller than it is.
            with_rows = max(1, counts.planned - counts.empty)
            percent = 100 * counts.failed / with_rows
            if percent > limits.allowed_failed_percent:
                return (
                    f"{counts.failed} of {with_rows} mini-batches failed ({percent:.3g} %), more than "
                    f"allowed_failed_percent allows ({limits.allowed_failed_percent:g} %); "
                    "raise allowed_failed_percent or mend the script"
                )
        return ""

    def closing_verdict(self, *, allow_empty: bool) -> str:
        """The verdict once every mini-batch has its final outcome.

        On the thresholds, and on whether anything succeeded at all.
        """
        if found := self.verdict():
            return found
        counts = self.counts
        if counts.succeeded == 0 and counts.failed:
            return "no mini-batch succeeded; the first error says why"
        if counts.succeeded == 0 and not allow_empty:
            return (
                "the input holds no items; check its path, or pass --allow-empty True in program_arguments "
                "if that is expected"
            )
        return ""


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
