"""What is doubtful of the first line of a delimited file, by the names that its table has: pure rules."""

from __future__ import annotations

import re
from collections.abc import Sequence

from daskpar.data.formats.delimited import column_names
from daskpar.data.notices import (
    EXCEL,
    HEADER_ROW,
    LETTER_CASE,
    OTHER_HEADER,
    OTHER_ORDER,
    RETURNS,
    LossCounter,
    LostValues,
)

_FOR_EXCEL = re.compile(r"sep=.?", re.IGNORECASE)


def doubt_of_header(
    names: Sequence[str], known: Sequence[str], *, is_header: bool, others_have_one: bool, delimiter: str
) -> str:
    """The cause of doubt about a file whose first line holds `names` and is read as columns `known`.

    Empty where there is none. `is_header`: the line is taken for a header, and left out; `others_have_one`:
    the table takes its names from the header of another file. Names that differ in upper and lower case or
    blanks alone mean the same column, and so do those that only one of two lists has at its end.
    """
    if _FOR_EXCEL.fullmatch(delimiter.join(names)):
        return EXCEL
    if is_header and any("\r" in name.strip() for name in names):
        return RETURNS
    found = [_plain(name) for name in column_names(names, len(names))]
    wanted = [_plain(name) for name in known]
    if not is_header:
        return HEADER_ROW if others_have_one and found == wanted[: len(found)] else ""
    if all(one == other for one, other in zip(found, wanted, strict=False)):
        return ""
    return OTHER_ORDER if sorted(found) == sorted(wanted[: len(found)]) else OTHER_HEADER


def count_letter_cases(layouts: Sequence[Sequence[str]]) -> LossCounter:
    """Names that differ between lists of columns in upper and lower case or blanks alone."""
    losses = LossCounter()
    different = dict.fromkeys(map(tuple, layouts))
    if len(different) < 2:
        return losses
    spelled: dict[str, dict[str, None]] = {}
    together: set[str] = set()
    for names in different:
        plain = [_plain(name) for name in names]
        together |= (
            {name for name in plain if plain.count(name) > 1} if len(set(plain)) < len(plain) else set()
        )
        for name, written in zip(plain, names, strict=True):
            spelled.setdefault(name, {})[written] = None
    for name, spellings in spelled.items():
        if len(spellings) > 1 and name not in together:
            first, second = list(spellings)[:2]
            losses.add("", LETTER_CASE, LostValues(len(spellings) - 1, f"{first!r} and {second!r}"))
    return losses


def _plain(name: str) -> str:
    return name.strip().casefold()
