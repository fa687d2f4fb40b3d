"""Where a node that does not see the run directory has what the step's settings name: paths both ways.

Such a node has a folder of its own in which the run directory's tree is laid out again, as far as it needs
it. Its processors get settings with the paths there; what they report names the driver's.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from daskpar.value_classes import frozen

MOVED_SETTINGS = (
    "arguments", "environment", "plan", "store", "shared", "logs", "work", "working_dir",
    "fetching", "seen", "uploads", "mounts",
)  # fmt: skip
"""Fields of `ProcessorSettings` with paths that may lie in the run directory."""


@frozen(kw_only=True)
class NodePlaces:
    """The places of one step on one node."""

    root: str
    """The node's folder for the run."""
    moves: tuple[tuple[str, str], ...]
    """A path of the driver's, and the one that takes its place here. The first that fits counts."""
    back_only: tuple[tuple[str, str], ...] = ()
    """Pairs like these that only count on the way back: the code, below which data may lie for the driver."""
    trees: tuple[str, ...] = ()
    """Folders here whose files come back while the step runs: its logs, and lists of what was uploaded."""
    left: str = ""
    """A folder whose files come back when the processors have ended; empty: there is none."""
    window: int = 0
    """How many bytes may be on their way from here to the driver at one time; 0: as many as from any node."""
    own_outputs: str = ""
    """The folder here that scripts find as their `output_dir`."""

    @cached_property
    def _there(self) -> re.Pattern[str]:
        return _any_of([old for old, _ in self.moves])

    @cached_property
    def _here(self) -> re.Pattern[str]:
        return _any_of([new for _, new in (*self.moves, *self.back_only)])

    def here(self, value: Any) -> Any:
        """A value of the settings with this node's paths, whatever it is made of."""
        return _mapped(value, self.text_here)

    def text_here(self, text: str) -> str:
        """A text with this node's paths in the place of the driver's."""
        return self._there.sub(lambda found: dict(self.moves)[found[0]], text)

    def back(self, value: Any) -> Any:
        """A report of this node with the driver's paths."""
        return _mapped(value, self._text_back)

    def _text_back(self, text: str) -> str:
        there = {new: old for old, new in (*self.moves, *self.back_only)}
        return self._here.sub(lambda found: there[found[0]], text)


def _any_of(paths: list[str]) -> re.Pattern[str]:
    """Finds one of the paths where it is all of a name or the beginning of a longer path."""
    longest_first = sorted(paths, key=len, reverse=True)
    return re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w.-])")


def _mapped(value: Any, change: Any) -> Any:
    if type(value) is str:
        return change(value)
    if isinstance(value, Path):
        return Path(change(str(value)))
    if isinstance(value, tuple | list):
        return type(value)(_mapped(each, change) for each in value)
    if isinstance(value, dict):
        return {key: _mapped(each, change) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        old = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
        new = {name: _mapped(each, change) for name, each in old.items()}
        return value if new == old else replace(value, **new)
    return value
