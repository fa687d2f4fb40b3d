"""The careful reader: text into rows of fields by Microsoft's rules of quoting, one record at a time.

It is right for every text, and what the fast reader is compared with. As Microsoft's reader: a quote opens a
field only as its first character and only if a closing one follows; `""` inside is one quote; what follows
the closing quote up to the delimiter is appended. Lines end with `\\n` or `\\r\\n`; empty ones are dropped.
With `support_multi_line` a quoted field may hold line breaks, an unclosed quote takes the text's whole rest
into its record, and line breaks that stand alone before an unquoted field belong to that field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from daskpar.data.formats.dialect import Dialect

Row = list[str | None]


class UnclosedRow(Row):
    """A record with a field that begins with a quote which nothing closes; as Microsoft's reader reads it."""


def rows(text: str, dialect: Dialect) -> Iterator[Row]:
    """The records of `text`, which must begin and end at record boundaries.

    A field that is empty and not quoted is None (a text with `empty_as_string`). A record in which a quote is
    never closed is an UnclosedRow.
    """
    return _multi_line_rows(text, dialect) if dialect.support_multi_line else _line_rows(text, dialect)


def _line_rows(text: str, dialect: Dialect) -> Iterator[Row]:
    delimiter, empty = dialect.delimiter, "" if dialect.empty_as_string else None
    lines = text.split("\n")
    last = len(lines) - 1
    for number, line in enumerate(lines):
        if number < last and line.endswith("\r"):
            line = line[:-1]
        if not line:
            continue
        if '"' in line:
            yield _record(line, 0, dialect)[0]
        else:
            yield [field or empty for field in line.split(delimiter)]


def _multi_line_rows(text: str, dialect: Dialect) -> Iterator[Row]:
    delimiter, empty = dialect.delimiter, "" if dialect.empty_as_string else None
    at, size = 0, len(text)
    while at < size:
        start = at
        while at < size and text[at] == "\n":
            at += 1
        if text.startswith("\r\n", at):
            at += 2
            continue
        if at == size:
            return
        end = text.find("\n", at)
        end = size if end < 0 else end
        if text.find('"', at, end) < 0:
            line = text[at : end - 1] if end < size and text[end - 1] == "\r" else text[at:end]
            row: Row = [field or empty for field in line.split(delimiter)]
            glue, at = text[start:at], end + 1
        else:
            glue = "" if text[at] == '"' else text[start:at]
            row, at = _record(text, at, dialect)
        if glue:
            row[0] = glue + (row[0] or "")
        yield row


@lru_cache(maxsize=16)
def _quoted_field(delimiter: str, multi_line: bool) -> re.Pattern[str]:
    stop = re.escape(delimiter) + (r"\n" if multi_line else "")
    return re.compile(rf'"((?:[^"]++|"")*+)"([^{stop}]*+)')


def _record(text: str, at: int, dialect: Dialect) -> tuple[Row, int]:
    """Fields of the record that starts at `at`, and where the next one starts.

    Without multi-line, `text` is one line without its end.
    """
    delimiter, size = dialect.delimiter, len(text)
    breaks = dialect.support_multi_line
    row: Row = []
    while True:
        found = _quoted_field(delimiter, breaks).match(text, at) if text.startswith('"', at) else None
        if found:
            tail, at = found[2], found.end()
        else:
            if at < size and text[at] == '"':
                breaks = False  # nothing closes this quote: the rest of the text is part of the record
                row = UnclosedRow(row)
            end = _field_end(text, at, delimiter, breaks)
            tail, at = text[at:end], end
        if breaks and text.startswith("\n", at) and tail.endswith("\r"):
            tail = tail[:-1]
        if found:
            row.append(found[1].replace('""', '"') + tail)
        else:
            row.append(tail or ("" if dialect.empty_as_string else None))
        if at >= size or text[at] != delimiter:
            return row, at + 1
        at += 1


def _field_end(text: str, at: int, delimiter: str, breaks: bool) -> int:
    end = text.find(delimiter, at)
    end = len(text) if end < 0 else end
    stop = text.find("\n", at, end) if breaks else -1
    return end if stop < 0 else stop
