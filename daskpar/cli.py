"""The command line `python -m daskpar`: a table of its verbs, and what each of them does."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from daskpar import _version
from daskpar.errors import DaskparError, Interrupted, UsageError, nearest
from daskpar.printable import printable
from daskpar.results import Status

if TYPE_CHECKING:
    from daskpar.driver.result import Run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        return run_command(list(sys.argv[1:] if argv is None else argv))
    except DaskparError as error:
        return _report(error)
    except KeyboardInterrupt:
        return _report(Interrupted("interrupted before anything ran"))


def run_command(argv: list[str]) -> int:
    """As `main`, but errors are raised."""
    if argv and argv[0] not in VERBS and argv[0] not in ("-h", "--help", "--version"):
        if argv[0].isalpha() and len(argv) > 1 and not Path(argv[0]).exists():
            raise UsageError(
                f"there is no command {argv[0]!r}. {nearest(argv[0], VERBS)} ({', '.join(VERBS)})"
            )
        argv = ["run", *argv]
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.verb is None:
        _print(parser.format_help().rstrip("\n"))
        return UsageError.exit_code
    return VERBS[arguments.verb].handler(arguments)


def _report(error: DaskparError) -> int:
    """Print what went wrong; the exit code that stands for it."""
    _print(f"daskpar: {error}", sys.stderr)
    return error.exit_code


def _print(text: str, stream: TextIO | None = None) -> None:
    """Print a text, on the output if not said otherwise; all verbs do it here. It can't steer the terminal.

    A reader that has gone (`| head`, a closed terminal) changes no exit code, nor do errors that can't be
    written. Raises DaskparError where output can't be written.
    """
    stream = stream or sys.stdout
    try:
        print(printable(text), file=stream, flush=True)
    except OSError as error:
        # What the stream still holds goes nowhere, else Python would complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is not sys.stderr and error.errno not in (errno.EPIPE, errno.EIO):
            raise DaskparError(f"its output could not be written: {error.strerror}") from error


# -- what the verbs do


def _run(arguments: argparse.Namespace) -> int:
    from daskpar import pipeline

    show_warning = (lambda text: _print(f"warning: {text}", sys.stderr)) if arguments.quiet else None
    options = pipeline.Options(show_warning=show_warning, **_run_options(arguments))
    return _show_end(pipeline.start(_file(arguments.spec), {}, arguments.run_dir, options))


def _resume(arguments: argparse.Namespace) -> int:
    from daskpar import pipeline

    return _show_end(
        pipeline.resume(
            arguments.run,
            retry_failed=arguments.retry_failed,
            allow_changes=arguments.allow_changes,
            **_run_options(arguments),
        )
    )


def _validate(arguments: argparse.Namespace) -> int:
    from daskpar import pipeline

    warnings = pipeline.validate(_file(arguments.spec), **_spec_options(arguments))
    for warning in warnings:
        _print(f"warning: {warning}")
    warned = f", {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
    _print(f"{arguments.spec}: no mistakes found{warned}")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    from daskpar.driver.plan_text import plan_text

    text, troubles = plan_text(_file(arguments.spec), **_spec_options(arguments))
    _print(text)
    for trouble in troubles:
        _report(UsageError(trouble))
    return UsageError.exit_code if troubles else 0


def _init(arguments: argparse.Namespace) -> int:
    from daskpar.driver.new_job import write_job

    folder = Path(arguments.folder)
    written, seen = write_job(arguments.data, folder)
    spec = next(str(path) for path in written if path.name == "pipeline.yml")
    _print(f"{arguments.data}: {seen}")
    _print("\n".join(f"  wrote {path}" for path in written))
    _print(f"Next: python -m daskpar plan {spec}, then python -m daskpar {spec}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from daskpar.reports.run_status import status_text

    _print(status_text(_run_directory(arguments.run)))
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    from daskpar.reports.run_status import logs_text

    _print(logs_text(_run_directory(arguments.run), step=arguments.step, errors=arguments.errors))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from daskpar.outputs.export import export_partial

    _print(str(export_partial(_run_directory(arguments.run), arguments.partial, step=arguments.step)))
    return 0


def _show_end(run: Run) -> int:
    _print(run.summary, sys.stdout if run.status == Status.COMPLETED else sys.stderr)
    return run.exit_code


# -- what they are given


def _spec_options(arguments: argparse.Namespace) -> dict[str, dict[str, str]]:
    """What changes a spec, as arguments of the functions that read it."""
    return {
        "overrides": {**pairs(arguments.set, "--set"), **_inputs(arguments.input)},
        "datastores": pairs(arguments.datastore, "--datastore"),
        "components": pairs(arguments.component, "--component"),
        "assets": pairs(arguments.asset, "--asset"),
    }


def _inputs(texts: Sequence[str]) -> dict[str, str]:
    """`--input NAME=DATA`, or `--input DATA` for the only input of a job that takes data, as overrides."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        named = sign and all(part.isidentifier() for part in name.split(".")) and not os.path.exists(text)
        found.update({f"inputs.{name}": value} if named else {"inputs": text})
    return found


def _run_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `pipeline.run` and `pipeline.resume` both take."""
    return {
        **_spec_options(arguments),
        "scheduler": arguments.scheduler,
        "compute": arguments.compute,
        "worker_processes": arguments.worker_processes,
        "dashboard": None if arguments.dashboard.lower() == "none" else arguments.dashboard,
        "display": not arguments.quiet,
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


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise UsageError(f"{text} is a folder; give the YAML file of the job in it")
    if not path.is_file():
        hint = f" (verbs: {', '.join(VERBS)})" if os.sep not in text and "." not in text else ""
        raise UsageError(f"there is no file {text}{hint}")
    return path


def _run_directory(text: str) -> Path:
    from daskpar.rundir.run_directory import RunDirectory

    return RunDirectory.open(text, lock=False).path


# -- the table of verbs


@dataclass(frozen=True)
class Option:
    """An argument of some verbs."""

    name: str
    settings: Mapping[str, Any]
    """Of `argparse.add_argument`."""
    excludes_others: bool
    """Whether at most one of the verb's options of this kind may be given."""


def option(name: str, help: str, *, excludes_others: bool = False, **settings: Any) -> Option:
    """An option; `settings` are those of `argparse.add_argument`."""
    return Option(name, {"help": help, **settings}, excludes_others)


def flag(name: str, help: str, *, excludes_others: bool = False) -> Option:
    """An option without a value."""
    return option(name, help, excludes_others=excludes_others, action="store_true")


@dataclass(frozen=True)
class Verb:
    """One command."""

    usage: str
    """What is written after `daskpar`."""
    text: str
    """What it does."""
    handler: Callable[[argparse.Namespace], int]
    """Does it; returns the exit code."""
    options: tuple[Option, ...]


SPEC = option("spec", "pipeline job, parallel or command component, or batch deployment (YAML)")
RUN_DIRECTORY = option("run", "run directory")
SPEC_OPTIONS = (
    option(
        "--set",
        "inputs.NAME=VALUE, or a compute setting such as instance_count=2, "
        "jobs.STEP.max_concurrency_per_instance=4 (repeatable)",
        action="append",
        default=[],
        metavar="NAME=VALUE",
    ),
    option(
        "--datastore",
        "folder or URL behind azureml://datastores/NAME (repeatable)",
        action="append",
        default=[],
        metavar="NAME=PLACE",
    ),
    option(
        "--input",
        "data for the job's input: DATA where it has one, as a batch deployment, or NAME=DATA (repeatable)",
        action="append",
        default=[],
        metavar="DATA",
    ),
    option(
        "--component",
        "file of a component that is registered in Azure ML, e.g. train=./train.yml (repeatable)",
        action="append",
        default=[],
        metavar="NAME=PATH",
    ),
    option(
        "--asset",
        "place of data or of a model registered in Azure ML, e.g. iris=./data (repeatable)",
        action="append",
        default=[],
        metavar="NAME=PATH",
    ),
)
RUN_OPTIONS = (
    *SPEC_OPTIONS,
    option(
        "--scheduler",
        "use a running Dask cluster, e.g. tcp://host:8786 (or its scheduler file)",
        excludes_others=True,
        metavar="ADDRESS",
    ),
    option(
        "--compute",
        "start the cluster described at daskpar.computes.NAME in Dask's configuration",
        excludes_others=True,
        metavar="NAME",
    ),
    flag("--worker-processes", "local nodes in processes of their own", excludes_others=True),
    option(
        "--dashboard",
        "address of the local Dask dashboard, or `none`",
        metavar="ADDRESS",
        default="127.0.0.1:8787",
    ),
    flag("--quiet", "no progress; the summary at the end and errors only"),
)

VERBS: Mapping[str, Verb] = {
    "run": Verb(
        "SPEC",
        "run the job of a YAML file (the same as: daskpar run SPEC)",
        _run,
        (
            SPEC,
            option(
                "--run-dir",
                "new folder for everything about this run (default runs/NAME-TIME)",
                metavar="DIR",
            ),
            *RUN_OPTIONS,
        ),
    ),
    "validate": Verb(
        "validate SPEC", "check a spec and say every mistake at once", _validate, (SPEC, *SPEC_OPTIONS)
    ),
    "plan": Verb(
        "plan SPEC",
        "show what would run, without user code: values and where each came from, mini-batches",
        _plan,
        (SPEC, *SPEC_OPTIONS),
    ),
    "resume": Verb(
        "resume RUN",
        "go on with a run where it was",
        _resume,
        (
            RUN_DIRECTORY,
            flag("--retry-failed", "run the failed mini-batches of a completed run again too"),
            flag("--allow-changes", "go on although code, inputs or arguments have changed since"),
            *RUN_OPTIONS,
        ),
    ),
    "init": Verb(
        "init DATA",
        "write a job for data: a spec, an entry script and, for rows, an MLTable",
        _init,
        (
            option("data", "file or folder (CSV, TSV, JSON lines, Parquet, images, texts, others)"),
            option(
                "--folder",
                "where to write; nothing there is replaced (default: here)",
                default=".",
                metavar="DIR",
            ),
        ),
    ),
    "status": Verb("status RUN", "how far a run is, or how it ended", _status, (RUN_DIRECTORY,)),
    "logs": Verb(
        "logs RUN",
        "where the logs of a run are, and its first errors",
        _logs,
        (
            RUN_DIRECTORY,
            option("--step", "of this step only"),
            flag("--errors", "the errors with their traces"),
        ),
    ),
    "export": Verb(
        "export RUN --partial FILE",
        "write the rows committed so far, in order",
        _export,
        (
            RUN_DIRECTORY,
            option("--partial", "where to write them", metavar="FILE", required=True),
            option("--step", "of this step (needed where several aggregate rows)"),
        ),
    ),
}
"""Name -> verb, in the order in which a user needs them."""

DESCRIPTION = """\
Run Azure ML pipeline jobs with parallel steps on Dask, here or on a cluster.

{verbs}

Exit codes: 0 completed, 1 the job failed, 2 bad spec or usage, 3 infrastructure lost, 130 interrupted.
"""


class _Parser(argparse.ArgumentParser):
    """Its messages repeat what it was given."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message), file)


def _parser() -> argparse.ArgumentParser:
    lines = [f"  {f'daskpar {verb.usage}':<24}  {verb.text}" for verb in VERBS.values()]
    parser = _Parser(
        prog="daskpar",
        description=DESCRIPTION.format(verbs="\n".join(lines)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"daskpar {_version.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="|".join(VERBS))
    for name, verb in VERBS.items():
        added = verbs.add_parser(name, help=verb.text, description=verb.text, allow_abbrev=False)
        for each in verb.options:
            if not each.excludes_others:
                added.add_argument(each.name, **each.settings)
        if excluding := [each for each in verb.options if each.excludes_others]:
            group = added.add_mutually_exclusive_group()
            for each in excluding:
                group.add_argument(each.name, **each.settings)
    return parser
