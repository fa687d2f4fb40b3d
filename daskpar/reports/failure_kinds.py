"""Groups failed tries that look alike: same reason, same last line of the traceback."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from daskpar.paths import process_name
from daskpar.reports.record_columns import with_rows
from daskpar.reports.user_errors import KINDS_KEPT, FailureKind, last_line
from daskpar.results import Failure


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
        elif failure.time and failure.time < kind.first.time:
            kind.first, kind.where = failure, where
        kind.tries += 1
        kind.final += failure.final

    @property
    def oldest_first(self) -> list[FailureKind]:
        """In the order of their first failures."""
        return sorted(self._kinds.values(), key=lambda kind: (kind.first.time, kind.first.index))
