"""Words the names of files and groups: pure, and light enough for every processor."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from daskpar.paths import RunPaths


def root_of(origin: str, paths: Sequence[str]) -> str:
    """What the names of files leave out of their paths, with its last slash; empty for nothing.

    That is the folder of the input (`origin`: a folder, a file or an MLTable) where all of them lie in it,
    else the folder that they have in common.
    """
    if not paths:
        return ""
    both = (path.split("/")[:-1] for path in (min(paths), max(paths)))
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*both, strict=False))
    common = "".join(f"{name}/" for name, _ in shared)
    inside = origin.removesuffix("/MLTable").rstrip("/") + "/"
    root = inside if origin and common.startswith(inside) else common
    return "" if root == "/" or root.endswith("://") else root


def first_rows(origin: str, plan: Path, rows: Iterable[int]) -> list[int] | None:
    """Number of the first row of each file in a collection that was given from Python; None for other data.

    The files of such a collection are ours, in the run directory that has the folder `plan` too, and people
    know its rows alone. `rows`: of each file.
    """
    if len(plan.parents) < 3 or not origin.startswith(f"{RunPaths(plan.parents[2]).staged_inputs}/"):
        return None
    return list(itertools.accumulate(rows, initial=0))[:-1]


def keys_text(keys: Mapping[str, Any]) -> str:
    """Key values as the name of their group: `store=7, brand=null`."""
    return ", ".join([f"{name}={'null' if value is None else value}" for name, value in keys.items()])


SHOWN_FILES = 5
"""A mini-batch of more files is named by its first and last."""


def files_text(names: Sequence[str], number: int) -> str:
    """The name of a mini-batch of `number` files: `a/x.txt, b/x.txt`, or `a/x.txt … b/z.txt (20 files)`.

    `names`: of all of them, or where there are many of the first and the last.
    """
    if number <= SHOWN_FILES:
        return ", ".join(names)
    return many_files_texts(names[:1], names[-1:], number)[0]


def many_files_texts(firsts: Sequence[str], lasts: Sequence[str], number: int) -> list[str]:
    """As `files_text`, of mini-batches that have `number` files each, which are many."""
    return [f"{first} … {last} ({number} files)" for first, last in zip(firsts, lasts, strict=True)]


def first_of(names: Sequence[str], count: int) -> str:
    """Some names, and how many there are beside them: `a.txt, b.txt and 8 more`."""
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
