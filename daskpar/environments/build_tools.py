"""Chooses by what an environment is built on this machine: conda or one of its kind, uv, or pip."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from daskpar.chosen_python import OLDEST
from daskpar.environments.build_order import BuildOrder
from daskpar.environments.conda_file import CondaFile
from daskpar.environments.conda_names import on_pypi, why_not
from daskpar.errors import UsageError
from daskpar.value_classes import frozen

CONDA_KIND = ("micromamba", "mamba", "conda")
"""Programs that read a conda file, the quickest first."""
_VARIABLES = {"micromamba": "MAMBA_EXE", "mamba": "MAMBA_EXE", "conda": "CONDA_EXE"}


@frozen(kw_only=True)
class BuildPlan:
    """The commands that build an environment, one after the other."""

    tool: str
    """As messages call it."""
    commands: tuple[tuple[str, ...], ...]
    conda_file: str = ""
    """What commands read in the file PREFIX.yml; empty where none does."""
    requirements: str = ""
    """The same for PREFIX.txt, the list of packages for pip."""


def plan_of(order: BuildOrder) -> BuildPlan:
    """How to build an environment here. UsageError, with what to do, where nothing here can."""
    file = order.file
    _check_python(file)
    for name in CONDA_KIND:
        if program := _program(name):
            return _by_conda(order, name, program)
    return _by_pip(order, file)


def _check_python(file: CondaFile) -> None:
    if file.python is None or not file.python.version:
        return
    oldest = ".".join(map(str, OLDEST))
    if not any(fits(f"3.{minor}", file.python.version) for minor in range(OLDEST[1], 40)):
        raise UsageError(
            f"its conda file names {file.python.written}, and processors run in Python {oldest} and newer: "
            "name such a one"
        )


def _program(name: str) -> str:
    """Where a program of conda's kind is; empty where it is not."""
    given = os.environ.get(_VARIABLES[name], "")
    if os.path.basename(given) == name and os.access(given, os.X_OK):
        return given
    return shutil.which(name) or ""


def _by_conda(order: BuildOrder, name: str, program: str) -> BuildPlan:
    how = (
        ("create", "-y") if name == "micromamba" else ("env", "create", *(("-y",) if name == "mamba" else ()))
    )
    command = (program, *how, "-p", order.prefix, "-f", f"{order.prefix}.yml")
    return BuildPlan(tool=name, commands=(command,), conda_file=_with_what_we_need(order))


def _with_what_we_need(order: BuildOrder) -> str:
    """Its conda file with a Python and what daskpar needs there; JSON is YAML."""
    content, file = json.loads(order.conda), order.file
    more = [] if file.python is not None else ["python"]
    return json.dumps({**content, "dependencies": [*content["dependencies"], *more, *order.also]})


def _by_pip(order: BuildOrder, file: CondaFile) -> BuildPlan:
    requirements = requirements_of(file, order.also)
    listed = f"{order.prefix}.txt"
    python = _python_for(file)
    if uv := _uv():
        # uv fetches one that is not here, and takes no other release than that which is named.
        wanted = python or (file.python.version if file.python is not None else "")
        return BuildPlan(
            tool="uv",
            commands=(
                (uv, "venv", "-q", "--python", wanted, order.prefix),
                (uv, "pip", "install", "--python", order.python, "-r", listed),
            ),
            requirements="\n".join([*requirements, ""]),
        )
    if not python:
        assert file.python is not None
        raise UsageError(
            f"its conda file names {file.python.written}, and there is no such Python here, nor micromamba, "
            "mamba, conda or uv, which would fetch one: install one of them, or name a Python that is there "
            f"({', '.join(versions_here())})"
        )
    return BuildPlan(
        tool="pip",
        commands=(
            (python, "-m", "venv", order.prefix),
            (order.python, "-m", "pip", "install", "--disable-pip-version-check", "-r", listed),
        ),
        requirements="\n".join([*requirements, ""]),
    )


def _uv() -> str:
    """Where uv is, which may be installed beside daskpar; empty where it is not."""
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    return shutil.which("uv") or (beside if os.access(beside, os.X_OK) else "")


def requirements_of(file: CondaFile, also: Sequence[str] = ()) -> list[str]:
    """The packages of a conda file as lines for pip.

    UsageError that lists all that have no counterpart on PyPI.
    """
    without = [
        f"{package.written} ({why_not(package.name) or 'a choice that PyPI has no words for'})"
        for package in file.packages
        if why_not(package.name) or not package.clear
    ]
    if without:
        raise UsageError(
            f"there is no micromamba, mamba or conda here, and PyPI has no counterpart of "
            f"{'; '.join(without)}: install one of these programs, or leave it out of the conda file"
        )
    ours = [f"{on_pypi(package.name)}{package.version}" for package in file.packages]
    return list(dict.fromkeys([*ours, *file.pip, *also]))


def fits(minor: str, versions: str) -> bool:
    """Whether some release of a minor version of Python (`3.9`) will do."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        wanted = SpecifierSet(versions)
    except InvalidSpecifier:
        return False
    return any(wanted.contains(f"{minor}.{micro}") for micro in range(40))


def _python_for(file: CondaFile) -> str:
    """A Python of this machine that will do; empty for none. This one comes first, then newer ones."""
    versions = file.python.version if file.python is not None else ""
    for version, python in pythons_here():
        if not versions or _contains(versions, version):
            return python
    return ""


def _contains(versions: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(versions).contains(version)
    except InvalidSpecifier:
        return False


def versions_here() -> list[str]:
    """The versions of Python on this machine."""
    return list(dict.fromkeys(version for version, _ in pythons_here()))


@cache
def pythons_here() -> tuple[tuple[str, str], ...]:
    """Version and executable of each Python on this machine that may be the base of an environment."""
    ours = ".".join(map(str, sys.version_info[:3]))
    found = [(ours, os.path.realpath(sys.executable) if not _in_conda() else sys.executable)]
    for path in _candidates():
        asked = subprocess.run(
            [path, "-c", "import sys, venv; print('%d.%d.%d' % sys.version_info[:3])"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        version = asked.stdout.strip()
        if asked.returncode or not re.fullmatch(r"\d+\.\d+\.\d+", version):
            continue
        if tuple(map(int, version.split(".")))[:2] >= OLDEST:
            found.append((version, path))
    others = sorted(found[1:], key=lambda each: tuple(map(int, each[0].split("."))), reverse=True)
    return (found[0], *others)


def _in_conda() -> bool:
    return os.path.isdir(os.path.join(sys.base_prefix, "conda-meta"))


def _candidates() -> Iterator[str]:
    seen: set[str] = set()
    places = [shutil.which(f"python3.{minor}") or "" for minor in range(OLDEST[1], 20)]
    root = Path(os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv"))
    places += map(str, sorted(root.glob("versions/3.*/bin/python")))
    for place in filter(None, places):
        real = os.path.realpath(place)
        if real not in seen:
            seen.add(real)
            yield place
