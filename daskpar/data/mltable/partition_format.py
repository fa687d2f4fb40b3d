"""Gives columns from the paths of files: `extract_columns_from_partition_format`.

A format such as `/{store}/{day:yyyy/MM/dd}/{name}.csv` names the columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from daskpar.data.columns.kinds import infer_kind
from daskpar.data.columns.text_values import from_text
from daskpar.value_classes import frozen

_DATE_PARTS = {"yyyy": (r"\d{4}", "year"), "MM": (r"\d{2}", "month"), "dd": (r"\d{2}", "day")}
_TIME_PARTS = {"HH": (r"\d{2}", "hour"), "mm": (r"\d{2}", "minute"), "ss": (r"\d{2}", "second")}
_PARTS = {**_DATE_PARTS, **_TIME_PARTS}


@frozen
class PartitionFormat:
    """A parsed format, searched in the whole path; as in Microsoft's reader the leftmost match counts."""

    pattern: re.Pattern[str]
    names: tuple[str, ...]
    """Columns of text or number, in the order of the format."""
    date: str | None
    """The datetime column, the last of the columns."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in their order."""
        return self.names if self.date is None else (*self.names, self.date)


def parse_format(text: str) -> PartitionFormat:
    """The format that a text means; ValueError says what is wrong with it."""
    pieces = re.split(r"(\{[^{}]*\})", text)
    out: list[str] = []
    names: list[str] = []
    date: str | None = None
    for piece in pieces:
        if not (piece.startswith("{") and piece.endswith("}")):
            if "{" in piece or "}" in piece:
                raise ValueError(
                    f"the brackets of {text!r} do not pair up: "
                    "write each part as {name} or {name:yyyy/MM/dd}"
                )
            out.append("[^/]*".join(re.escape(literal) for literal in piece.split("*")))
            continue
        name, colon, layout = piece[1:-1].partition(":")
        if not name:
            raise ValueError(f"{piece!r} of {text!r} has no name")
        if colon:
            if date is not None:
                raise ValueError(f"{text!r} has two dates; write one date part, e.g. {{day:yyyy/MM/dd}}")
            date = name
            out.append(_date_pattern(layout))
        elif name in names:  # as Microsoft's reader: a repeated name is taken once
            out.append("[^/]+")
        else:
            out.append(f"(?P<c{len(names)}>[^/]+)")
            names.append(name)
    if not names and date is None:
        raise ValueError(f"{text!r} names no column: write at least one part as {{name}}")
    if date is not None and "(?P<year>" not in "".join(out):
        raise ValueError(f"the date {date!r} of {text!r} has no year: write yyyy in it")
    return PartitionFormat(re.compile("".join(out)), tuple(names), date)


def _date_pattern(layout: str) -> str:
    out, seen = [], set()
    for piece in re.split(r"(yyyy|MM|dd|HH|mm|ss)", layout):
        if piece in _PARTS and piece not in seen:
            seen.add(piece)
            out.append(f"(?P<{_PARTS[piece][1]}>{_PARTS[piece][0]})")
        elif piece in _PARTS:
            out.append(_PARTS[piece][0])
        else:
            out.append(re.escape(piece))
    return "".join(out)


def extract(form: PartitionFormat, paths: Sequence[str]) -> pa.Table:
    """The columns of a list of paths, a row for each, with kinds inferred as those of delimited files.

    As Microsoft's reader: paths that do not fit give nulls. ValueError where none fits.
    """
    found = [form.pattern.search(path) for path in paths]
    if paths and not any(found):
        raise ValueError(f"no path fits the partition format, e.g. {paths[0]}")
    columns: dict[str, pa.Array] = {}
    for number, name in enumerate(form.names):
        texts = [None if match is None else match[f"c{number}"] for match in found]
        columns[name] = from_text(pa.array(texts, pa.string()), infer_kind(texts))[0]
    if form.date is not None:
        columns[form.date] = pa.array(
            [None if match is None else _date(match) for match in found], pa.timestamp("us")
        ).cast(pa.timestamp("ns"), safe=False)
    return pa.table(columns)


def _date(match: re.Match[str]) -> datetime | None:
    parts = {
        name: int(value)
        for name, value in match.groupdict().items()
        if name in {part[1] for part in _PARTS.values()}
    }
    try:
        found = datetime(parts.pop("year"), parts.pop("month", 1), parts.pop("day", 1), **parts)  # type: ignore[arg-type]
    except ValueError:
        return None
    return found if 1678 <= found.year <= 2261 else None
