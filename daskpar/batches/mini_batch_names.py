"""Finds a mini-batch by what people call it: its index, a file of it, or its key (`store=7`)."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from daskpar.batches.names import MiniBatchNames
from daskpar.batches.plan import Plan
from daskpar.errors import UsageError, nearest
from daskpar.locations import is_url

SHOWN = 10
"""Candidates that are listed."""
COMPARED = 20_000
"""Names that are looked through for one that is near to a wrong one."""
NULLS = {"", "null", "none", "nan", "nat", "<na>"}


def find_mini_batch(plan: Plan, name: int | str | Mapping[str, Any]) -> int:
    """Index of the mini-batch of `plan` that `name` means.

    An index; the path of a file, whole or its end (`b/a.txt`, `a.txt`); values of the partition keys, as
    `store=7,brand=x` or a mapping; or the name that reports show. Raises UsageError where none is meant, or
    several: these are listed.
    """
    if not plan.count:
        raise UsageError("the plan has no mini-batch: the input holds no items")
    if isinstance(name, Mapping):
        return _only(", ".join(f"{key}={value}" for key, value in name.items()), _with_keys(plan, name))
    text = str(name).strip()
    if re.fullmatch(r"[+-]?\d+", text):
        if not 0 <= int(text) < plan.count:
            raise UsageError(
                f"there is no mini-batch {text}: the plan has {plan.count}, 0 to {plan.count - 1}"
            )
        return int(text)
    keys = list(plan.keys(0) or {})
    if "=" in text and (given := _split_keys(text, keys)):
        return _only(text, _with_keys(plan, given))
    return _only(text, _with_file(plan, text, keys))


def _only(name: str, found: Mapping[int, str]) -> int:
    """The one mini-batch of those that `name` means; `found`: index -> what it is."""
    if len(found) == 1:
        return next(iter(found))
    shown = "".join(f"\n  {index}: {what}" for index, what in list(found.items())[:SHOWN])
    more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise UsageError(
        f"{name!r} means {len(found)} mini-batches; give an index, or more of the path or keys:{shown}{more}"
    )


def _split_keys(text: str, keys: Sequence[str]) -> dict[str, str]:
    """`store=7,brand=a,b` -> what each key is, where it begins with a key; values may have commas."""
    if not keys:
        return {}
    names = "|".join(re.escape(key) for key in sorted(keys, key=len, reverse=True))
    begins = list(re.finditer(rf"(?:^|,)\s*({names})\s*=", text))
    if not begins or begins[0].start() != 0:
        return {}
    ends = [begin.start() for begin in begins[1:]] + [len(text)]
    return {begin[1]: text[begin.end() : end].strip() for begin, end in zip(begins, ends, strict=True)}


def _with_keys(plan: Plan, given: Mapping[str, Any]) -> dict[int, str]:
    keys = plan.keys(0)
    if keys is None:
        raise UsageError("this step has no partition_keys: name a mini-batch by its index or a file")
    for key in given:
        if key not in keys:
            raise UsageError(
                f"{key!r} is none of the partition_keys ({', '.join(keys)}). {nearest(key, keys)}".rstrip()
            )
    found: dict[int, str] = {}
    seen: list[str] = []
    for i in range(plan.count):
        own = plan.keys(i) or {}
        if all(_same(own[key], value) for key, value in given.items()):
            found[i] = plan.describe(i) if len(found) < SHOWN else ""
        elif len(seen) < COMPARED:
            seen.append(", ".join(f"{key}={own[key]}" for key in given))
    if not found:
        asked = ", ".join(f"{key}={value}" for key, value in given.items())
        raise UsageError(f"no mini-batch has {asked}. {_near(asked, seen)}".rstrip())
    return found


def _same(value: Any, given: Any) -> bool:
    """Whether a key's value is the one that is given, as a value or as text."""
    text = str(given).strip()
    if value is None or value != value:  # NaN and NaT differ from themselves
        return given is None or given != given or text.lower() in NULLS
    if str(value) == text or (not isinstance(given, str) and value == given):
        return True
    try:
        if isinstance(value, bool):
            return str(value).lower() == text.lower()
        if isinstance(value, int | float):
            return float(text) == value
        if hasattr(value, "isoformat") and hasattr(value, "timestamp"):
            import pandas

            return bool(pandas.Timestamp(text) == pandas.Timestamp(value))
    except (TypeError, ValueError):
        pass
    return False


def _with_file(plan: Plan, text: str, keys: Sequence[str]) -> dict[int, str]:
    files = plan.files()
    if not files:
        by = f"its key ({keys[0]}=...)" if keys else "its index"
        raise UsageError(f"{text!r} names no mini-batch: these have no files of their own; give {by}")
    numbers = _files_named(files, text)
    if not numbers and text in (known := MiniBatchNames(plan.folder).names(range(plan.count))):
        return {known.index(text): text}
    if not numbers:
        hint = f" or {keys[0]}=..." if keys else ""
        names = (os.path.basename(path.rstrip("/")) for path in files[:COMPARED])
        raise UsageError(
            f"no mini-batch has a file {text!r}. {_near(os.path.basename(text), names)}"
            f"An index (0 to {plan.count - 1}), a path or its end{hint} names one."
        )
    several = len({files[number] for number in numbers}) > 1
    found: dict[int, str] = {}
    for number in numbers[: 10 * SHOWN]:
        for row in plan.rows_of_files([number]):
            index = plan.holding(row)
            if index not in found:
                shown = len(found) < SHOWN
                found[index] = files[number] if several else plan.describe(index) if shown else ""
    if not found:
        raise UsageError(f"no mini-batch has a row of {text}, although it is a file of the input")
    return found


def _files_named(files: Sequence[str], text: str) -> list[int]:
    """Numbers of the files that a text means: the path, else its end."""
    if is_url(text):
        return [number for number, path in enumerate(files) if path == text]
    whole = os.path.abspath(text)
    exact = [number for number, path in enumerate(files) if path in (text, whole)]
    end = "/" + re.sub(r"^(\.\./)+", "", os.path.normpath(text))
    return exact or [number for number, path in enumerate(files) if path.endswith(end)]


def _near(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(found)}? " if found else ""
