"""The command line: `python -m daskpar SPEC` and its verbs. Turns errors into a message and an exit code."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from daskpar import _version
from daskpar.errors import DaskparError, UsageError, nearest

VERBS = ("run", "validate", "plan", "resume", "status", "logs", "export")

DESCRIPTION = """\
Run Azure ML pipeline jobs with parallel steps on Dask, here or on a cluster.

  daskpar SPEC              run the job of a YAML file (the same as: daskpar run SPEC)
  daskpar validate SPEC     check it and say every mistake at once
  daskpar plan SPEC         show what would run: effective values and where each came from, mini-batches
  daskpar resume RUN        go on with a run where it was
  daskpar status RUN        how far a run is, or how it ended
  daskpar logs RUN          where its logs are, and the first errors
  daskpar export RUN --partial FILE   the rows committed so far, in order

Exit codes: 0 completed, 1 the job failed, 2 bad spec or usage, 3 infrastructure lost, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        return run_command(given)
    except DaskparError as error:
        _say(f"daskpar: {error}", sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        _say("daskpar: interrupted before anything ran", sys.stderr)
        return 130


def _say(text: str, stream: TextIO | None = None) -> None:
    """Print a text, on the output if not said otherwise; all verbs do it here.

    A reader that has gone (`| head`, a closed terminal) changes no exit code, nor do errors that can't be
    written. Raises DaskparError where output can't be written.
    """
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        _nobody_reads(stream)
        if stream is not sys.stderr and error.errno not in (errno.EPIPE, errno.EIO):
            raise DaskparError(f"its output could not be written: {error.strerror}") from error


def _nobody_reads(stream: TextIO) -> None:
    """Send what a stream still holds nowhere, so that Python's own end does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
        _say(parser.format_help().rstrip("\n"))
        return UsageError.exit_code
    handler: Callable[[argparse.Namespace], int] = arguments.handler
    return handler(arguments)


def _parser() -> argparse.ArgumentParser:

    parser = argparse.ArgumentParser(
        prog="daskpar",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"daskpar {_version.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="|".join(VERBS))

    def verb(name: str, handler: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(handler=handler)
        return added

    run = verb("run", _run, "run the job of a YAML file")
    run.add_argument("spec", help="pipeline job, parallel component or command component (YAML)")
    run.add_argument(
        "--run-dir", metavar="DIR", help="new folder for everything about this run (default runs/NAME-TIME)"
    )
    _spec_options(run)
    _cluster_options(run)

    validate = verb("validate", _validate, "check a spec and say every mistake at once")
    validate.add_argument("spec")
    _spec_options(validate)

    plan = verb("plan", _plan, "show what would run, without running user code")
    plan.add_argument("spec")
    _spec_options(plan)

    resume = verb("resume", _resume, "go on with a run where it was")
    resume.add_argument("run", help="run directory")
    resume.add_argument(
        "--retry-failed", action="store_true", help="run the failed mini-batches of a completed run again too"
    )
    resume.add_argument(
        "--allow-changes",
        action="store_true",
        help="go on although code, inputs or arguments have changed since",
    )
    _spec_options(resume)
    _cluster_options(resume)

    status = verb("status", _status, "how far a run is, or how it ended")
    status.add_argument("run", help="run directory")

    logs = verb("logs", _logs, "where the logs of a run are, and its first errors")
    logs.add_argument("run", help="run directory")
    logs.add_argument("--step", help="of this step only")
    logs.add_argument("--errors", action="store_true", help="the errors with their traces")

    export = verb("export", _export, "write the rows committed so far, in order")
    export.add_argument("run", help="run directory")
    export.add_argument("--partial", metavar="FILE", required=True, help="where to write them")
    export.add_argument("--step", help="of this step (needed where several aggregate rows)")
    return parser


def _spec_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="inputs.NAME=VALUE, or a compute setting such as instance_count=2, jobs.STEP.max_concurrency_per_instance=4 (repeatable)",
    )
    parser.add_argument(
        "--datastore",
        action="append",
        default=[],
        metavar="NAME=PLACE",
        help="folder or URL behind azureml://datastores/NAME (repeatable)",
    )


def _cluster_options(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use a running Dask cluster, e.g. tcp://host:8786 (or its scheduler file)",
    )
    where.add_argument(
        "--compute",
        metavar="NAME",
        help="start the cluster described at daskpar.computes.NAME in Dask's configuration",
    )
    where.add_argument(
        "--worker-processes", action="store_true", help="local nodes in processes of their own"
    )
    parser.add_argument(
        "--dashboard",
        metavar="ADDRESS",
        default="127.0.0.1:8787",
        help="address of the local Dask dashboard, or `none`",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="no progress; the summary at the end and errors only"
    )


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a mapping; UsageError for one without `=`."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"{option} {text!r}: write it as {option} NAME=VALUE")
        found[name.strip()] = value
    return found


def _run(arguments: argparse.Namespace) -> int:
    from daskpar import pipeline

    if arguments.quiet:
        for warning in pipeline.validate(_file(arguments.spec), pairs(arguments.set, "--set")):
            _say(f"warning: {warning}", sys.stderr)
    ended = pipeline.run(
        _file(arguments.spec),
        overrides=pairs(arguments.set, "--set"),
        datastores=pairs(arguments.datastore, "--datastore"),
        run_dir=arguments.run_dir,
        scheduler=arguments.scheduler,
        compute=arguments.compute,
        worker_processes=arguments.worker_processes,
        dashboard=_dashboard(arguments.dashboard),
        display=not arguments.quiet,
    )
    return _show_end(ended)


def _resume(arguments: argparse.Namespace) -> int:
    from daskpar import pipeline

    ended = pipeline.resume(
        arguments.run,
        overrides=pairs(arguments.set, "--set"),
        datastores=pairs(arguments.datastore, "--datastore"),
        retry_failed=arguments.retry_failed,
        allow_changes=arguments.allow_changes,
        scheduler=arguments.scheduler,
        compute=arguments.compute,
        worker_processes=arguments.worker_processes,
        dashboard=_dashboard(arguments.dashboard),
        display=not arguments.quiet,
    )
    return _show_end(ended)


def _show_end(ended: object) -> int:
    from daskpar.driver.result import Run

    assert isinstance(ended, Run)
    stream = sys.stdout if ended.status == "completed" else sys.stderr
    _say(ended.summary, stream)
    return ended.exit_code


def _validate(arguments: argparse.Namespace) -> int:
    from daskpar import pipeline

    datastores = pairs(arguments.datastore, "--datastore")
    warnings = pipeline.validate(_file(arguments.spec), pairs(arguments.set, "--set"), datastores)
    for warning in warnings:
        _say(f"warning: {warning}")
    warned = f", {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
    _say(f"{arguments.spec}: no mistakes found{warned}")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    from daskpar.driver.plan_text import plan_text

    text, troubles = plan_text(
        _file(arguments.spec), pairs(arguments.set, "--set"), pairs(arguments.datastore, "--datastore")
    )
    _say(text)
    for trouble in troubles:
        _say(f"daskpar: {trouble}", sys.stderr)
    return UsageError.exit_code if troubles else 0


def _status(arguments: argparse.Namespace) -> int:
    from daskpar.reports.run_status import status_text

    _say(status_text(_run_directory(arguments.run)))
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    from daskpar.reports.run_status import logs_text

    _say(logs_text(_run_directory(arguments.run), step=arguments.step, errors=arguments.errors))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from daskpar.outputs.export import export_partial

    _say(str(export_partial(_run_directory(arguments.run), arguments.partial, step=arguments.step)))
    return 0


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


def _dashboard(text: str) -> str | None:
    return None if text.lower() == "none" else text
