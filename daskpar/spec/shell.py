"""Puts values into a shell command so that each stays one word, whatever quotes it stands in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from daskpar.spec.bindings import Binding, parse

_IN_DOUBLE_QUOTES = re.compile(r'([\\"$`])')


def fill_command(command: str, lookup: Callable[[Binding], str]) -> str:
    """The command with its bindings filled in.

    A value is quoted where it stands unquoted, escaped where it stands in quotes. A command that is a binding and nothing else is
    the value as it is.
    """
    parts = parse(command)
    if all(isinstance(part, Binding) or part.isspace() for part in parts):
        return "".join(part if isinstance(part, str) else lookup(part) for part in parts)
    filled: list[str] = []
    quote = ""
    for part in parts:
        if isinstance(part, str):
            quote = _quote_after(part, quote)
            filled.append(part)
        else:
            filled.append(_for_shell(lookup(part), quote))
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
    return shlex.quote(value) if value else ""
