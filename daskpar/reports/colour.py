"""Colours what the terminal shows, where the user wants that: rules for the words that we use ourselves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TextIO

_OFF = "\x1b[0m"
_STYLES = {"red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m", "bold": "\x1b[1m", "dim": "\x1b[2m"}
_RULES = (
    (r"^(?:warning|Warning):", "yellow"),
    (r"^note:.*", "dim"),
    (r"^(?:daskpar: |First error\b)", "red"),
    (r"^Next:$", "bold"),
    (r"(?:(?<=: )|^)[Cc]ompleted(?= after| in|,|$)", "green"),
    (r"(?:(?<=: )|^)(?:[Ff]ailed|[Ll]ost|[Ii]nterrupted|crashed)(?= after| in|,|$| \()", "red"),
    (r"(?<!mini-batch )\b(?!0\b)\d[\d,]*(?: (?:of \S+ )?mini-batch(?:es)?| items?)? failed\b", "red"),
    (r"\bwaiting for (?:loading )?mini-batch [^;\n]*?\)|\b(?!0\b)\d[\d,]* retried\b", "yellow"),
    (r"█+", "green"),
    (r"^  logs?: .*", "dim"),
)
"""What is coloured, and how; they don't overlap."""


def wants_colour(stream: TextIO, env: Mapping[str, str] | None = None) -> bool:
    """Whether a text for `stream` is coloured: on a terminal that can, unless NO_COLOR is set; elsewhere only
    where FORCE_COLOR is, to other than 0. (https://no-color.org, https://force-color.org)
    """
    env = os.environ if env is None else env
    if env.get("NO_COLOR"):
        return False
    if forced := env.get("FORCE_COLOR"):
        return forced.lower() not in ("0", "false")
    try:
        return stream.isatty() and env.get("TERM", "") not in ("", "dumb")
    except ValueError:  # closed
        return False


def coloured(text: str) -> str:
    """The text with colours; what it says is the same."""
    for rule, style in _RULES:
        text = re.sub(rule, rf"{_STYLES[style]}\g<0>{_OFF}", text, flags=re.MULTILINE)
    return text


def speaks_utf8(env: Mapping[str, str] | None = None) -> bool:
    """Whether the user's locale has more than ASCII; with LANG=C, or without any, it is not certain.

    Python itself then takes UTF-8 all the same, and says so in LC_CTYPE.
    """
    env = os.environ if env is None else env
    chosen = env.get("LC_ALL") or env.get("LC_CTYPE", "").replace("C.UTF-8", "") or env.get("LANG", "")
    return chosen not in ("", "C", "POSIX")


_SIMPLER = str.maketrans({"█": "#", "░": "-", "…": "~", "×": "x", "·": ".", "−": "-", "–": "-", "’": "'"})


def simpler_signs(text: str) -> str:
    """The text with signs of ASCII in the place of those of ours that are not."""
    return text.translate(_SIMPLER)
