"""Some of a plan's mini-batches, as a user asks for them: `--mini-batches 0,5,7-9`, `--limit 3`."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

from daskpar.errors import UsageError
from daskpar.value_classes import frozen

Ranges = list[tuple[int, int]]
"""[start, stop) each, ascending, none touching the next one."""
OPTION = "--mini-batches"


@frozen
class Selection:
    """Some mini-batches of any plan."""

    ranges: tuple[tuple[int, int], ...] | None = None
    """As `Ranges`; None: all."""
    limit: int | None = None
    """The first so many of them; None: all of them."""
    evenly: bool = False
    """Whether the `limit` are spread over the plan, in place of the first ones."""

    def of(self, count: int, step: str) -> Ranges:
        """Those of the plan of `step`, which has `count` mini-batches.

        Raises UsageError where one is asked for that the plan does not have.
        """
        chosen = [(0, count)] if self.ranges is None else list(self.ranges)
        if self.ranges and self.ranges[-1][1] > count:
            has = f"{count}: 0 to {count - 1}" if count else "none"
            raise UsageError(
                f"mini-batch {self.ranges[-1][1] - 1} is asked for ({OPTION}), "
                f"and the plan of step {step} has {has}"
            )
        if self.evenly and self.limit is not None:
            return spread(count, self.limit)
        left = count if self.limit is None else self.limit
        found = []
        for start, stop in chosen:
            stop = min(stop, start + left)
            left -= stop - start
            if start < stop:
                found.append((start, stop))
        return found


def selection(mini_batches: str | int | Iterable[int] | None, limit: int | None) -> Selection | None:
    """What is asked for: indices (`"0,5,7-9"`, 5, `range(3)`, `[0, 5]`), and how many of them at most.

    None where nothing is asked for, so that all are run. Raises UsageError for what is no such thing.
    """
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise UsageError(f"--limit is a number of mini-batches, at least 1, not {limit!r}")
    if mini_batches is None:
        return None if limit is None else Selection(limit=limit)
    if isinstance(mini_batches, str):
        ranges = [_range(part, mini_batches) for part in mini_batches.split(",")]
    else:
        ranges = [
            _one(index) for index in ([mini_batches] if isinstance(mini_batches, int) else mini_batches)
        ]
    if not ranges:
        raise UsageError(f"{OPTION} names no mini-batch")
    return Selection(tuple(_joined(ranges)), limit)


def spread(count: int, number: int) -> Ranges:
    """`number` of `count` mini-batches, evenly spread: each is the middle one of its share."""
    number = min(number, count)
    return _joined(_one(count * (2 * each + 1) // (2 * number)) for each in range(number))


def common(one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> Ranges:
    """What is in both; each is as `Ranges`."""
    found, at = [], 0
    for start, stop in one:
        while at < len(other) and other[at][1] <= start:
            at += 1
        here = at
        while here < len(other) and other[here][0] < stop:
            found.append((max(start, other[here][0]), min(stop, other[here][1])))
            here += 1
    return found


def size(ranges: Iterable[tuple[int, int]]) -> int:
    """How many mini-batches there are in `ranges`."""
    return sum(stop - start for start, stop in ranges)


def _range(part: str, text: str) -> tuple[int, int]:
    first, dash, last = (each.strip() for each in part.partition("-"))
    numbers = [first, last] if dash else [first]
    if not all(each.isascii() and each.isdigit() for each in numbers):
        raise UsageError(
            f"{OPTION} {text!r}: write indices and ranges of them, such as 0-2 or 0,5,7-9; {part.strip()!r} "
            "is none (one mini-batch by its file or key: `daskpar debug`)"
        )
    if int(numbers[-1]) < int(first):
        raise UsageError(f"{OPTION} {text!r}: the range {part.strip()} ends before it begins")
    return int(first), int(numbers[-1]) + 1


def _one(index: int) -> tuple[int, int]:
    try:
        whole = -1 if isinstance(index, bool) else operator.index(index)  # numpy's integers too
    except TypeError:
        whole = -1
    if whole < 0:
        raise UsageError(f"mini_batches: {index!r} is no index of a mini-batch; those are 0, 1, 2, ...")
    return whole, whole + 1


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    found: Ranges = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found
