"""Checks of the options of a transformation: pure rules on plain values.

A check takes a value and gives None, or what it must be, as words for a message: "true or false".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daskpar.data.mltable.other_names import OPTIONS, hint_for

Check = Callable[[Any], str | None]


class TransformationError(Exception):
    """A mistake in a transformation: `path` leads from it to the value that is wrong."""

    def __init__(self, what: str, *path: str | int) -> None:
        super().__init__(what)
        self.path = path


Rules = Mapping[str, tuple[Check, Any]]
"""Option -> its check and its default."""


def check_options(name: str, options: Any, rules: Rules) -> dict[str, Any]:
    """All options that the rules name, defaults filled in; raises TransformationError."""
    if not isinstance(options, dict):
        raise TransformationError(
            f"the options of `{name}` must be a mapping (write `{name}: {{}}` or just `{name}` for none)",
            name,
        )
    for key, value in options.items():
        if key not in rules:
            hint = hint_for(key, OPTIONS, rules)
            raise TransformationError(f"`{name}` has no option {key!r}. {hint}", name, str(key))
        problem = rules[key][0](value)
        if problem:
            raise TransformationError(f"`{key}` of `{name}` must be {problem}, not {value!r}", name, key)
    return {key: options.get(key, default) for key, (_, default) in rules.items()}


def must_be_flag(value: Any) -> str | None:
    """True or false."""
    return None if isinstance(value, bool) else "true or false"


def must_be_text(value: Any) -> str | None:
    """A text."""
    return None if isinstance(value, str) else "a text"


def must_be_count(value: Any) -> str | None:
    """A whole number, 0 or more."""
    return (
        None
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0
        else "a whole number, 0 or more"
    )


def must_be_whole(value: Any) -> str | None:
    """A whole number, negative ones included."""
    return None if isinstance(value, int) and not isinstance(value, bool) else "a whole number"


def must_be_positive(value: Any) -> str | None:
    """A number of bytes (or records) above 0."""
    return None if must_be_count(value) is None and value > 0 else "a number of bytes above 0"


def must_be_share(value: Any) -> str | None:
    """A share as Microsoft's schema wants it: a decimal number, so `1` is refused and `1.0` is not."""
    return (
        None
        if isinstance(value, float) and 0 <= value <= 1
        else "a decimal number from 0.0 to 1.0 (with its point: 1.0, not 1)"
    )


def must_be_one_of(*words: str) -> Callable[[Any], str | None]:
    """One of these words."""
    return lambda value: None if isinstance(value, str) and value in words else f"one of {', '.join(words)}"


def may_be_anything(value: Any) -> str | None:
    """For options that have checks of their own."""
    return None
