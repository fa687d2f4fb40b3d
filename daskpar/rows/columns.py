"""Which columns the rows of a step have, as the mini-batches that returned them say one after the other."""

from __future__ import annotations

import json
from dataclasses import dataclass


class ColumnsDiffer(ValueError):
    """Rows that can't be in one output: other columns, or a column of another type."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of some mini-batches together."""

    names: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    """For each column the lowest mini-batch that has it, and its position there. They put the columns of a
    union in order, whichever processor was first."""
    mini_batch: int
    """One that has these columns, for messages."""

    @classmethod
    def of(cls, names: tuple[str, ...], mini_batch: int) -> Columns:
        """Those of one mini-batch."""
        return cls(names, tuple((mini_batch, position) for position in range(len(names))), mini_batch)

    def to_text(self) -> str:
        """As a text; `from_text` reads it."""
        return json.dumps([self.mini_batch, self.names, self.places], separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Columns:
        """What `to_text` wrote."""
        mini_batch, names, places = json.loads(text)
        return cls(tuple(names), tuple((at, position) for at, position in places), mini_batch)

    def joined(self, other: Columns, *, union: bool) -> Columns:
        """The columns of both; in the order in which they come first in the mini-batches where that is a
        `union`, which may have more of them.

        Raises ColumnsDiffer where they differ and no union is wanted.
        """
        if not union:
            if self.names != other.names:
                raise ColumnsDiffer(_differ(self, other))
            return self
        places = dict(zip(self.names, self.places, strict=True))
        for name, place in zip(other.names, other.places, strict=True):
            places[name] = min(place, places.get(name, place))
        # Pieces of a divided mini-batch may have other columns in the same place, and end in any order.
        ordered = sorted(places.items(), key=lambda column: (column[1], column[0]))
        names, found = tuple(name for name, _ in ordered), tuple(place for _, place in ordered)
        return Columns(names, found, min(self.mini_batch, other.mini_batch))


_LISTED = 20


def _differ(known: Columns, found: Columns) -> str:
    missing = [name for name in known.names if name not in set(found.names)]
    more = [name for name in found.names if name not in set(known.names)]
    if missing or more:
        what = " and ".join(
            part
            for part in (
                f"lacks {_shown(missing)}" if missing else "",
                f"has {_shown(more)} besides" if more else "",
            )
            if part
        )
    else:
        what = "has the same columns in another order"
    return (
        f"mini-batch {found.mini_batch} returned rows with the columns {_shown(found.names)}, "
        f"mini-batch {known.mini_batch} with {_shown(known.names)}: the first {what}. "
        "Return the same columns in the same order from every run(), or write --append_row_columns union "
        "to have nulls where a mini-batch lacks a column"
    )


def _shown(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(map(repr, names[:_LISTED]))
    return f"[{shown}{f', … ({len(names)} in all)' if len(names) > _LISTED else ''}]"
