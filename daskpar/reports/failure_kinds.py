"""Groups failed tries that look alike: same reason, same last line of the traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from daskpar.paths import process_name
from daskpar.reports.record_columns import reason_name, with_rows
from daskpar.reports.wording import one_line
from daskpar.results import Failure
from daskpar.value_classes import mutable

KINDS_KEPT = 50
"""Kinds of failures that are told apart; failed tries of others are counted only."""


@mutable
class FailureKind:
    """Failures that look alike: same reason, same last line of the traceback."""

    first: Failure
    """The first in time."""
    where: str
    """Its processor: `<node>/processNNN`."""
    tries: int = 0
    """Failed tries of this kind."""
    final: int = 0
    """Those of them after which the mini-batch was not tried again."""


class FailureKinds:
    """The kinds that have come so far; further ones than the first fifty are counted only."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[int, str], FailureKind] = {}
        self.others = 0
        """Failed tries of further kinds."""

    def add(self, records: np.ndarray, failures: Iterable[Failure]) -> None:
        """Take the failures of a bulk of tries."""
        for row, failure in with_rows(records, list(failures)):
            place = records[row]
            self.add_one(failure, f"{int(place['node'])}/{process_name(int(place['processor']))}")

    def add_one(self, failure: Failure, where: str) -> None:
        """Take a failed try of the processor `where` (`<node>/processNNN`)."""
        key = (failure.reason, last_line(failure))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS_KEPT:
                self.others += 1
                return
            kind = self._kinds[key] = FailureKind(failure, where)
        # Bulks come in the order of their commits, which need not be that of the failures.
        elif failure.time and failure.time < kind.first.time:
            kind.first, kind.where = failure, where
        kind.tries += 1
        kind.final += failure.final

    @property
    def oldest_first(self) -> list[FailureKind]:
        """In the order of their first failures."""
        return sorted(self._kinds.values(), key=lambda kind: (kind.first.time, kind.first.index))


def last_line(failure: Failure) -> str:
    """What failures of one kind have in common: the last line of the traceback.

    Numbers are left out, however many digits they have, so that messages with varying values count as one
    kind.
    """
    if failure.trace and reason_name(failure.reason) == "EXCEPTION":
        lines = failure.trace.strip().splitlines() or [failure.message]
        text = lines[-1]
    else:
        text = failure.message
    return re.sub(r"\d+", "#", one_line(text, 200))
