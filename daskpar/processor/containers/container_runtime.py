"""The program that starts containers on this machine: podman, docker, or one that takes the same options."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache

from daskpar.errors import UsageError
from daskpar.processor.program_answer import answer_of
from daskpar.value_classes import frozen

KNOWN = ("podman", "docker")
"""Looked for in this order: the first needs no service and no rights."""
ANSWER_SECONDS = 60.0
"""For an answer of a runtime about itself or an image; it takes a tenth of a second."""
END_SECONDS = 20.0
"""For a runtime to kill and remove a container."""


@frozen
class Runtime:
    """A runtime that is there."""

    program: str
    """Path."""
    is_podman: bool
    """Else it is docker, or behaves like it."""
    is_rootless: bool = False
    """Whether root in its containers is this user outside: podman for all but root, docker where it is set
    up like that.
    """

    @property
    def name(self) -> str:
        """For messages."""
        return os.path.basename(self.program)

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a short command of it. UsageError where it does not answer."""
        return answer_of([self.program, *arguments], ANSWER_SECONDS)


def runtime_of(name: str) -> Runtime:
    """The runtime of that name or path here; without a name the first that is there. UsageError for none."""
    return _runtime_of(name, os.environ.get("PATH", os.defpath))


@cache
def _runtime_of(name: str, path: str) -> Runtime:
    program = _program(name, path)
    said = Runtime(program, False).ask("--version")
    if said.returncode:
        raise UsageError(
            f"{program} --version ends with exit code {said.returncode}: {last_words(said.stderr)}"
        )
    if "podman" in said.stdout.lower():  # `docker` may be podman by another name
        return Runtime(program, True, os.geteuid() != 0)
    if os.geteuid() == 0:
        return Runtime(program, False)
    how = Runtime(program, False).ask("info", "--format", "{{.SecurityOptions}}")
    return Runtime(program, False, "rootless" in how.stdout)


def _program(name: str, path: str) -> str:
    if os.sep in name:
        if not os.access(name, os.X_OK) or os.path.isdir(name):
            raise UsageError(f"there is no program at {name}, which is to start its container")
        return name
    for each in [name] if name else KNOWN:
        if found := shutil.which(each, path=path):
            return os.path.abspath(found)
    what = f"there is no {name} here" if name else f"there is neither {' nor '.join(KNOWN)} here"
    raise UsageError(
        f"{what} to start its container with: install {'it' if name else 'one of them'}, or say that the "
        "environment is had without a container"
    )


def last_words(text: str) -> str:
    """The line of what a runtime said that tells most: the last error, else the last line."""
    said = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in said if re.search("error|denied|not found|no such", line, re.IGNORECASE)]
    return (errors or said or ["it said nothing"])[-1]


def remove(runtime: Runtime, name: str) -> None:
    """Kill a container with all in it, and remove it; nothing where it is not there. Never raises."""
    try:
        subprocess.run(
            removal_line(runtime, name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=END_SECONDS,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired):
        pass  # what runs in it has been ended otherwise as far as that is possible


def removal_line(runtime: Runtime, name: str) -> list[str]:
    """The command that does so."""
    return [runtime.program, "rm", "-f", name]
