"""What commands make of their arguments: files, run directories, NAME=VALUE pairs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daskpar.batches.selection import selection
from daskpar.commands.output import say
from daskpar.errors import UsageError, nearest


def spec_options(arguments: argparse.Namespace) -> dict[str, dict[str, str]]:
    """What changes a spec, as arguments of the functions that read it."""
    return {
        "overrides": {**pairs(arguments.set, "--set"), **_inputs(arguments.input)},
        "datastores": pairs(arguments.datastore, "--datastore"),
        "components": pairs(arguments.component, "--component"),
        "assets": pairs(arguments.asset, "--asset"),
        "environments": pairs(arguments.environment, "--environment"),
    }


def _inputs(texts: Sequence[str]) -> dict[str, str]:
    """`--input NAME=DATA`, or `--input DATA` for the only input of a job that takes data, as overrides."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        named = sign and all(part.isidentifier() for part in name.split(".")) and not os.path.exists(text)
        found.update({f"inputs.{name}": value} if named else {"inputs": text})
    return found


def run_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What running and resuming both take."""
    return {
        **spec_options(arguments),
        "selection": selection(arguments.mini_batches, number(arguments.limit, "--limit")),
        "scheduler": arguments.scheduler,
        "compute": arguments.compute,
        "worker_processes": arguments.worker_processes,
        "dashboard": None if arguments.dashboard.lower() == "none" else arguments.dashboard,
        "display": not arguments.quiet,
        "summary_follows": True,
    }


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a mapping; UsageError for one without `=`."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"{option} {text!r}: write it as {option} NAME=VALUE")
        found[name.strip()] = value
    return found


def number(text: str | None, option: str) -> int | None:
    """A whole number; None where none is given. UsageError for anything else."""
    if text is not None and not (text.isascii() and text.isdigit()):
        raise UsageError(f"{option} {text!r} is no whole number")
    return None if text is None else int(text)


def spec_file(arguments: argparse.Namespace) -> Path:
    """The file of a job."""
    text = arguments.spec
    path = Path(text)
    if path.is_dir():
        raise UsageError(f"{text} is a folder; give the YAML file of the job in it")
    if not path.is_file():
        is_word = os.sep not in text and "." not in text
        hint = f" (verbs: {', '.join(arguments.verbs)})" if is_word else ""
        meant = nearest(text, arguments.verbs) if is_word else ""
        raise UsageError(f"there is no file {text or repr(text)}{hint}" + (f". {meant}" if meant else ""))
    return path


def run_folder(text: str | None) -> Path:
    """The run directory that is named; without a name the latest one here, which is said.

    UsageError for an empty name, which would mean the folder `runs` with all that is in it.
    """
    if text is not None:
        if not text.strip():
            raise UsageError("the name of a run is empty (a shell variable that is not set?): name the run")
        inside = Path("runs", text)
        return inside if not os.path.exists(text) and inside.is_dir() else Path(text)
    from daskpar.paths import shell_path
    from daskpar.rundir.find_runs import latest_run

    found = latest_run(Path.cwd())
    if found is None:
        raise UsageError(
            f"there is no run in {Path.cwd()} or its folder runs: name one, or look with `daskpar ls FOLDER`"
        )
    say(f"run: {shell_path(found)} (the latest)", sys.stderr)
    return found


def run_directory(text: str | None) -> Path:
    """The same, looked at: RunDirectoryError where it is none of ours, damaged, or leads elsewhere."""
    from daskpar.rundir.run_directory import RunDirectory

    return RunDirectory.open(run_folder(text), lock=False).path
