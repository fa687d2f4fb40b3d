"""The command that runs one mini-batch in this process: `debug`."""

from __future__ import annotations

import argparse
from pathlib import Path

from daskpar.commands.arguments import number, run_folder, spec_options
from daskpar.commands.output import say
from daskpar.errors import JobFailed


def debug(arguments: argparse.Namespace) -> int:
    """Run one mini-batch here, with a debugger where it fails."""
    from daskpar.driver.debug import debug_here
    from daskpar.driver.trial import Stops

    given, source = spec_options(arguments), Path(arguments.source)
    trial = debug_here(
        source if source.is_file() else run_folder(arguments.source),
        arguments.mini_batch,
        step=arguments.step,
        **given,
        stops=Stops(at_once=arguments.pdb, port=number(arguments.listen, "--listen")),
        say=say,
    )
    return 0 if trial.succeeded else JobFailed.exit_code
