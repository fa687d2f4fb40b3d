"""The commands that look at runs: `ls`, `status` and `logs`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from daskpar.cells import cut_to, rows_of
from daskpar.commands.arguments import run_directory
from daskpar.commands.output import is_gone, say, say_json
from daskpar.errors import Interrupted, UsageError

WATCH_SECONDS = 1.0
"""Between two looks of `status --watch`."""
WATCH_PIPE_SECONDS = 10.0
"""The same where lines can't be redrawn: in a file or pipe."""
FOLLOW_LINES = 1_000
"""Lines that `logs --follow` writes at a time."""
FOLLOW_SECONDS = 0.3
"""Between two looks of `logs --follow`."""


def ls(arguments: argparse.Namespace) -> int:
    """List the runs below a folder."""
    from daskpar.reports.run_list import list_json, list_text, looked_at
    from daskpar.rundir.find_runs import find_runs

    folder = Path(arguments.folder)
    if not arguments.folder.strip() or not folder.is_dir():
        raise UsageError(f"{arguments.folder or repr('')} is no folder")
    runs = [looked_at(found) for found in find_runs(folder.absolute())]
    if arguments.json:
        say_json(list_json(folder.absolute(), runs))
    elif runs:
        say(list_text(runs, _width()))
    else:
        say(f"no runs in {folder.absolute()}", sys.stderr)
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Show how a run is, once or until it ends."""
    from daskpar.reports.run_status import status_text
    from daskpar.reports.status_json import status_json
    from daskpar.rundir.run_directory import RunDirectory

    path = run_directory(arguments.run)

    def show_json() -> None:
        say_json(status_json(RunDirectory.open(path, lock=False)))

    if not arguments.watch:
        show_json() if arguments.json else say(status_text(path))
        return 0
    return _until_left(lambda: _watch(path, show_json if arguments.json else None))


def _watch(path: Path, show_json: Callable[[], None] | None) -> int:
    """Show the status again and again, until the run has ended or nobody looks any more."""
    from daskpar.reports.run_status import status_text

    redraws = show_json is None and sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    drawn, pause = "", WATCH_SECONDS if sys.stdout.isatty() or show_json else WATCH_PIPE_SECONDS
    while True:
        running = _is_running(path)  # looked at first: what is shown last is the end
        if show_json is not None:
            show_json()
        else:
            text = status_text(path)
            if redraws:
                size = os.get_terminal_size(sys.stdout.fileno())
                # The end is shown whole: it is not drawn over.
                text = cut_to_height(text, size.columns or 80, size.lines or 24) if running else text
                _redraw(drawn, text, size.columns or 80)
            elif text != drawn:
                say(f"{text}\n" if running else text)
            drawn = text
        if not running or is_gone(sys.stdout):
            return 0
        time.sleep(pause)


def _is_running(path: Path) -> bool:
    from daskpar.rundir.lock import holder

    return holder(path) is not None


def _redraw(before: str, text: str, width: int) -> None:
    """Put the text in the place of the last one."""
    if before:
        sys.stdout.write(f"\r\x1b[{rows_of(before, width)}A\x1b[J")
    say(text)


def cut_to_height(text: str, width: int, height: int) -> str:
    """The first lines of a text, as many as a terminal shows at once: what has scrolled out at its top can't
    be drawn over.
    """
    if rows_of(text, width) < height:
        return text
    lines = text.split("\n")
    kept: list[str] = []
    while len(kept) < len(lines) and rows_of("\n".join([*kept, lines[len(kept)]]), width) < height - 1:
        kept.append(lines[len(kept)])
    rest = len(lines) - len(kept)
    note = f"… {rest} more line{'s' if rest > 1 else ''}: `status` without --watch shows all"
    return "\n".join([*kept, cut_to(note, width - 1)])


def logs(arguments: argparse.Namespace) -> int:
    """Show where the logs of a run are, its errors, one mini-batch, or what its scripts print."""
    from daskpar.reports.run_status import logs_text

    asked = [bool(arguments.errors), bool(arguments.follow), arguments.mini_batch is not None]
    if sum(asked) > 1:
        raise UsageError("--errors, --follow and --mini-batch show different things: give one of them")
    path = run_directory(arguments.run)
    if arguments.mini_batch is not None:
        from daskpar.reports.one_mini_batch import mini_batch_text

        say(mini_batch_text(path, arguments.mini_batch, arguments.step))
    elif arguments.follow:
        return _until_left(lambda: _follow(path, arguments.step))
    else:
        say(logs_text(path, step=arguments.step, errors=arguments.errors))
    return 0


def _follow(path: Path, step: str | None) -> int:
    """Print what the scripts print, until the run has ended or nobody reads any more."""
    from daskpar.reports.follow import GrowingLogs
    from daskpar.reports.run_status import steps_of_job, steps_to_show
    from daskpar.rundir.run_directory import RunDirectory

    run = RunDirectory.open(path, lock=False)
    if step is not None and step not in steps_of_job(run):
        steps_to_show(run, step)  # says what is wrong
    growing = GrowingLogs({})
    while not is_gone(sys.stdout):
        running = _is_running(path)
        for folder in run.steps():
            if step in (None, folder.name):
                growing.steps.setdefault(folder.name, folder.logs)
        lines = growing.new_lines() if running else growing.rest()
        while (some := list(islice(lines, FOLLOW_LINES))) and not is_gone(sys.stdout):
            say("\n".join(some))
        if not running:
            break
        time.sleep(FOLLOW_SECONDS)
    return 0


def _until_left(watch: Callable[[], int]) -> int:
    """Watch until Ctrl-C, which is the way to leave, and no error."""
    try:
        return watch()
    except KeyboardInterrupt:
        return Interrupted.exit_code


def _width() -> int | None:
    """Characters of the terminal; None where the output goes elsewhere."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80 if sys.stdout.isatty() else None
    except (OSError, ValueError):
        return None
