"""What a spec says of the environment of a step, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from daskpar.value_classes import frozen


@frozen(kw_only=True)
class Environment:
    """What a spec says of the environment of a step."""

    name: str = ""
    """Empty where it has none."""
    version: str = ""
    image: str = ""
    conda: str = ""
    """What the conda file says, as JSON; empty without one."""
    conda_file: str = ""
    """Its path, as messages show it; empty for one inside the spec."""
    dockerfile: str = ""
    """`build:` of an image, as `FOLDER/Dockerfile`."""
    trouble: str = ""
    """What is wrong with it, in one sentence: it can't be built, but code may run in this Python."""
    where: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called where it is said how it is had, the closest first."""
        if not self.name:
            return ()
        versioned = (f"{self.name}:{self.version}",) if self.version else ()
        return (*versioned, self.name)

    @property
    def in_words(self) -> str:
        """As messages call it."""
        if self.name:
            return f"the environment {self.name}"
        return f"the environment at {self.where}"

    @property
    def conda_content(self) -> Mapping[str, Any] | None:
        """What the conda file says; None without one."""
        found: Mapping[str, Any] | None = json.loads(self.conda) if self.conda else None
        return found


def file_and_line(where: str) -> tuple[str, int | None]:
    """The two parts of `file:line`; no line where there is none, as of a job that has no file."""
    file, _, line = where.rpartition(":")
    return (file, int(line)) if line.isdigit() else (where, None)


def not_built(step: str, environment: Environment) -> str:
    """The note on an environment that is not used: code runs in this Python."""
    return f"The environment of {step!r} ({environment.where}) is not built: code runs in this Python."
