"""Lists the watchers that every run has, in order; those that write a step's logs are in `log_tree`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from daskpar.events import Watcher
from daskpar.reports.display import Display
from daskpar.reports.log_tree import LogTree


def watchers(
    run_directory: Path | str,
    *,
    display: bool = True,
    copy_logs: Collection[str] = (),
    summary_follows: bool = False,
) -> list[Watcher]:
    """The display (on stderr of a program, below the cell in a notebook) and the log trees.

    `display`: whether to show the progress; `summary_follows`: as for `ProgressView`. `copy_logs`: steps with
    `copy_logs_to_parent`.
    """
    shown: list[Watcher] = [Display.of_process(summary_follows=summary_follows)] if display else []
    return [*shown, LogTree(Path(run_directory), copy_logs)]
