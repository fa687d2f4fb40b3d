"""What a conda file asks for, as values: the Python, the packages of conda, and those of pip."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from daskpar.value_classes import frozen

_SPEC = re.compile(
    r"(?:(?P<channel>[^:\s]+)::)?(?P<name>[A-Za-z0-9_][\w.\-]*)"
    r"(?P<extras>\[[^\]=]*\])?\s*(?P<version>[^\[\s][^\[]*)?(?P<keys>\[.*\])?"
)
_KEY = re.compile(r"version\s*=\s*['\"]?([^'\",\]]+)")


@frozen(kw_only=True)
class CondaPackage:
    """One line of the dependencies."""

    name: str
    version: str
    """The versions that will do, as PyPI writes it (`==1.5.*`, `>=1,<2`); empty for any."""
    written: str
    clear: bool = True
    """Whether `version` says all that the line does: a choice of versions (`1.5|1.7`) has no counterpart."""


@frozen(kw_only=True)
class CondaFile:
    """A conda file."""

    channels: tuple[str, ...]
    python: CondaPackage | None
    packages: tuple[CondaPackage, ...]
    """Those of conda, without Python and pip."""
    pip: tuple[str, ...]
    """Lines for pip."""


def conda_file_of(content: Mapping[str, Any]) -> CondaFile:
    """The file with this content, which has a list of dependencies."""
    packages: list[CondaPackage] = []
    pip: list[str] = []
    for each in content.get("dependencies") or ():
        if isinstance(each, Mapping):
            pip += [str(line).strip() for line in each.get("pip") or () if str(line).strip()]
        else:
            packages.append(package_of(str(each)))
    return CondaFile(
        channels=tuple(str(channel) for channel in content.get("channels") or ()),
        python=next((package for package in packages if package.name == "python"), None),
        packages=tuple(package for package in packages if package.name not in ("python", "pip")),
        pip=tuple(pip),
    )


def package_of(line: str) -> CondaPackage:
    """What a line such as `conda-forge::numpy=1.26.*=py39_0` asks for."""
    found = _SPEC.fullmatch(line.strip())
    if found is None:
        return CondaPackage(name=line.strip(), version="", written=line, clear=False)
    version = (found["version"] or "").strip()
    if found["keys"] and (inside := _KEY.search(found["keys"])):
        version = inside[1].strip()
    text, clear = _as_on_pypi(version)
    return CondaPackage(name=found["name"].lower(), version=text, written=line.strip(), clear=clear)


def _as_on_pypi(version: str) -> tuple[str, bool]:
    """A choice of versions as PyPI writes it, and whether that says all of it."""
    if not version or version == "*":
        return "", True
    if "|" in version:
        return "", False
    clauses = [_clause(clause.strip()) for clause in version.split(",")]
    return ",".join(filter(None, clauses)), all(clause is not None for clause in clauses)


def _clause(text: str) -> str | None:
    """One condition; empty for none, None for one that is not understood."""
    if text in ("", "*", "=*"):
        return ""
    found = re.fullmatch(r"(===?|=|>=|<=|!=|~=|>|<)?\s*([\w.*+!\-]+?)(?:[=\s]+([\w.*+\-]+))?", text)
    if found is None:
        return None
    sign, number = found[1] or "", found[2]
    if sign in ("", "=") and not found[3]:  # `=1.5` is any 1.5.x, and `1.5` alone too, where a star says so
        exact = sign == "" and not number.endswith("*")
        return f"=={number}" if exact or number.endswith(".*") else f"=={number.rstrip('*').rstrip('.')}.*"
    if sign in ("", "=", "=="):
        return f"=={number}"
    return f"{sign}{number.removesuffix('.*') if sign not in ('!=', '==') else number}"
