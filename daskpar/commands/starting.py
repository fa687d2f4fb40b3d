"""The command that writes a first job: `init`."""

from __future__ import annotations

import argparse
from pathlib import Path

from daskpar.commands.output import say
from daskpar.paths import shell_path


def init(arguments: argparse.Namespace) -> int:
    """Write a job for the data that is named."""
    from daskpar.driver.new_job import write_job

    written, seen = write_job(arguments.data, Path(arguments.folder))
    spec = next(str(path) for path in written if path.name == "pipeline.yml")
    say(f"{arguments.data}: {seen}")
    say("\n".join(f"  wrote {path}" for path in written))
    shown = shell_path(spec)
    say(f"Next: python -m daskpar plan {shown}, then python -m daskpar {shown}")
    return 0
