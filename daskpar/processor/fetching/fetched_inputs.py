"""Inputs at URLs that scripts get as local files: what each node fetches, and where it puts that.

A step's texts name one place for such an input, wherever the step runs. Each node has a folder of its own for
what it fetches, which takes that place's part in the settings of its processors.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from daskpar.fetched_names import name_below, name_of_any
from daskpar.sizes import UNITS
from daskpar.value_classes import frozen

DEFAULT_CACHE_BYTES = 10 * UNITS["gb"]
"""What the fetched files of mini-batches may take on a node (`--fetch_cache`)."""


@frozen(kw_only=True)
class FetchedInput:
    """One input at a URL."""

    name: str
    url: str
    type: str
    seen: str
    """Where the step's texts have it."""
    writable: bool = False
    """Whether scripts may write to it: a copy of theirs (`download`)."""
    split: bool = False
    """Whether its files are fetched for each mini-batch; else the whole of it is, before scripts start."""


@frozen(kw_only=True)
class Fetching:
    """What a node fetches for a step."""

    folder: str
    """The folder that texts name, in which all that is fetched seems to lie."""
    inputs: tuple[FetchedInput, ...]
    splits: bool = False
    """Whether files of mini-batches are fetched."""
    cache_bytes: int = DEFAULT_CACHE_BYTES
    root: str = ""
    """The node's own folder in its place; empty: not known yet."""

    def at(self, seen: str) -> str:
        """Where on this node lies what texts have at `seen`."""
        return self.root + seen[len(self.folder) :]

    @property
    def whole(self) -> tuple[FetchedInput, ...]:
        """Inputs that are fetched before the script starts."""
        return tuple(each for each in self.inputs if not each.split)

    def place_of(self, url: str) -> str:
        """The local path of a file of a mini-batch. InputError where it can't have one."""
        for each in self.inputs:
            if each.split:
                if url == each.url and each.type != "uri_folder":
                    return self.at(each.seen)
                if (name := name_below(url, each.url)) is not None:
                    return f"{self.at(each.seen)}/{name}"
        return f"{self.root}/.listed/{name_of_any(url)}"

    def is_writable(self, url: str) -> bool:
        """Whether scripts may write to what was fetched from there."""
        return any(
            each.writable and (url == each.url or url.startswith(f"{each.url.rstrip('/')}/"))
            for each in self.inputs
        )

    def here(self, text: str) -> str:
        """A text of the step, with this node's places."""
        for each in sorted(self.inputs, key=lambda each: len(each.seen), reverse=True):
            text = text.replace(shlex.quote(each.seen), shlex.quote(self.at(each.seen)))
            text = text.replace(each.seen, self.at(each.seen))
        return text

    def all_here(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The same for several."""
        return tuple(map(self.here, texts))

    def values_here(self, texts: Mapping[str, str]) -> dict[str, str]:
        """The same for variables; also for the folder of a model, which holds an input."""
        folders = {each.seen.rpartition("/")[0] for each in self.inputs} - {self.folder}
        return {name: self.at(text) if text in folders else self.here(text) for name, text in texts.items()}
