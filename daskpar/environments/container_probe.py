"""Looks into an image that was chosen for steps: whether it is there, and what its Python has."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache

from daskpar.chosen_container import ChosenContainer
from daskpar.environments.python_probe import PROBE_SECONDS, QUESTIONS, Looked, found_in
from daskpar.errors import UsageError
from daskpar.processor.container_line import container_name, python_program, run_line
from daskpar.processor.container_runtime import Runtime, last_words, remove, runtime_of

NOT_STARTED, NOT_RUN, NOT_FOUND = 125, 126, 127
"""Exit codes of a runtime whose container has not run its program."""


@dataclass(frozen=True)
class Image:
    """An image that is there."""

    runtime: Runtime
    id: str
    """Of its content."""


def image_of(container: ChosenContainer) -> Image:
    """The image of a container, which its runtime fetches where it is not there.

    UsageError, with the runtime's own words, where it can't be had.
    """
    runtime = runtime_of(container.runtime)
    if found := _id_of(runtime, container.image):
        return Image(runtime, found)
    policy = next((each.partition("=")[2] for each in container.options if each.startswith("--pull=")), "")
    if policy == "never":
        raise UsageError(
            f"the image {container.image} is not on this machine, and --pull=never says that it stays so"
        )
    print(f"{runtime.name} pull {container.image} ...", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            [runtime.program, "pull", container.image],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd="/",
        )
    except OSError as error:
        raise UsageError(f"{runtime.program} can't be started: {error.strerror or error}") from None
    if done.returncode == 0 and (found := _id_of(runtime, container.image)):
        return Image(runtime, found)
    raise UsageError(
        f"the image {container.image} is not here and can't be pulled by {runtime.name}: {last_words(done.stderr)}"
    )


def _id_of(runtime: Runtime, image: str) -> str:
    """Empty where it is not on this machine. UsageError where the runtime does not work."""
    asked = runtime.ask("image", "inspect", "--format", "{{.Id}}", image)
    if asked.returncode == 0:
        return asked.stdout.strip().removeprefix("sha256:")[:12]
    # A service that does not run says so at each command.
    info = runtime.ask("info")
    if info.returncode:
        raise UsageError(f"{runtime.program} does not work here: {last_words(info.stderr)}")
    return ""


def look_in(container: ChosenContainer, modules: tuple[str, ...] = ()) -> Looked:
    """Start the Python of an image and ask it; as `python_probe.look_at`."""
    image = image_of(container)
    found = _look_in(container, modules, image)
    return replace(found, python=replace(found.python, container=container, image_id=image.id))


@cache
def _look_in(container: ChosenContainer, modules: tuple[str, ...], image: Image) -> Looked:
    what = f"the image {container.image}"
    name = container_name("probe", os.urandom(4).hex())
    line = run_line(
        image.runtime, container, python_program(container.python, ["-c", QUESTIONS, *modules]), name=name
    )
    try:
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        remove(image.runtime, name)
        raise UsageError(
            f"a container of {container.image} does not answer within {PROBE_SECONDS:g} s"
        ) from None
    except OSError as error:
        raise UsageError(f"{image.runtime.program} can't be started: {error.strerror or error}") from None
    if done.returncode == NOT_STARTED:
        raise UsageError(
            f"{image.runtime.name} can't start a container of {container.image}: {last_words(done.stderr)}"
        )
    if done.returncode in (NOT_RUN, NOT_FOUND):
        program = container.python or "a Python"
        raise UsageError(
            f"{what} does not have {program}, in which the step could run: {last_words(done.stderr)}"
        )
    return found_in(f"the Python of {what}", container.python, done)
