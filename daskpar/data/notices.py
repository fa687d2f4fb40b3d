"""What a run tells about values that land wrong without an error: counted by cause, and worded once.

Values stay as Microsoft's reader and Azure give them. What was lost on the way, or may not mean what a user
takes it for, is counted where it is seen, added up over all processors, and told in one sentence for each
cause: how much, where, and the way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from daskpar.value_classes import frozen, mutable

EXAMPLE_LENGTH = 80
"""Characters of a record or value that a message shows."""
COLUMNS_NAMED = 5
"""Columns that a message names where more than one has lost values by the same cause."""


@frozen
class LostValues:
    """Values of one column that became null, were left out or are doubtful: how many, and one of them."""

    count: int
    example: str

    def __add__(self, other: LostValues) -> LostValues:
        return LostValues(self.count + other.count, self.example or other.example)


@frozen
class Notice:
    """Values of one column (empty: of whole records or files) that one cause has touched."""

    cause: str
    column: str
    count: int
    example: str


@mutable
class LossCounter:
    """Lost and doubtful values by column and cause."""

    found: dict[tuple[str, str], LostValues] = field(default_factory=dict)

    def add(self, column: str, cause: str, lost: LostValues | None) -> None:
        """Count values of `column` (empty: whole records or files) that one of CAUSES has touched."""
        if lost:
            known = self.found.get((column, cause))
            self.found[column, cause] = known + lost if known else lost

    def merge(self, other: LossCounter) -> None:
        """Add what another counted."""
        for (column, cause), lost in other.found.items():
            self.add(column, cause, lost)

    def take_notices(self) -> tuple[Notice, ...]:
        """What was counted, as plain values that can travel; counting begins anew."""
        found, self.found = self.found, {}
        return tuple(
            Notice(cause, column, lost.count, lost.example) for (column, cause), lost in found.items()
        )

    def add_notices(self, notices: Iterable[Notice]) -> None:
        """Count what another process has counted."""
        for notice in notices:
            self.add(notice.column, notice.cause, LostValues(notice.count, notice.example))

    def take_messages(self) -> list[str]:
        """A message for each column and cause, the largest count first; counting begins anew."""
        found, self.found = sorted(self.found.items(), key=lambda item: -item[1].count), {}
        return [loss_message(column, cause, lost) for (column, cause), lost in found]

    def take_totals(self, origin: str = "") -> list[str]:
        """One message for each cause, however many columns it has touched; counting begins anew.

        `origin` is what was read, for what was lost there.
        """
        found, self.found = sorted(self.found.items(), key=lambda item: -item[1].count), {}
        causes: dict[str, list[tuple[str, LostValues]]] = {}
        for (column, cause), lost in found:
            causes.setdefault(cause, []).append((column, lost))
        before = f"{origin}: " if origin else ""
        return [
            (before if cause not in RETURNED else "") + text
            for cause, touched in causes.items()
            if (text := _total(cause, touched))
        ]


def loss_message(column: str, cause: str, lost: LostValues) -> str:
    """One sentence on what a cause did: how much, where, an example, and the way out."""
    return CAUSES[cause].format(count=_Count(lost.count), column=column, example=lost.example)


def shortened(text: str) -> str:
    """A value or record as messages show it."""
    return repr(text if len(text) <= EXAMPLE_LENGTH else f"{text[:EXAMPLE_LENGTH]}…")


def _total(cause: str, touched: list[tuple[str, LostValues]]) -> str:
    if cause == RETURNED_COLUMNS:
        return _returned_columns(touched)
    (first, lost), *others = touched
    message = loss_message(first, cause, lost)
    if not others:
        return message
    named = ", ".join(f"{column!r} {more.count:,}" for column, more in others[:COLUMNS_NAMED])
    rest = len(others) - COLUMNS_NAMED
    return f"{message}; likewise {named}" + (f" and {rest:,} more columns" if rest > 0 else "")


def _returned_columns(touched: list[tuple[str, LostValues]]) -> str:
    """The lists of columns that `run()` returned, in one sentence; empty where there is only one list."""
    if len(touched) == 1:
        return ""
    named = "; ".join(f"{lost.count:,} of {columns}" for columns, lost in touched[:COLUMNS_NAMED])
    rest = len(touched) - COLUMNS_NAMED
    lists = f"{named}; {rest:,} other lists" if rest > 0 else named
    return CAUSES[RETURNED_COLUMNS].format(example=lists)


class _Count(int):
    """A number that a message gives with its noun: `{count:value}`."""

    def __format__(self, noun: str) -> str:
        return f"{int(self):,} {noun}{'' if self == 1 else 's'}" if noun else f"{int(self):,}"


# -- causes --------------------------------------------------------------------------------------------------

CONVERT, LATE, INVALID = "convert", "late", "invalid"
CUT, WIDE, ZEROS = "cut", "wide", "zeros"
OPEN_QUOTE, ENDLESS_QUOTE, SHORT, LONG = "open quote", "endless quote", "short", "long"
RETURNS, MARK, NUL, MOJIBAKE = "returns", "mark", "nul", "mojibake"
OTHER_ORDER, OTHER_HEADER, HEADER_ROW = "other order", "other header", "header row"
EXCEL, LETTER_CASE, ONE_COLUMN = "excel", "letter case", "one column"
RETURNED_COLUMNS, RETURNED_BREAKS = "returned columns", "returned breaks"
RETURNED_BYTES, RETURNED_ARRAYS = "returned bytes", "returned arrays"
RETURNED = (RETURNED_COLUMNS, RETURNED_BREAKS, RETURNED_BYTES, RETURNED_ARRAYS)
"""What `run()` returned, not what it was given."""

_AS_TEXT = "read it as string (`column_type_overrides` in `infer_column_types`, or `columns:`)"

CAUSES: Mapping[str, str] = {
    # values of a column
    CONVERT: (
        "{count:value} of column {column!r} became null because they are no values of its kind, e.g. "
        "{example!r}: mend them, or give it another kind (`column_type_overrides`, `convert_column_types`)"
    ),
    LATE: (
        "{count:value} of {column!r}, a column that the inference sample did not have, are left out, "
        "e.g. {example!r}: declare it in `columns:`"
    ),
    CUT: (
        "{count:value} of column {column!r} became another integer, for the column holds integers of "
        "64 bits alone, e.g. {example}: read it as float or string (`column_type_overrides` in "
        "`infer_column_types`, or `columns:`)"
    ),
    WIDE: (
        "{count:integer} of column {column!r} beyond 2^53 became another number in a float, which a "
        f"column with blanks or decimals is read as, e.g. {{example}}: {_AS_TEXT}; in JSON and Parquet, "
        "store it as text"
    ),
    ZEROS: (
        "{count:value} of column {column!r} in the inference sample lost leading zeros, for all look "
        f"like integers, e.g. {{example}}: if they are ids, {_AS_TEXT}"
    ),
    # records
    INVALID: "{count} invalid lines are left out, e.g. {example!r}",
    OPEN_QUOTE: (
        "{count:line} with a quote that opens a field and is not closed there, each read as a record "
        "of its own, e.g. {example}: write `support_multi_line: true` where quoted text spans lines; "
        'a quote that belongs to the text is doubled, in a quoted field ("5"" pipe")'
    ),
    ENDLESS_QUOTE: (
        "{count:quote} that nothing closes: all that follows in the file became one field, e.g. "
        '{example}: close it; a quote that belongs to the text is doubled, in a quoted field ("5"" '
        'pipe")'
    ),
    SHORT: (
        "{count:record} with fewer fields than there are columns; the last ones became null, e.g. "
        "{example}: complete them (torn lines and unquoted line breaks look so too)"
    ),
    LONG: (
        "{count:record} of the inference sample with more fields than the header has names: the last "
        "ones are {column}, e.g. {example}. Where the first field is a row name without a name in the"
        " header, all values stand under the name of their neighbour: add that name"
    ),
    RETURNS: (
        "{count:carriage return} without a line feed: they end no record and became part of a value, "
        "e.g. {example}: end lines with \\n or \\r\\n"
    ),
    MARK: (
        "{count:record} with a byte order mark in front, which became part of the first value, e.g. "
        "{example}: files were joined with their marks; remove these, and the headers behind them"
    ),
    NUL: (
        "{count:NUL byte} became part of values, e.g. {example}: such a file is damaged, or is UTF-16"
        " (`encoding: utf16`)"
    ),
    MOJIBAKE: (
        "{count:character} in UTF-8 read as Latin-1, so that each became two or more, e.g. {example}:"
        " write `encoding: utf8`"
    ),
    # files
    OTHER_ORDER: (
        "{count:file} with the columns of the first one in another order, read by position: values "
        "stand under wrong names, e.g. {example}: write `header: all_files_different_headers`"
    ),
    OTHER_HEADER: (
        "{count:file} with another first line than the first one has: it is left out as a header, and"
        " what follows is read by position, e.g. {example}: write `header: "
        "all_files_different_headers` where the names differ, `header: from_first_file` where that "
        "line is data"
    ),
    HEADER_ROW: (
        "{count:file} with the header of the first one, which is read as a row of data, e.g. "
        "{example}: write `header: all_files_same_headers`"
    ),
    EXCEL: (
        "{count:file} with a first line for Excel (`sep=`), which is read as the header, or as a row,"
        " e.g. {example}: remove that line"
    ),
    ONE_COLUMN: (
        "the only column is {column!r}, which holds what is a delimiter elsewhere, {example} where the files "
        "are divided by it"
    ),
    LETTER_CASE: (
        "{count:column} of some files with the name of another but for upper and lower case or "
        "blanks: two columns with nulls in turn, e.g. {example}: give them one spelling"
    ),
    # what run() returned
    RETURNED_COLUMNS: (
        "run() returned DataFrames with different columns ({example}), and the output has no names: "
        "values of different columns stand below each other. Return the same columns in the same "
        "order; --append_row_dataframe_header makes others an error"
    ),
    RETURNED_BREAKS: (
        "{count:line break} inside rows that run() returned: they take more than one line of the "
        "output, e.g. {example}: replace the breaks, or read the output as CSV with a blank as "
        "separator (fields of DataFrames are quoted)"
    ),
    RETURNED_BYTES: (
        "{count:value} that run() returned are bytes, written as Python shows them, e.g. {example}: "
        "decode() them"
    ),
    RETURNED_ARRAYS: (
        "{count:value} that run() returned are or hold arrays, written as numpy shows them (8 digits;"
        " long ones wrapped, or with their middle left out), e.g. {example}: return .tolist() of "
        "them, or a DataFrame"
    ),
}
"""What each cause is in words; `{column}` and `{example}` as counted."""
