"""Estimates a whole step from some of its mini-batches, and says how sure that is: pure figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from daskpar.value_classes import frozen

STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""Student's t for 95 %, two-sided, with 1, 2, ... degrees of freedom; about 2 beyond."""


@frozen
class Estimate:
    """A figure, and between which two it lies 19 times out of 20 as far as a sample of such size can say."""

    value: float
    low: float
    high: float

    @property
    def unsure(self) -> float:
        """Half the width of the range as a share of the value."""
        return (self.high - self.low) / 2 / self.value if self.value else 0.0

    def plus(self, constant: float, least: float = 0.0, share: float = 1.0) -> Estimate:
        """`share` of it, no less than `least`, and a constant on top."""
        value, low, high = (constant + max(least, share * each) for each in (self.value, self.low, self.high))
        return Estimate(value, low, high)


def total(sample: Sequence[float], count: int, weights: Sequence[float] = (), whole: float = 0.0) -> Estimate:
    """The sum over `count` mini-batches of what `sample` holds for some of them.

    `weights`: what each is expected to be in proportion to (its items), with their sum `whole` over all.
    """
    number = len(sample)
    if weights and whole and sum(weights) > 0:
        ratio = sum(sample) / sum(weights)
        value = ratio * whole
        left = [each - ratio * weight for each, weight in zip(sample, weights, strict=True)]
    else:
        mean = sum(sample) / number
        value = mean * count
        left = [each - mean for each in sample]
    if number == count:
        return Estimate(value, value, value)
    if number == 1:
        return Estimate(value, 0.0, math.inf)
    deviation = math.sqrt(sum(each * each for each in left) / (number - 1))
    student = STUDENT[number - 2] if number - 2 < len(STUDENT) else 2.0
    off = student * count * deviation / math.sqrt(number) * math.sqrt(1 - number / count)
    seen = sum(sample)
    return Estimate(value, max(seen, value - off), value + off)


def on_processors(busy: Estimate, processors: int, count: int, start: float, longest: float) -> Estimate:
    """Seconds that a step takes on so many processors: `busy` seconds of mini-batches in all, `start` until
    the first one begins; none is divided, so it takes as long as the `longest`.
    """
    return busy.plus(start, longest, 1 / max(1, min(processors, count)))
