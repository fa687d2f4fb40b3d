"""Puts values into a shell command: literals as they are, as Azure does, and each path as one word.

A path of plain signs is the same word everywhere. Any other one is quoted where the command is simple, and
handed over by an environment variable where it is not: in `$(...)`, in a here-document, in `bash -c '...'`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import field

from daskpar.jobspec.bindings import Binding, BindingError, parse
from daskpar.jobspec.env_references import REFERENCE
from daskpar.jobspec.shell_text import NoWord, ShellText
from daskpar.value_classes import frozen

_IN_DOUBLE_QUOTES = re.compile(r'([\\"$`])')
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./][A-Za-z0-9_@%+:,./=-]*", re.ASCII)
"""A value that is one word in every context, quoted or not."""


@frozen
class Filling:
    """What stands for a binding in a command."""

    text: str
    is_path: bool
    """A path of data is one word, whatever characters its folders have; a literal is the user's own text,
    several words perhaps.
    """


@frozen
class FilledCommand:
    """A command that is ready to run."""

    text: str
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that it refers to -> their values, `${env:NAME}` in them still to be replaced."""


def fill_command(command: str, lookup: Callable[[Binding], Filling]) -> FilledCommand:
    """The command with its bindings filled in; `${env:NAME}` in it becomes a variable too.

    Raises BindingError for a binding that is not closed, or a value that can't be put where it stands.
    """
    filling = _Filling()
    for part in parse(command):
        if isinstance(part, str):
            filling.add_text(part)
            continue
        found = lookup(part)
        if not found.is_path:
            filling.add_text(found.text)
        elif _PLAIN.fullmatch(found.text):
            filling.add_word(found.text)
        else:
            filling.add_path(found.text, part)
    return FilledCommand("".join(filling.written), filling.variables)


class _Filling:
    """The command as far as it is filled in."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.variables: dict[str, str] = {}
        self._shell = ShellText()

    def add_text(self, text: str) -> None:
        """Add a text of the user's own."""
        end = 0
        for match in REFERENCE.finditer(text):
            self._add_own(text[end : match.start()])
            # Inserted, its value would be seen by all in the list of processes.
            self._add_variable(f"ENV_{match[1]}", match[0], match[0])
            end = match.end()
        self._add_own(text[end:])

    def _add_own(self, text: str) -> None:
        self._shell.read(text)
        self.written.append(text)

    def add_word(self, text: str) -> None:
        """Add part of a word."""
        self._shell.put(text)
        self.written.append(text)

    def add_path(self, path: str, binding: Binding) -> None:
        """Add a path as one word, or part of one."""
        if self._shell.plain or self._shell.quote:
            self.add_word(_for_shell(path, self._shell.quote))
            return
        try:
            self._add_variable(binding.body, path, str(binding))
        except BindingError:
            if "\n" in path:
                raise
            self.add_word(path)  # nothing in it is replaced there, and it stays one line

    def _add_variable(self, name: str, value: str, shown: str) -> None:
        name = self._name("DASKPAR_" + re.sub(r"\W", "_", name, flags=re.ASCII), value)
        try:
            written = self._shell.variable(name)
        except NoWord as where:
            raise BindingError(
                f"{shown} can't be filled in in {where}, where its value would be taken for other text. "
                "Leave the end unquoted, or use a variable that is set before."
            ) from None
        self.variables[name] = value
        self.add_word(written)

    def _name(self, wanted: str, value: str) -> str:
        name, number = wanted, 1
        while self.variables.get(name, value) != value:
            number += 1
            name = f"{wanted}_{number}"
        return name


def _for_shell(value: str, quote: str) -> str:
    if quote == "'":
        return value.replace("'", "'\\''")
    if quote == '"':
        return _IN_DOUBLE_QUOTES.sub(r"\\\1", value)
    return shlex.quote(value)
