"""Notices that a table has changed since its rows were brought together by keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskpar.data.stamps import stamp_now

if TYPE_CHECKING:
    from daskpar.data.tables.table import Table

FILES = 10_000
"""Up to so many files of a table are looked at."""
_NAMED = 3


def changed_since_grouped(table: Table) -> str:
    """A sentence that names the files of `table` that are others now than when it was planned; empty where
    none is, and where there are very many.
    """
    changed = [
        path
        for number, path in enumerate(table.files[:FILES])
        if (planned := table.stamp(number)).known and _now(path) not in (None, planned)
    ]
    if not changed:
        return ""
    named = ", ".join(changed[:_NAMED])
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return (
        f"the input has changed since its rows were brought together by partition_keys ({named}{more}): the "
        "groups are those of the rows that were there before; start a new run for what is there now"
    )


def _now(path: str) -> object:
    """What a file is known by now; None where nobody can say."""
    try:
        return stamp_now(path)
    except (FileNotFoundError, NotADirectoryError):
        return "gone"
    except OSError:
        return None
