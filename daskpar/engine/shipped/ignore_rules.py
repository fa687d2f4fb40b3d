"""Which files of a code folder are left out: the rules of its `.amlignore`, in the notation of .gitignore."""

from __future__ import annotations

import re
from collections.abc import Iterable

NAME = ".amlignore"
OTHER_NAME = ".gitignore"
"""Counts where there is no `.amlignore`, as in Azure ML."""


class IgnoreRules:
    """The rules in the lines of a file. The last one that fits a path decides; `!` takes a path in again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for line in lines if (rule := _rule(line)) is not None]

    def leave_out(self, path: str, *, folder: bool) -> bool:
        """Whether a path below the folder of the rules is left out; what lies in a folder that is left out
        is never asked for.
        """
        out = False
        for pattern, only_folders, taken_in in self._rules:
            if (folder or not only_folders) and pattern.fullmatch(path):
                out = not taken_in
        return out


def _rule(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    text = re.sub(r"(?<!\\)\s+$", "", line.rstrip("\r\n"))
    if not text or text.startswith("#"):
        return None
    taken_in = text.startswith("!")
    text = text[1:] if taken_in else text
    text = text[1:] if text.startswith(("\\#", "\\!")) else text
    only_folders = text.endswith("/")
    text = text.rstrip("/")
    # With a slash in it, a pattern is about a path from the top; without, about a name anywhere.
    from_top = "/" in text
    pattern = _translated(text.lstrip("/"))
    if not pattern:
        return None
    return re.compile(pattern if from_top else f"(?:.*/)?{pattern}", re.DOTALL), only_folders, taken_in


def _translated(text: str) -> str:
    """A pattern as a regular expression."""
    found, at = "", 0
    while at < len(text):
        if text.startswith("**/", at) and (at == 0 or text[at - 1] == "/"):
            found, at = f"{found}(?:.*/)?", at + 3
        elif text.startswith("/**", at) and at + 3 == len(text):
            found, at = f"{found}/.*", at + 3
        elif text[at] == "*":
            found, at = f"{found}[^/]*", at + 1
            while text.startswith("*", at):
                at += 1
        elif text[at] == "?":
            found, at = f"{found}[^/]", at + 1
        elif text[at] == "[" and (end := text.find("]", at + 2)) > 0:
            inside = text[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            inside = f"^{inside[1:]}" if inside[0] in "!^" else inside
            found, at = f"{found}[{inside}]", end + 1
        elif text[at] == "\\" and at + 1 < len(text):
            found, at = f"{found}{re.escape(text[at + 1])}", at + 2
        else:
            found, at = f"{found}{re.escape(text[at])}", at + 1
    return found
