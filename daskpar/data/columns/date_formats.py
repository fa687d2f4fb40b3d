"""Formats of dates: which ones a sample of texts has, and how one text is read by them.

Formats are written with strptime's directives (`%Y-%m-%d %H:%M:%S`), here and in `convert_column_types`. The
rules are those of Microsoft's reader, whose directives are those of Rust's chrono.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from daskpar.value_classes import frozen

OUT_OF_RANGE = -(2**63)
"""Stands for a date that a nanosecond timestamp can't hold."""

IMPOSSIBLE = -(2**64)
"""Stands for a text that fits a format but has an impossible field, such as month 13."""

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)

_EXPANDED = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "D": "%m/%d/%y", "R": "%H:%M"}
_TWO_DIGITS = "mdHIMS"
_PATTERNS = {
    "y": r"(?P<y>\d{2})",
    "b": rf"(?P<b>(?i:{'|'.join(MONTHS)}))",
    "B": rf"(?P<b>(?i:{'|'.join(_FULL_MONTHS + MONTHS)}))",
    "f": r"(?P<f>\d{1,9})",
    ".f": r"(?:\.(?P<f>\d{1,9}))?",
    "p": r"(?P<p>(?i:am|pm))",
    "z": r"(?P<z>Z|UTC|[+-]\d\d:?\d\d)",
    **{name: rf"(?P<{name}>\d{{1,2}}+)" for name in _TWO_DIGITS},
}
_DIRECTIVE = re.compile(r"%\.f|\.%f|%[A-Za-z%]|\s+|[^%\s]|%")


@frozen
class Format:
    """A compiled format: its parts, and the expression that reads one text.

    A part is `("%", directive)`, `(" ", "")` for blanks or `("=", character)`.
    """

    parts: tuple[tuple[str, str], ...]
    pattern: re.Pattern[str]
    inferred: bool

    def read(self, text: str) -> int | None:
        """Nanoseconds of `text`, or one of OUT_OF_RANGE and IMPOSSIBLE; None where it does not fit."""
        found = self.pattern.fullmatch(text if self.inferred else text.strip())
        return None if found is None else _nanoseconds(found.groupdict())


@lru_cache(maxsize=512)
def compile_format(text: str, inferred: bool) -> Format | None:
    """The format that `text` writes down; None for an unknown directive, which fits no value.

    As Microsoft's reader: formats that are given (not `inferred`) let blanks be absent or more, and ignore
    blanks around the value.
    """
    parts: list[tuple[str, str]] = []
    for token in _DIRECTIVE.findall(re.sub(r"%([FTDR])", lambda found: _EXPANDED[found[1]], text)):
        if token in ("%.f", ".%f"):
            parts.append(("%", ".f"))
        elif token.isspace():
            parts.append((" ", ""))
        elif token == "%%" or not token.startswith("%"):
            parts.append(("=", token[-1]))
        elif token[1:] == "Y" or token[1:] in _PATTERNS:
            parts.append(("%", token[1:]))
        else:
            return None
    names = [name for mark, name in parts if mark == "%"]
    if len(set(names)) != len(names) or ({"b", "B"} <= set(names)) or ({"f", ".f"} <= set(names)):
        return None
    return Format(
        tuple(parts),
        re.compile("".join(_pattern(parts, index, inferred) for index in range(len(parts)))),
        inferred,
    )


def _pattern(parts: Sequence[tuple[str, str]], index: int, inferred: bool) -> str:
    mark, name = parts[index]
    if mark == " ":
        following = parts[index + 1][1] if index + 1 < len(parts) else ""
        return r"[ \t]+" if inferred and following not in ("z", "p") else r"[ \t]*" if inferred else r"\s*"
    if mark == "=":
        return re.escape(name)
    if name == "Y":
        return r"(?P<Y>\d{4})" if inferred and index else r"(?P<Y>\d{1,4}+)"
    return _PATTERNS[name]


def _nanoseconds(fields: dict[str, str | None]) -> int:
    year = int(fields.get("Y") or 0) if fields.get("Y") else _century(int(fields.get("y") or 0))
    name = fields.get("b")
    month = MONTHS.index(name[:3].lower()) + 1 if name else int(fields.get("m") or 1)
    day = int(fields.get("d") or 1)
    hour = _hour(fields)
    minute, second = int(fields.get("M") or 0), int(fields.get("S") or 0)
    if not (year >= 1 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]):
        return IMPOSSIBLE
    if hour is None or minute > 59 or second > 60:  # second 60 rolls over, as in Microsoft's reader
        return IMPOSSIBLE
    seconds = calendar.timegm((year, month, day, hour, minute, 0)) + second - _offset(fields.get("z"))
    value = seconds * 10**9 + int((fields.get("f") or "0").ljust(9, "0"))
    return value if -(2**63) < value < 2**63 else OUT_OF_RANGE


def _century(year: int) -> int:
    """The year that two digits mean, as strptime: 00 to 69 are 20xx."""
    return year + (2000 if year < 70 else 1900)


def _hour(fields: dict[str, str | None]) -> int | None:
    """The hour of 24, None where it is impossible."""
    half = fields.get("p")
    if fields.get("I"):
        hour = int(fields["I"] or 0)
        if not 1 <= hour <= 12:
            return None
        return hour % 12 + 12 * (half is not None and half.lower() == "pm")
    hour = int(fields.get("H") or 0)
    return hour if hour < 24 else None


def _offset(zone: str | None) -> int:
    """Seconds that the zone is ahead of UTC."""
    if zone is None or zone in ("Z", "UTC"):
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return 60 * (-minutes if zone[0] == "-" else minutes)


def check_formats(formats: Sequence[str], date_constant: str | None = None) -> None:
    """ValueError where the formats could never give a date: none at all, or one without a year."""
    if not formats:
        raise ValueError("At least one datetime format is needed, e.g. '%Y-%m-%d'.")
    for text in formats:
        compiled = compile_format(text, False)
        if compiled is not None and not any(mark == "%" and name in "Yy" for mark, name in compiled.parts):
            where = (
                " (date_constant is put in front of the value: the format describes both)"
                if date_constant
                else ""
            )
            raise ValueError(
                f"The datetime format {text!r} has no year{where}: a date can't be told from it."
            )


# Which formats a sample has. As Microsoft's reader: three families of dates are known, and hours with minutes
# but without seconds are no time in the first of them.

_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{1,2})"
_YEAR_FIRST = re.compile(
    rf"\d{{1,4}}(?P<sep>[-/])\d{{1,2}}(?P=sep)\d{{1,2}}"
    rf"(?:(?P<gap>T|[ \t]+){_TIME}:(?P<second>\d{{1,2}})(?P<fraction>\.\d{{1,9}})?"
    r"(?P<zone>[ \t]*(?:Z|UTC|[+-]\d\d:?\d\d))?)?"
)
_YEAR_LAST = re.compile(
    rf"(?P<first>\d{{1,2}})(?P<sep>[-/])\d{{1,2}}(?P=sep)(?P<year>\d{{4}}|\d{{2}})"
    rf"(?:(?P<gap>[ \t]*){_TIME}(?P<second>:\d{{1,2}})?(?P<half>[ \t]*(?:[AaPp][Mm]))?)?"
)
_NAMED_MONTH = re.compile(
    r"\d{1,2}(?P<sep>[-/])[A-Za-z]{3}(?P=sep)(?P<year>\d{4}|\d{2})"
    rf"(?:(?P<gap>[ \t]+){_TIME}(?:(?P<second>:\d{{1,2}})(?P<fraction>\.\d{{1,9}})?)?)?"
)


def infer_formats(texts: Iterable[str]) -> tuple[str, ...] | None:
    """Formats by which all `texts` are dates; None where they are none.

    As Microsoft's reader: the order of day and month is settled for each separator by a value that only fits
    one order. Where both orders are seen the texts are no dates. Values of a separator that stays unsettled
    are read by no format, so the answer is () where that is all there is.
    """
    certain: dict[str, None] = {}
    orders: dict[str, set[str]] = {}
    waiting: dict[str, list[tuple[str, str]]] = {}
    for text in texts:
        fixed = _valid(_year_first(text), text) or _valid(_named_month(text), text)
        if fixed:
            certain[fixed] = None
            continue
        separator, both = _year_last(text)
        fitting = [order for order, made in both.items() if _valid(made, text)]
        if not fitting:
            return None
        waiting.setdefault(separator, []).append((both["day"], both["month"]))
        if len(fitting) == 1:
            orders.setdefault(separator, set()).add(fitting[0])
    for separator, pairs in waiting.items():
        seen = orders.get(separator, set())
        if len(seen) == 2:
            return None
        for day_first, month_first in pairs if seen else ():
            certain[day_first if "day" in seen else month_first] = None
    return tuple(sorted(certain, key=lambda made: not made.startswith("%Y")))


def _valid(made: str | None, text: str) -> str | None:
    """`made` if `text` is a possible date by it, be it too far for a timestamp."""
    compiled = compile_format(made, True) if made else None
    if compiled is None:
        return None
    found = compiled.pattern.fullmatch(text)
    if found is None:
        return None
    return None if _nanoseconds(found.groupdict()) == IMPOSSIBLE else made


def _year_first(text: str) -> str | None:
    found = _YEAR_FIRST.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    made = "%Y{0}%m{0}%d".format(part["sep"])
    if part["gap"]:
        made += ("T" if part["gap"] == "T" else " ") + "%H:%M:%S" + ("%.f" if part["fraction"] else "")
        made += "" if not part["zone"] else " %z" if part["zone"][0] in " \t" else "%z"
    return made


def _named_month(text: str) -> str | None:
    found = _NAMED_MONTH.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    made = "%d{0}%b{0}%{1}".format(part["sep"], "Y" if len(part["year"]) == 4 else "y")
    if part["gap"]:
        made += " %H:%M" + (":%S" if part["second"] else "") + ("%.f" if part["fraction"] else "")
    return made


def _year_last(text: str) -> tuple[str, dict[str, str]]:
    """Separator, and the formats of both orders of day and month."""
    found = _YEAR_LAST.fullmatch(text)
    if found is None:
        return "", {}
    part = found.groupdict()
    rest = "Y" if len(part["year"]) == 4 else "y"
    if part["hour"]:
        rest += (
            (" " if part["gap"] else "")
            + ("%I" if part["half"] else "%H")
            + ":%M"
            + (":%S" if part["second"] else "")
        )
        rest += "" if not part["half"] else " %p" if part["half"][0] in " \t" else "%p"
    mark = part["sep"]
    return mark, {"day": f"%d{mark}%m{mark}%{rest}", "month": f"%m{mark}%d{mark}%{rest}"}
