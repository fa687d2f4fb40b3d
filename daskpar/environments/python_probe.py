"""Looks at a Python that was chosen for steps: what it is, and whether it has what they need."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from glob import escape, glob

from daskpar.chosen_python import OLDEST, ChosenPython
from daskpar.errors import UsageError
from daskpar.processor.program_answer import answer_of
from daskpar.processor.python_variables import activated
from daskpar.value_classes import frozen

OLDEST_PACKAGES = {"pandas": "1.5", "pyarrow": "12.0"}
"""The oldest ones by which processors read tables."""
PROBE_SECONDS = 120.0
"""For its answer, which takes a twentieth of a second, and longer from a network file system."""
QUESTIONS = """
import json, sys
print(json.dumps(list(sys.version_info[:3])), flush=True)
import importlib.util
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except Exception:
        return ""
def there(name):
    try:
        return name in sys.builtin_module_names or importlib.util.find_spec(name) is not None
    except Exception:
        return True
print(json.dumps({
    "packages": [[name, version(name)] for name in ("pandas", "pyarrow", "numpy") if version(name)],
    "missing": [name for name in sys.argv[1:] if not there(name)],
    "implementation": sys.implementation.name,
    "executable": sys.executable,
}))
"""


@frozen
class Looked:
    """What was found."""

    python: ChosenPython
    missing: tuple[str, ...] = ()
    """Modules that were asked for, and that it does not have."""


def look_at(python: str, modules: tuple[str, ...] = (), *, for_commands: bool = False) -> Looked:
    """Start a Python and ask it; `modules`: first names of modules that it should have.

    UsageError for one that can't be started, is none, or is too old: `for_commands`, in which nothing of
    daskpar runs, any will do.
    """
    return _look_at(python, modules, for_commands, _state_of(python))


def _state_of(python: str) -> tuple[int, ...]:
    """What is another one once packages were installed or removed."""
    libraries = os.path.join(escape(os.path.dirname(os.path.dirname(python))), "lib", "python*", "*-packages")
    own = os.path.join(escape(os.path.expanduser("~")), ".local", "lib", "python*", "site-packages")
    found = []
    for place in [python, *sorted(glob(libraries)), *sorted(glob(own))]:
        with contextlib.suppress(OSError):
            found.append(os.stat(place).st_mtime_ns)
    return tuple(found)


@cache
def _look_at(python: str, modules: tuple[str, ...], for_commands: bool, state: tuple[int, ...]) -> Looked:
    command = [python, "-c", QUESTIONS, *modules]
    done = answer_of(command, PROBE_SECONDS, activated(python, os.environ))
    return found_in(python, python, done, for_commands=for_commands)


def found_in(
    what: str, python: str, done: subprocess.CompletedProcess[str], *, for_commands: bool = False
) -> Looked:
    """What the answers to `QUESTIONS` say; `python` empty: where it says itself that it is.

    UsageError, which calls it `what`, for one that is no Python, or too old.
    """
    lines = done.stdout.splitlines()
    try:
        version = tuple(int(part) for part in json.loads(lines[0]))
    except (IndexError, ValueError, TypeError):
        raise UsageError(f"{what} is no Python that works{_its_words(done)}") from None
    if version[:2] < OLDEST and not for_commands:
        oldest = ".".join(map(str, OLDEST))
        raise UsageError(
            f"{what} is Python {'.'.join(map(str, version))}; processors run in Python {oldest} and newer"
        )
    try:
        found = json.loads(lines[-1])
        packages = tuple((str(name), str(version)) for name, version in found["packages"])
    except (ValueError, TypeError, KeyError):
        if for_commands:  # Python 2 and the like
            return Looked(ChosenPython(python=python, version=".".join(map(str, version))))
        raise UsageError(f"{what} is no Python that works{_its_words(done)}") from None
    if found["implementation"] != "cpython" and not for_commands:
        raise UsageError(f"{what} is {found['implementation']}; processors run in CPython")
    chosen = ChosenPython(
        python=python or str(found["executable"]), version=".".join(map(str, version)), packages=packages
    )
    return Looked(chosen, tuple(found["missing"]))


def _its_words(done: subprocess.CompletedProcess[str]) -> str:
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return f" (exit code {done.returncode}): {said[-1]}" if said else f" (exit code {done.returncode})"


def lacks(python: ChosenPython, packages: Sequence[str]) -> str:
    """What it lacks of packages that daskpar needs in it, with the line that installs it; else empty."""
    there = dict(python.packages)
    missing = [name for name in packages if name not in there]
    old = [name for name in packages if name in there and _older(there[name], OLDEST_PACKAGES[name])]
    if missing:
        why = "the step's mini-batches are tables" if "pandas" in packages else "the step needs it"
        what = f"has no {' and no '.join(missing)}, and {why}"
    elif old:
        what = ", ".join(f"has {name} {there[name]}, and {OLDEST_PACKAGES[name]} is needed" for name in old)
    else:
        return ""
    wanted = missing or [f"{name}>={OLDEST_PACKAGES[name]}" for name in old]
    return f"{name_of(python)} {what}: {how_to_have(python, wanted)}"


def name_of(python: ChosenPython) -> str:
    """A Python as messages call it."""
    return python.python if python.container is None else f"the image {python.container.image}"


def how_to_have(python: ChosenPython, packages: Sequence[str]) -> str:
    """What to do to have packages in a Python."""
    if python.container is None:
        return install_line(python.python, packages)
    return f"take one that has it (`pip install {' '.join(map(shlex.quote, packages))}` when it is made)"


def _older(version: str, oldest: str) -> bool:
    def number(text: str) -> list[int]:
        return [int(part) for part in text.split(".")[:2] if part.isdigit()]

    return number(version) < number(oldest)


def install_line(python: str, packages: Sequence[str]) -> str:
    """The command that installs packages into a Python."""
    return f"{python} -m pip install {' '.join(map(shlex.quote, packages))}"
