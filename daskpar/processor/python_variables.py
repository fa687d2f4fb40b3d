"""The environment variables with which a step's own Python runs: what activating its environment sets."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from glob import escape, glob

_OF_ANOTHER = ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "CONDA_PREFIX",
               "CONDA_DEFAULT_ENV", "CONDA_PYTHON_EXE", "CONDA_PROMPT_MODIFIER")  # fmt: skip
"""What another Python's environment has set, and what would lead this one there."""
_UNSET = "***unset***"
"""How conda keeps a variable that was taken back."""
KEPT_VARIABLES = "daskpar-variables.json"
"""The `variables` of the conda file of which pip has built an environment: NAME -> value."""
_SCRIPT_SECONDS = 60.0
"""For the scripts by which packages of a conda environment set variables."""


def activated(python: str, given: Mapping[str, str]) -> dict[str, str]:
    """All variables of a process below `python`, where `given` are those of the process that starts it.

    `PATH` begins with its folder, so that `python` and `pip` in a command are its own. In a conda environment
    the scripts of its packages have their say, as after `conda activate`.
    """
    prefix = os.path.dirname(os.path.dirname(python))
    found = {name: value for name, value in given.items() if name not in _OF_ANOTHER}
    found["PATH"] = os.pathsep.join([os.path.dirname(python), given.get("PATH", os.defpath)])
    if os.path.isdir(os.path.join(prefix, "conda-meta")):
        found |= {"CONDA_PREFIX": prefix, "CONDA_DEFAULT_ENV": os.path.basename(prefix), "CONDA_SHLVL": "1"}
        found |= _set_by_packages(prefix, tuple(sorted(found.items())))
        # Of `variables` in a conda file, or `conda env config vars set`.
        return {**found, **_kept(os.path.join(prefix, "conda-meta", "state"), "env_vars")}
    if os.path.isfile(os.path.join(prefix, "pyvenv.cfg")):
        found["VIRTUAL_ENV"] = prefix
        found |= _kept(os.path.join(prefix, KEPT_VARIABLES), "variables")
    return found


def _kept(path: str, key: str) -> dict[str, str]:
    """Variables that an environment keeps in a file; none without one."""
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file).get(key) or {}
        return {str(name): str(value) for name, value in kept.items() if value != _UNSET}
    except (OSError, ValueError, AttributeError):
        return {}


@cache
def _set_by_packages(prefix: str, given: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """What the packages of a conda environment set; nothing where their scripts fail."""
    scripts = sorted(glob(os.path.join(escape(prefix), "etc", "conda", "activate.d", "*.sh")))
    if not scripts:
        return {}
    text = 'for script in "$@"; do . "$script" >/dev/null; done; exec env -0'
    try:
        done = subprocess.run(
            ["/bin/bash", "-c", text, "activate", *scripts],
            env=dict(given),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SCRIPT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode:
        return {}
    lines = (os.fsdecode(line).partition("=") for line in done.stdout.split(b"\0") if line)
    return {name: value for name, _, value in lines if name not in ("_", "SHLVL", "PWD", "OLDPWD")}
