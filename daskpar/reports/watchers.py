"""The watchers of a run: which there are, in which order."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from daskpar.events import Watcher
from daskpar.reports.display import Display
from daskpar.reports.log_tree import LogTree


def watchers(
    run_directory: Path | str, *, display: bool = True, copy_logs: Collection[str] = ()
) -> list[Watcher]:
    """The watchers that every run has: the display (on stderr of a program, below the cell in a notebook),
    the log trees.

    `copy_logs`: steps with `copy_logs_to_parent`.
    """
    shown: list[Watcher] = [Display.of_process()] if display else []
    return [*shown, LogTree(Path(run_directory), copy_logs)]
