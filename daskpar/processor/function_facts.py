"""Where a pickled function lies in a run directory, and what a processor knows of it before it loads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from daskpar.value_classes import frozen

FOLDER, PICKLE, DIGEST = "function", "function.pkl", "function.json"
"""The code folder below the run directory, and what is in it; the digest tells a changed function."""


@frozen(kw_only=True)
class Facts:
    """What a processor has to know of the function before it loads it."""

    name: str
    named_rows: bool
    """Whether the rows need names."""
    sources: Mapping[str, str]
    """Name of a file, or of a notebook's cell -> its text, for tracebacks."""
    search_path: tuple[str, ...]
    """Folders in which the driver finds modules."""
    folder: str
    """The driver's working directory, from which relative paths start in its code."""
    items: bool
    """Whether mini-batches are pickled items."""

    def as_dict(self) -> dict[str, Any]:
        """In plain values, which need no module to be loaded."""
        return asdict(self)
