"""Puts values into a shell command: literals as they are, as Azure does, and paths quoted as one word."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from daskpar.jobspec.bindings import Binding, parse

_IN_DOUBLE_QUOTES = re.compile(r'([\\"$`])')


@dataclass(frozen=True)
class Filling:
    """What stands for a binding in a command."""

    text: str
    is_path: bool
    """A path of data is one word, whatever characters its folders have; a literal is the user's own text,
    several words perhaps.
    """


def fill_command(command: str, lookup: Callable[[Binding], Filling]) -> str:
    """The command with its bindings filled in: a path is quoted where it stands unquoted, escaped where it
    stands in quotes.
    """
    filled: list[str] = []
    quote = ""
    for part in parse(command):
        filling = None if isinstance(part, str) else lookup(part)
        if filling is not None and filling.is_path:
            filled.append(_for_shell(filling.text, quote))
            continue
        text = filling.text if filling is not None else str(part)
        quote = _quote_after(text, quote)
        filled.append(text)
    return "".join(filled)


def _quote_after(text: str, quote: str) -> str:
    """The quote that is open behind `text`, when `quote` was before it."""
    position = 0
    while position < len(text):
        sign = text[position]
        if sign == "\\" and quote != "'":
            position += 1
        elif sign == quote:
            quote = ""
        elif not quote and sign in "'\"":
            quote = sign
        elif not quote and sign == "#" and (position == 0 or text[position - 1].isspace()):
            line_end = text.find("\n", position)  # a comment: an apostrophe in it quotes nothing
            position = len(text) if line_end < 0 else line_end
        position += 1
    return quote


def _for_shell(value: str, quote: str) -> str:
    if quote == "'":
        return value.replace("'", "'\\''")
    if quote == '"':
        return _IN_DOUBLE_QUOTES.sub(r"\\\1", value)
    return shlex.quote(value)
