"""Reads single values: numbers, seconds, sizes, switches and texts, by the rules of Azure ML's own loader.

Each reader takes a Value and returns what it means, or None after recording the mistake. Digits in quotes are
numbers, booleans are not.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection

from daskpar.errors import nearest
from daskpar.jobspec.call_rate import HINT, calls_per_second
from daskpar.jobspec.model import BySize
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.yaml_source import Value
from daskpar.sizes import parse_size

LONGEST_SECONDS = 259_200
MOST_IN_FLIGHT = 10_000


class StandIn(str):
    """What stands for a value that nobody has given yet: the binding to it. No rule judges it."""


def quoted(data: object) -> str:
    """A value as messages quote it: short, and a boolean as YAML writes it."""
    if isinstance(data, bool):
        return "true" if data else "false"
    if isinstance(data, dict | list):
        return "a mapping" if isinstance(data, dict) else "a list"
    text = repr(data) if isinstance(data, str) else str(data)
    return text if len(text) <= 60 else text[:57] + "..."


def as_number(data: object) -> float | int | None:
    """A finite number, also from text; None for anything else, booleans included."""
    if isinstance(data, bool) or not isinstance(data, int | float | str):
        return None
    try:
        number = (
            data
            if not isinstance(data, str)
            else int(data)
            if re.fullmatch(r"\s*[+-]?\d+\s*", data, re.ASCII)
            else float(data)
        )
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):
        return None


def text(value: Value, problems: Problems, what: str = "a text") -> str | None:
    """A text; anything else is a mistake."""
    if isinstance(value.data, str):
        return value.data
    problems.error(value.place, f"has to be {what}, not {quoted(value.data)}.")
    return None


def whole_number(
    value: Value,
    problems: Problems,
    *,
    least: int,
    meaning: str = "",
    whole: Callable[[float], int] = math.trunc,
) -> int | None:
    """A whole number from `least` on. A fraction is cut off (or `whole` says what becomes of it), as Azure
    does, with a warning.
    """
    number = as_number(value.data)
    if number is None:
        problems.error(value.place, f"has to be a whole number, not {quoted(value.data)}.")
        return None
    if number < least:
        problems.error(value.place, f"has to be {least} or more, not {quoted(value.data)}.", meaning)
        return None
    if number != int(number):
        problems.warn(value.place, f"{quoted(value.data)} is no whole number; {whole(number)} is used.")
    return whole(number)


def threshold(value: Value, problems: Problems) -> int | None:
    """A count of failures to ignore, -1 for any."""
    return whole_number(value, problems, least=-1, meaning="-1 ignores all failures.")


def threshold_argument(value: Value, problems: Problems) -> int | None:
    """As `threshold`, in a program argument: there, Azure's driver rounds a fraction up."""
    return whole_number(value, problems, least=-1, meaning="-1 ignores all failures.", whole=math.ceil)


def retries(value: Value, problems: Problems) -> int | None:
    """Tries after the first."""
    return whole_number(value, problems, least=0)


def tries(value: Value, problems: Problems) -> int | None:
    """Tries in all (an older setting) as retries."""
    number = whole_number(value, problems, least=1)
    return None if number is None else number - 1


def nodes(value: Value, problems: Problems) -> int | None:
    """A number of nodes, -1 for all there are."""
    number = whole_number(value, problems, least=-1, meaning="-1 takes all nodes there are.")
    if number == 0:
        problems.error(value.place, "has to be 1 or more, or -1 for all nodes there are; not 0.")
        return None
    return number


def processors(value: Value, problems: Problems) -> int | None:
    """A number of processors on each node."""
    return whole_number(value, problems, least=1)


def at_least_one(value: Value, problems: Problems) -> int | None:
    """A whole number from 1 on."""
    return whole_number(value, problems, least=1)


def in_flight(value: Value, problems: Problems) -> int | None:
    """A number of calls that are under way at a time in one process."""
    number = whole_number(value, problems, least=1)
    if number is not None and number > MOST_IN_FLIGHT:
        problems.error(
            value.place,
            f"has to be at most {MOST_IN_FLIGHT:,}, not {number}.",
            "More processors (max_concurrency_per_instance) have so many each.",
        )
        return None
    return number


def call_rate(value: Value, problems: Problems) -> str | None:
    """So many calls in a time: `300/min`."""
    try:
        calls_per_second(str(value.data))
    except ValueError as error:
        problems.error(value.place, f"{quoted(value.data)} is no rate of calls: {error}", HINT)
        return None
    return str(value.data).strip()


def mini_batches(value: Value, problems: Problems) -> int | None:
    """A number of mini-batches without input; a negative one is none, as in Azure."""
    number = whole_number(value, problems, least=-(2**63))
    return None if number is None else max(number, 0)


def percent(value: Value, problems: Problems) -> float | None:
    """0 to 100."""
    number = as_number(value.data)
    if number is None or not 0 <= number <= 100:
        problems.error(value.place, f"has to be a percentage from 0 to 100, not {quoted(value.data)}.")
        return None
    return float(number)


def seconds(value: Value, problems: Problems) -> float | None:
    """More than 0 and at most 259200 (three days)."""
    number = as_number(value.data)
    if number is None or not 0 < number <= LONGEST_SECONDS:
        problems.error(
            value.place,
            f"has to be seconds, more than 0 and at most {LONGEST_SECONDS}, not {quoted(value.data)}.",
        )
        return None
    return float(number)


def time_limit(value: Value, problems: Problems) -> float | None:
    """Seconds, more than 0."""
    number = as_number(value.data)
    if number is None or number <= 0:
        problems.error(value.place, f"has to be seconds, more than 0, not {quoted(value.data)}.")
        return None
    return float(number)


def interval(value: Value, problems: Problems) -> float | None:
    """Seconds from 0 on; 0 is off."""
    number = as_number(value.data)
    if number is None or number < 0:
        problems.error(value.place, f"has to be seconds, 0 (off) or more, not {quoted(value.data)}.")
        return None
    return float(number)


def niceness(value: Value, problems: Problems) -> int | None:
    """0 to 20."""
    number = whole_number(value, problems, least=0)
    if number is not None and number > 20:
        problems.error(value.place, f"has to be from 0 to 20, not {number}.")
        return None
    return number


def switch(value: Value, problems: Problems) -> bool | None:
    """True or False, also as text; yes, no, 1 and 0 as well."""
    answer = _switch(value.data)
    if answer is None:
        problems.error(value.place, f"has to be True or False, not {quoted(value.data)}.")
    return answer


def _switch(data: object) -> bool | None:
    if isinstance(data, bool):
        return data
    word = str(data).strip().lower() if isinstance(data, str | int) else ""
    if word in {"true", "yes", "1"}:
        return True
    return False if word in {"false", "no", "0"} else None


def choice(*allowed: str) -> Callable[[Value, Problems], str | None]:
    """A reader of one of the words `allowed`, spelt just so."""

    def read(value: Value, problems: Problems) -> str | None:
        if isinstance(value.data, str) and value.data in allowed:
            return value.data
        words = ", ".join(word or "''" for word in allowed)
        hint = nearest(str(value.data).upper(), allowed) or nearest(str(value.data), allowed)
        problems.error(value.place, f"has to be one of {words}, not {quoted(value.data)}.", hint)
        return None

    read.allowed = allowed  # type: ignore[attr-defined]  # for the JSON schema
    return read


def isolation(value: Value, problems: Problems) -> str | None:
    """Which mini-batches are divided when they fail: one of `model.ISOLATIONS`."""
    if isinstance(value.data, str) and value.data.strip().lower() in ("groups", ""):
        return value.data.strip().lower()
    answer = _switch(value.data)
    if answer is None:
        what = f"has to be True, False or groups, not {quoted(value.data)}."
        problems.error(value.place, what, nearest(str(value.data), ("True", "False", "groups")))
        return None
    return "items" if answer else ""


def port_word(data: object) -> str:
    """The name of a type or mode as this package spells it: `UriFolder` and `URI_FOLDER` are `uri_folder`."""
    word = str(data).strip()
    if not word.isupper():
        word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word)
    return word.lower().replace("-", "_")


def size(value: Value, problems: Problems) -> BySize | None:
    """A mini-batch size: `10` files, or `10kb` of a table. 0 is as good as none."""
    try:
        number, unit = parse_size(value.data)
    except ValueError as error:
        problems.error(value.place, f"{quoted(value.data)} is no mini-batch size.", str(error))
        return None
    return BySize(number=number, unit=unit)


def memory(value: Value, problems: Problems) -> int | None:
    """Bytes: a size with a unit, or a number of bytes."""
    try:
        number, unit = parse_size(value.data)
    except ValueError:
        hint = 'Write a number and kb, mb or gb, like "100mb", or a number of bytes.'
        problems.error(value.place, f"{quoted(value.data)} is no size in bytes.", hint)
        return None
    if number == 0:
        problems.error(value.place, "has to be more than 0.")
        return None
    return number * unit


def keys(value: Value, problems: Problems) -> tuple[str, ...] | None:
    """Partition keys: a list of column names, each once."""
    if not isinstance(value.data, list):
        problems.error(
            value.place,
            f"has to be a list of column names, not {quoted(value.data)}.",
            _as_list(value.data),
        )
        return None
    names: list[str] = []
    for element in value.elements():
        if not isinstance(element.data, str) or not element.data:
            problems.error(
                element.place,
                f"a key has to be the name of a column, not {quoted(element.data)}.",
                "Put it in quotes.",
            )
            return None
        if element.data in names:
            problems.error(element.place, f"the key {element.data!r} is given twice.")
            return None
        names.append(element.data)
    return tuple(names)


def _as_list(data: object) -> str:
    """What to write for names that are no list."""
    if not isinstance(data, str) or not data.strip():
        return "Write [Store, Brand]."
    names = [name.strip() for name in data.strip(" []").split(",") if name.strip()]
    return f"Write [{', '.join(names)}]."


def keys_in_text(value: Value, problems: Problems) -> tuple[str, ...] | None:
    """Partition keys in a program argument: a JSON list, or names with commas between them."""
    try:
        listed = json.loads(str(value.data))
    except ValueError:
        listed = [name.strip() for name in str(value.data).split(",")]
    if not isinstance(listed, list):
        problems.error(value.place, f"has to be a list of column names, not {quoted(value.data)}.")
        return None
    return keys(Value([Value(name, value.place) for name in listed], value.place), problems)


def columns_in_text(value: Value, problems: Problems) -> tuple[str, ...] | None:
    """Names of columns in a program argument: a JSON list, or names with commas between them."""
    data = value.data
    try:
        listed = data if isinstance(data, list | tuple) else json.loads(str(data))
    except ValueError:
        listed = str(data)
    names = [str(name) for name in listed] if isinstance(listed, list | tuple) else str(data).split(",")
    names = [name.strip() for name in names]
    if not all(names):
        problems.error(
            value.place,
            f"has to be names of columns with commas between them, not {quoted(data)}.",
            "Write id,name.",
        )
        return None
    if twice := next((name for name in names if names.count(name) > 1), None):
        problems.error(value.place, f"the column {twice!r} is given twice.")
        return None
    return tuple(names)


def literal(value: Value, kind: str, problems: Problems) -> object:
    """A literal as an input of type `kind` (`string`, `number`, `integer`, `boolean`, or empty: as written)
    takes it.
    """
    data = value.data
    if isinstance(data, StandIn):
        return data
    if isinstance(data, dict | list):
        problems.error(value.place, f"has to be a single value, not {quoted(data)}.")
        return None
    if kind == "string":
        return str(data)
    if kind == "boolean":
        words = {"true": True, "1": True, "false": False, "0": False}
        answer = data if isinstance(data, bool) else words.get(str(data).strip().lower())
        if answer is None:
            problems.error(value.place, f"has to be true or false, not {quoted(data)}.")
        return answer
    if kind in {"number", "integer"}:
        number = as_number(data)
        if number is None or (kind == "integer" and number != int(number)):
            problems.error(
                value.place,
                f"has to be {'an integer' if kind == 'integer' else 'a number'}, not {quoted(data)}.",
            )
            return None
        return int(number) if kind == "integer" else number
    return data


def unknown_keys(mapping: Value, known: Collection[str], problems: Problems, what: str) -> None:
    """Warn about keys that nobody reads."""
    for key, value in mapping.items():
        if key not in known:
            problems.warn(
                value.place, f"{key!r} is no setting of {what} and has no effect.", nearest(key, known)
            )
