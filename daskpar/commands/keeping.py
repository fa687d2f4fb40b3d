"""The commands that take something out of run directories, or remove them: `report`, `export` and `clean`."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.commands.arguments import run_directory, run_folder
from daskpar.commands.output import report, say
from daskpar.errors import DaskparError, Interrupted, RunDirectoryError, UsageError

if TYPE_CHECKING:
    from daskpar.rundir.removal import Removable

_AGE = re.compile(r"(\d+(?:\.\d+)?) ?([smhdw]?)", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "": 86_400, "w": 604_800}


def export(arguments: argparse.Namespace) -> int:
    """Write the rows that are committed."""
    from daskpar.outputs.export import export_partial

    say(str(export_partial(run_directory(arguments.run), arguments.partial, step=arguments.step)))
    return 0


def report_page(arguments: argparse.Namespace) -> int:
    """Write the report of a run."""
    from daskpar.reports.run_facts import facts_of
    from daskpar.reports.run_report import ROWS_ASKED_FOR, write_report

    facts = facts_of(run_directory(arguments.run))
    path = Path(arguments.out) if arguments.out else Path(facts.directory) / "report.html"
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder: name the file, such as {path / 'report.html'}")
    write_report(facts, path, rows=ROWS_ASKED_FOR)
    say(str(path))
    return 0


def clean(arguments: argparse.Namespace) -> int:
    """Remove runs that have ended, after a question."""
    from daskpar.rundir.removal import removable, remove

    age = seconds_of(arguments.older_than)
    if arguments.keep < 0:
        raise UsageError(f"--keep {arguments.keep}: give a number from 0 on")
    code = 0
    wanted: list[Removable] = []
    for path, named in _chosen(arguments.run).items():
        try:
            found = removable(path)
        except DaskparError as error:
            code = report(error) if arguments.run else 0
            continue
        if found.running:
            say(f"{found.path} is kept: it is running ({found.running})", sys.stderr)
            code = RunDirectoryError.exit_code if named else code
        elif not age or time.time() - found.ended >= age:
            wanted.append(found)
    wanted = but_latest(wanted, arguments.keep)
    if not wanted:
        say("nothing was removed" if code else "nothing to remove")
        return code
    for found in wanted:
        say(found.in_words)
    if arguments.dry_run:
        say(f"{_runs(len(wanted))} would be removed")
        return code
    if not arguments.yes and not _agreed(len(wanted)):
        say("nothing was removed")
        return 0 if sys.stdin.isatty() else UsageError.exit_code
    for removed, found in enumerate(wanted):
        try:
            remove(found)
        except DaskparError as error:
            code = report(error)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted while {found.path} was being removed, after {removed} of {_runs(len(wanted))}; "
                "what is left of it is still known as a run: the same command goes on"
            ) from None
        else:
            say(f"removed {found.path}")
    return code


def but_latest(runs: list[Removable], keep: int) -> list[Removable]:
    """The runs without the latest `keep` of them, the oldest first, however they were named."""
    by_time = sorted(runs, key=lambda run: (run.started, run.path))
    return by_time[: max(0, len(by_time) - keep)]


def _chosen(names: list[str]) -> dict[Path, bool]:
    """The runs that are meant: those named themselves (True), and those below folders that are named."""
    from daskpar.rundir.find_runs import find_runs
    from daskpar.rundir.identity import is_run_directory

    chosen: dict[Path, bool] = {}
    for name in names or ["."]:
        path = run_folder(name)
        if path.is_dir() and not is_run_directory(path):
            found = [run.path for run in find_runs(Path(os.path.abspath(path)))]
            if not found and names:
                raise UsageError(f"{path} is no run, and there is none below it")
            chosen = {**dict.fromkeys(found, False), **chosen}
        else:
            chosen[Path(os.path.abspath(path))] = True
    return chosen


def _agreed(number: int) -> bool:
    """Ask; without a terminal nobody can answer."""
    if not sys.stdin.isatty():
        say(f"to remove {_runs(number)} without a question, give --yes", sys.stderr)
        return False
    try:
        answer = input(f"Remove {_runs(number)}? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def seconds_of(text: str) -> float:
    """`7d`, `12h`, `30m` or a number of days, in seconds."""
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--older-than {text!r}: write it as 7d, 12h, 30m or a number of days")
    return float(found[1]) * _UNITS[found[2].lower()]
