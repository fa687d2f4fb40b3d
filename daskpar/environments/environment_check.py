"""Holds this Python to the conda file of a step's environment: what it lacks, or has in another version."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata

from daskpar.environments.build_order import folder_of
from daskpar.environments.conda_file import CondaFile, CondaPackage, conda_file_of
from daskpar.environments.conda_names import RUNNERS, on_pypi, why_not
from daskpar.environments.pip_lines import expanded
from daskpar.errors import Problem, UsageError
from daskpar.jobspec.model import PipelineJob
from daskpar.jobspec.named_environment import Environment, file_and_line
from daskpar.masking import hidden


def differences(job: PipelineJob) -> tuple[Problem, ...]:
    """What the environments of steps that run in this Python name and it has not: one problem each."""
    found: dict[str, Problem] = {}
    for step in job.steps:
        chosen = "python" in step.sources  # whoever has chosen this Python knows
        if not chosen and step.python is None and step.environment is not None:
            for problem in environment_problems(step.environment, step.name):
                found.setdefault(str(problem), problem)
    return tuple(found.values())


def environment_problems(environment: Environment, step: str) -> list[Problem]:
    """The same for the environment of one step; nothing for one without a conda file."""
    file, line = file_and_line(environment.where)

    def problem(what: str, hint: str = "") -> Problem:
        return Problem(file=file, line=line, path="", what=what, hint=hint)

    if environment.trouble:
        return [problem(f"{environment.in_words}: {environment.trouble}")]
    content = environment.conda_content
    if content is None:
        return []
    asked = conda_file_of(content)
    try:
        asked = replace(asked, pip=tuple(expanded(asked.pip, folder_of(environment))))
    except UsageError as error:
        return [problem(f"the conda file of {environment.in_words} can't be used: {error}")]
    differ = [(hidden(text), hidden(line)) for text, line in _differences(asked)]
    if not differ:
        return []
    install = [name for _, name in differ if name]
    name = environment.names[-1] if environment.names else step
    python = os.path.basename(sys.executable)
    hint = f"`--environment {name}=build` builds it"
    if install:
        packages = " ".join(map(shlex.quote, install))
        hint += f"; here, `{python} -m pip install {packages}` installs what is missing"
    return [
        problem(
            f"{environment.in_words} is not built, and this Python ({sys.executable}) differs from its conda "
            f"file: {'; '.join(text for text, _ in differ)}.",
            f"{hint}.",
        )
    ]


def _differences(file: CondaFile) -> Iterator[tuple[str, str]]:
    """What differs, in words, and what pip would install for it."""
    if file.python is not None and (text := _python(file.python)):
        yield text, ""
    for package in file.packages:
        if why_not(package.name) or not package.clear:
            continue
        name = on_pypi(package.name)
        if text := _package(name, package.version, package.written):
            yield text, f"{name}{package.version}"
    yield from _of_pip(file.pip)


def _of_pip(lines: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    from packaging.requirements import InvalidRequirement, Requirement

    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:  # an option, a file, a URL: only pip knows what that brings
            continue
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        if text := _package(wanted.name, str(wanted.specifier), line):
            yield text, line


def _python(wanted: CondaPackage) -> str:
    if not wanted.version or _some_of(str(sys.version_info[0]), wanted.version):
        return ""
    return f"it names {wanted.written}, and this is Python {'.'.join(map(str, sys.version_info[:2]))}"


def _package(name: str, versions: str, written: str) -> str:
    """What is wrong with a package here; empty where it is there in the major version that is asked for."""
    if name.lower() in RUNNERS:
        return ""
    try:
        here = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"no {name} ({written})"
    except Exception:  # metadata of somebody else's package: whatever is wrong with it tells nothing
        return ""
    if not versions or _some_of(here.split(".")[0], versions):
        return ""
    return f"{name} {here} ({written})"


def _some_of(beginning: str, versions: str) -> bool:
    """Whether some version that begins like this will do: `1` of `>=1.5,<2`, not `2`."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        wanted = SpecifierSet(versions)
        tried = [f"{beginning}.0", f"{beginning}.99999"]
        for one in wanted:
            named = Version(one.version.removesuffix(".*"))
            if f"{named}.".startswith(f"{beginning}."):
                following = ".".join(map(str, [*named.release[:-1], named.release[-1] + 1]))
                tried += [str(named), f"{named}.1", following]
        return any(wanted.contains(version, prereleases=True) for version in tried)
    except (InvalidSpecifier, InvalidVersion):
        return True
