"""The command `completion`: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import argparse
import sys

from daskpar.commands.output import write
from daskpar.errors import UsageError

SHELLS = ("bash", "zsh", "tcsh")

_PREAMBLE = {
    "bash": r"""
# Runs in this folder and in its folder `runs`; and any other folder. Names are compared and printed as they
# are: `compgen -W` would run what a name holds, such as $(...).
_daskpar_runs() {
  local found begun="${1#[\"\']}"
  begun="${begun//\\/}"
  for found in */run.json runs/*/run.json; do
    found="${found%/run.json}"
    [[ -e "$found/run.json" && "${found:0:${#begun}}" == "$begun" ]] && printf '%s\n' "$found"
  done
  compgen -d -- "$1"
}
# Jobs are YAML files.
_daskpar_specs() {
  compgen -f -X '!*.yml' -- "$1"
  compgen -f -X '!*.yaml' -- "$1"
  compgen -d -- "$1"
}
""",
    "zsh": """
_daskpar_runs() {
  local -a found
  found=(*/run.json(N:h) runs/*/run.json(N:h))
  compadd -a found
  _files -/
}
_daskpar_specs() { _files -g '*.(yml|yaml)' }
""",
}
COMPLETES = {
    "spec": {"bash": "_daskpar_specs", "zsh": "_daskpar_specs", "tcsh": "f"},
    "run": {"bash": "_daskpar_runs", "zsh": "_daskpar_runs", "tcsh": "d"},
    "folder": {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"},
    "run_dir": {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"},
    "partial": {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"},
}
"""Argument -> what completes it, for each shell."""


def completion(arguments: argparse.Namespace) -> int:
    """Print the completion for a shell."""
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise UsageError(
            "completion needs the package shtab: pip install shtab, into the Python that runs daskpar"
        ) from error
    _mark(arguments.parser)
    text = shtab.complete(
        arguments.parser, shell=arguments.shell, preamble=_PREAMBLE.get(arguments.shell, "")
    )
    if arguments.shell == "bash":
        # A folder is gone on with, not ended by a blank; and `daskpar JOB.yml` begins with a file.
        text = text.replace("complete -o bashdefault ", "complete -o filenames -o bashdefault -o default ")
    write(text + "\n", sys.stdout)
    return 0


def _mark(parser: argparse.ArgumentParser) -> None:
    """Say what completes each argument."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _mark(each)
        elif action.dest in COMPLETES:
            action.complete = COMPLETES[action.dest]  # type: ignore[attr-defined]
