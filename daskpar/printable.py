"""What may be shown on a terminal: names and data of others must not steer it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from daskpar.masking import hidden, may_hold_secrets

_STEERING = re.compile(r"[^\n\t -~]")


def in_brackets(text: str, width: int = 100) -> str:
    """` (text)` on one line, to follow what it explains; empty where there is no text."""
    flat = printable(" ".join(text.split()))
    return f" ({flat if len(flat) <= width else flat[: width - 1] + '…'})" if flat else ""


def printable(text: str) -> str:
    """The text without what moves the cursor, colours, rings, renames the window or turns how one reads.

    That is control characters (ESC, BEL, CR, C1), bidirectional marks and what is no text; a sign (U+FFFD)
    stands for each. Secrets are hidden (`masking`). Used at every way out to a terminal: a YAML key, a file's
    name, a cell or a script's message may hold anything.
    """
    text = hidden(text)
    if text.isprintable():
        return text
    return _STEERING.sub(lambda found: found[0] if found[0].isprintable() else "\ufffd", text)


def all_printable(texts: list[str]) -> list[str]:
    """Each of the texts as `printable` gives it; quick where none has anything to hide."""
    together = "".join(texts)
    if together.isprintable() and not may_hold_secrets(together):  # then none of them is, or does
        return texts
    return [printable(text) for text in texts]


def printable_tree(value: Any, width: int = 4_000) -> Any:
    """Plain JSON values with all their texts printable, and none longer than `width` characters."""
    if isinstance(value, str):
        text = printable(value)
        return text if len(text) <= width else text[: width - 1] + "…"
    if isinstance(value, Mapping):
        return {printable_tree(str(name)): printable_tree(each, width) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [printable_tree(each, width) for each in value]
    return value
