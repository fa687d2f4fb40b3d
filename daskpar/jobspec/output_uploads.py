"""Outputs at URLs: the local places that scripts write instead, and which are uploaded."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from daskpar.jobspec.model import Output
from daskpar.locations import is_url

FILLED = "filled"
"""The folder below `StepPaths.uploads` in which scripts write, one for each output."""
NOT_WRITTEN = frozenset({"http", "https"})
"""Stores that can only be read."""


def with_uploads(outputs: Mapping[str, Output], folder: Path, rows: str | None = None) -> dict[str, Output]:
    """The outputs, each at a URL with the place where scripts write it, unless its mode is `direct`.

    `folder` is the step's `StepPaths.uploads`. `rows`: the file or folder of appended rows, which is written
    by daskpar itself; a script that is told its URL can do nothing with it.
    """
    return {
        name: replace(output, seen=_seen(output, folder))
        if is_url(output.path)
        and output.mode != "direct"
        and not (output.type == "uri_file" and output.path == rows)
        else output
        for name, output in outputs.items()
    }


def without_unused(
    outputs: Mapping[str, Output], rows: str | None, texts: Iterable[str]
) -> dict[str, Output]:
    """The outputs, those that hold appended `rows` without a place for scripts that are not told of it.

    `texts`: all that scripts are told.
    """
    told = list(texts)
    return {
        name: replace(output, seen="")
        if output.seen and holds_rows(output, rows) and not any(output.seen in text for text in told)
        else output
        for name, output in outputs.items()
    }


def holds_rows(output: Output, rows: str | None) -> bool:
    """Whether appended rows go to an output: to itself, or into a file of the folder that it is."""
    return rows is not None and output.path.rstrip("/") in (rows.rstrip("/"), posixpath.dirname(rows))


def _seen(output: Output, folder: Path) -> str:
    place = folder / FILLED / output.name
    # The name of a file says what it holds, such as rows.parquet.
    return str(place / os.path.basename(output.path.rstrip("/")) if output.type == "uri_file" else place)
