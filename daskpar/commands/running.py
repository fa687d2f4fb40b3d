"""The commands that run a job: `run` and `resume`."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from daskpar.cells import cells
from daskpar.commands.arguments import run_folder, run_options, spec_file
from daskpar.commands.output import say
from daskpar.results import Status

if TYPE_CHECKING:
    from daskpar.driver.result import Run


def run(arguments: argparse.Namespace) -> int:
    """Run the job of a YAML file."""
    from daskpar.driver.options import Options
    from daskpar.processor.prestart import started_early

    spec = spec_file(arguments)
    show_warning = (lambda text: say(f"warning: {text}", sys.stderr)) if arguments.quiet else None
    options = Options(show_warning=show_warning, **run_options(arguments))
    with started_early(wanted=options.is_local):
        from daskpar.driver.start_run import start_run

        return _show_end(start_run(spec, {}, arguments.run_dir, options))


def resume(arguments: argparse.Namespace) -> int:
    """Go on with a run."""
    from daskpar.driver.options import Options
    from daskpar.processor.prestart import started_early

    folder = run_folder(arguments.run)
    options = Options(
        retry_failed=arguments.retry_failed,
        allow_changes=arguments.allow_changes,
        **run_options(arguments),
    )
    with started_early(wanted=options.is_local):
        from daskpar.driver.start_run import resume_run

        return _show_end(resume_run(folder, options))


def _show_end(run: Run) -> int:
    well = run.status in (Status.COMPLETED, Status.PARTIAL)
    from daskpar.reports.terminal_writer import terminal_size

    stream = sys.stdout if well else sys.stderr
    say(
        commands_folded(run.summary, terminal_size(stream).columns) if stream.isatty() else run.summary,
        stream,
    )
    return run.exit_code


def commands_folded(summary: str, width: int) -> str:
    """The summary for a terminal: where its commands and what they do are wider, these stand below."""
    head, mark, table = summary.rpartition("\nNext:\n")
    lines = table.split("\n")
    if not mark or all(cells(line) < width for line in lines):
        return summary
    return head + mark + "\n".join(_BESIDE.sub(r"\1\n      \2", line) for line in lines)


_BESIDE = re.compile(r"^(  \S.*\S) {2,}(\S.*)$")
"""A command, and what it does."""
