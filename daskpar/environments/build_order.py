"""What is built for an environment, and where: its content alone decides, so that it is built once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict

from daskpar.environments.conda_file import CondaFile, conda_file_of
from daskpar.environments.pip_lines import add_places, expanded
from daskpar.jobspec.named_environment import Environment, file_and_line
from daskpar.processor.shared_library import cache_folder
from daskpar.value_classes import frozen

READY = "daskpar-environment.json"
"""The file that is written into an environment when it is complete."""


@frozen(kw_only=True)
class BuildOrder:
    """One environment to be built."""

    name: str
    """As messages call it."""
    conda: str
    """The content of the conda file, as JSON; its lines for pip mean the same in any folder."""
    folder: str
    """Where relative paths in its pip section start."""
    also: tuple[str, ...]
    """What tables need beside it, for pip."""
    prefix: str
    """Where it is built."""
    where: str
    """`file:line` of the environment in the spec."""

    @classmethod
    def of(cls, text: str) -> BuildOrder:
        """The order that `text` is of."""
        found = json.loads(text)
        return cls(**{**found, "also": tuple(found["also"])})

    @property
    def text(self) -> str:
        """The order as text, as it travels to nodes."""
        return json.dumps(asdict(self))

    @property
    def file(self) -> CondaFile:
        """The conda file."""
        return conda_file_of(json.loads(self.conda))

    @property
    def python(self) -> str:
        """The executable."""
        return os.path.join(self.prefix, "bin", "python")

    def is_built(self) -> bool:
        """Whether it is there, complete."""
        return os.path.isfile(os.path.join(self.prefix, READY))

    @property
    def log(self) -> str:
        """What the tools said."""
        return f"{self.prefix}.log"


def environments_folder() -> str:
    """Where environments are built: this user's, on each host."""
    return os.path.join(cache_folder(), "environments")


def order_of(environment: Environment, also: Sequence[str] = ()) -> BuildOrder:
    """What to build for an environment that has a conda file.

    `also`: packages that its step needs in any case; those that the conda file names are left out. UsageError
    for a list of packages that can't be read.
    """
    assert environment.conda
    folder = folder_of(environment)
    conda = _with_lists_within(environment.conda, folder)
    file = conda_file_of(json.loads(conda))
    named = {package.name for package in file.packages} | {_name(line) for line in file.pip}
    more = tuple(package for package in also if package not in named)
    content = hashlib.blake2b(digest_size=6)
    for part in (conda, *more):
        content.update(part.encode() + b"\0")
    add_places(content, file.pip)
    name = environment.name or str(json.loads(conda).get("name") or "environment")
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return BuildOrder(
        name=name,
        conda=conda,
        folder=folder,
        also=more,
        prefix=os.path.join(environments_folder(), f"{word}-{content.hexdigest()}"),
        where=environment.where,
    )


def folder_of(environment: Environment) -> str:
    """Where relative paths in the pip section of its conda file start."""
    return os.path.dirname(os.path.abspath(environment.conda_file or file_and_line(environment.where)[0]))


def _with_lists_within(conda: str, folder: str) -> str:
    content = json.loads(conda)
    lines = [
        {**each, "pip": expanded(map(str, each["pip"]), folder)}
        if isinstance(each, dict) and isinstance(each.get("pip"), list)
        else each
        for each in content.get("dependencies") or ()
    ]
    return conda if lines == content.get("dependencies") else json.dumps({**content, "dependencies": lines})


def _name(line: str) -> str:
    return re.split(r"[\s\[<>=!~;@]", line.strip(), maxsplit=1)[0].lower()
