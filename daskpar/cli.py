"""The command line `python -m daskpar`: the table of its verbs. What each does is in `commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from daskpar import _version
from daskpar.commands.output import report, say
from daskpar.errors import DaskparError, Interrupted, UsageError, nearest
from daskpar.printable import printable
from daskpar.value_classes import frozen


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        return run_command(list(sys.argv[1:] if argv is None else argv))
    except DaskparError as error:
        return report(error)
    except KeyboardInterrupt:
        return report(Interrupted("interrupted before anything ran"))


def run_command(argv: list[str]) -> int:
    """As `main`, but errors are raised."""
    if argv and argv[0] not in VERBS and argv[0] not in ("-h", "--help", "--version"):
        if argv[0].isalpha() and len(argv) > 1 and not Path(argv[0]).exists():
            raise UsageError(
                f"there is no command {argv[0]!r}. {nearest(argv[0], VERBS)} ({', '.join(VERBS)})"
            )
        argv = ["run", *argv]
    if argv and argv[0] in ("run", "resume") and not {"--dry-run", "--dryrun"}.isdisjoint(argv):
        raise UsageError(
            "there is no --dry-run: `daskpar plan SPEC` shows what would run, with every value and the "
            "mini-batches, and runs no user code; `daskpar validate SPEC` only checks the spec"
        )
    whole = parser(argv[:1] if argv and argv[0] in VERBS and argv[0] != "completion" else VERBS)
    arguments = whole.parse_args(argv)
    if arguments.verb is None:
        say(whole.format_help().rstrip("\n"))
        return UsageError.exit_code
    arguments.parser, arguments.verbs = whole, tuple(VERBS)
    return VERBS[arguments.verb].handler(arguments)


def _later(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A function of `commands`, whose module is imported when it is called."""

    def call(arguments: argparse.Namespace) -> int:
        function: Callable[[argparse.Namespace], int]
        function = getattr(import_module(f"daskpar.commands.{module}"), name)
        return function(arguments)

    return call


# -- the table of verbs


@frozen
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


@frozen
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
RUN_DIRECTORY = option("run", "run directory (default: the latest one here, or in ./runs)", nargs="?")
JSON = flag("--json", "as JSON, of a shape that stays")
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
    option(
        "--environment",
        "how an environment, or that of a step, is had: the path of a Python or of its folder, conda:NAME, "
        "build, container:IMAGE, check or ours (repeatable)",
        action="append",
        default=[],
        metavar="NAME=HOW",
    ),
)
RUN_OPTIONS = (
    *SPEC_OPTIONS,
    option(
        "--mini-batches",
        "only these of each parallel step, by index, such as 0-2 or 0,5,7-9; "
        "steps that need such a step are not run, and `resume` runs the rest",
        metavar="INDICES",
    ),
    option("--limit", "only the first N mini-batches of each parallel step, or of those chosen", metavar="N"),
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
        _later("running", "run"),
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
        "validate SPEC",
        "check a spec and say every mistake at once",
        _later("checking", "validate"),
        (SPEC, *SPEC_OPTIONS, JSON),
    ),
    "plan": Verb(
        "plan SPEC",
        "show what would run, without user code: values and where each came from, mini-batches",
        _later("checking", "plan"),
        (
            SPEC,
            option(
                "--measure",
                "run N mini-batches of each step on the side, spread evenly, and say what the whole takes",
                metavar="N",
            ),
            *SPEC_OPTIONS,
            JSON,
        ),
    ),
    "debug": Verb(
        "debug SPEC|RUN",
        "run init() and one mini-batch in this process, with a debugger where it fails",
        _later("debugging", "debug"),
        (
            option("source", "spec (YAML), or run directory: of a run, its first failure"),
            option("--step", "the step, where several have mini-batches"),
            option(
                "--mini-batch",
                "its index, a file (path or end of it) or key (store=7); default: "
                "the first failure of a run, the first one of a spec",
                metavar="NAME",
            ),
            flag("--pdb", "stop before run() too", excludes_others=True),
            option(
                "--listen",
                "wait for an editor's debugger (debugpy) at this port of this machine",
                excludes_others=True,
                metavar="PORT",
            ),
            *SPEC_OPTIONS,
        ),
    ),
    "resume": Verb(
        "resume RUN",
        "go on with a run where it was",
        _later("running", "resume"),
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
        _later("starting", "init"),
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
    "ls": Verb(
        "ls FOLDER",
        "the runs below a folder, the latest last",
        _later("looking", "ls"),
        (option("folder", "where to look (default: here)", nargs="?", default="."), JSON),
    ),
    "status": Verb(
        "status RUN",
        "how far a run is, or how it ended",
        _later("looking", "status"),
        (RUN_DIRECTORY, flag("--watch", "show it until the run ends"), JSON),
    ),
    "logs": Verb(
        "logs RUN",
        "where the logs of a run are, and its first errors",
        _later("looking", "logs"),
        (
            RUN_DIRECTORY,
            option("--step", "of this step only"),
            flag("--errors", "the errors with their traces"),
            flag("--follow", "what the scripts print, until the run ends"),
            option("--mini-batch", "all that is known of this one", type=int, metavar="N"),
        ),
    ),
    "report": Verb(
        "report RUN",
        "write report.html: all about a run on one page that stands alone",
        _later("keeping", "report_page"),
        (
            RUN_DIRECTORY,
            option("--out", "where to write it (default RUN/report.html)", metavar="FILE"),
        ),
    ),
    "export": Verb(
        "export RUN --partial FILE",
        "write the rows committed so far, in order",
        _later("keeping", "export"),
        (
            RUN_DIRECTORY,
            option("--partial", "where to write them", metavar="FILE", required=True),
            option("--step", "of this step (needed where several aggregate rows)"),
        ),
    ),
    "clean": Verb(
        "clean RUN ...",
        "remove runs that have ended; outputs elsewhere stay",
        _later("keeping", "clean"),
        (
            option("run", "run directories, or folders below which all are meant (default: here)", nargs="*"),
            option("--older-than", "those that ended so long ago: 7d, 12h, 30m", default="0", metavar="AGE"),
            option("--keep", "all but the latest N of them", type=int, default=0, metavar="N"),
            flag("--dry-run", "only say what would be removed"),
            flag("--yes", "remove without a question"),
        ),
    ),
    "environments": Verb(
        "environments",
        "the environments that were built here for steps, and the containers that are configured",
        _later("keeping_environments", "environments"),
        (
            option(
                "--build",
                "build those of this spec that have a conda file",
                metavar="SPEC",
                excludes_others=True,
            ),
            option(
                "--remove",
                "remove this one, by its name or that of its folder, or `all` (repeatable)",
                action="append",
                default=[],
                metavar="NAME",
                excludes_others=True,
            ),
            JSON,
        ),
    ),
    "schema": Verb(
        "schema", "the JSON schema of a spec, for editors and checkers", _later("checking", "schema"), ()
    ),
    "completion": Verb(
        "completion SHELL",
        "what a shell needs to complete all this",
        _later("completing", "completion"),
        (option("shell", "which shell", choices=("bash", "zsh", "tcsh")),),
    ),
}
"""Name -> verb, in the order in which a user needs them."""

DESCRIPTION = """\
Run Azure ML pipeline jobs with parallel steps on Dask, here or on a cluster.

{verbs}

RUN is a run directory, or its name below runs/; without it the latest run here is taken. FOLDER: here.
Exit codes: 0 completed, 1 the job failed, 2 bad spec or usage, 3 infrastructure lost, 4 partial as asked
(--mini-batches, --limit), 130 interrupted.
"""


class _Parser(argparse.ArgumentParser):
    """Its messages repeat what it was given."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message), file)


def parser(wanted: Collection[str]) -> argparse.ArgumentParser:
    """The parser of all verbs; those `wanted` have their options too, which takes a while for all of them."""
    usages = {name: f"daskpar {verb.usage}" for name, verb in VERBS.items()}
    width = max(map(len, usages.values()))
    lines = [f"  {usages[name]:<{width}}  {verb.text}" for name, verb in VERBS.items()]
    whole = _Parser(
        prog="daskpar",
        description=DESCRIPTION.format(verbs="\n".join(lines)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"daskpar {_version.__version__}")
    verbs = whole.add_subparsers(dest="verb", metavar="|".join(VERBS))
    for name, verb in VERBS.items():
        added = verbs.add_parser(name, help=verb.text, description=verb.text, allow_abbrev=False)
        if name in wanted:
            _add_options(added, verb.options)
    return whole


def _add_options(verb: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    for each in options:
        if not each.excludes_others:
            verb.add_argument(each.name, **each.settings)
    if excluding := [each for each in options if each.excludes_others]:
        group = verb.add_mutually_exclusive_group()
        for each in excluding:
            group.add_argument(each.name, **each.settings)
