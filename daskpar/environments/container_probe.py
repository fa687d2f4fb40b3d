"""Looks into an image that was chosen for steps: whether it is there, and what its Python has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from daskpar.chosen_container import ChosenContainer
from daskpar.environments.python_probe import PROBE_SECONDS, QUESTIONS, Looked, found_in
from daskpar.errors import UsageError
from daskpar.processor.containers.container_line import container_name, python_program, run_line
from daskpar.processor.containers.container_runtime import Runtime, last_words, remove, runtime_of
from daskpar.value_classes import frozen

NOT_STARTED, NOT_RUN, NOT_FOUND = 125, 126, 127
"""Exit codes of a runtime whose container has not run its program."""


@frozen
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
    print(f"{runtime.name} fetches the image {container.image} ...", file=sys.stderr, flush=True)
    # By what will start it, so that options and the runtime's own settings say whether and how it is fetched.
    done = _run(runtime, container, ["/bin/sh", "-c", ":"], None)
    if found := _id_of(runtime, container.image):
        return Image(runtime, found)
    raise UsageError(
        f"the image {container.image} is not here, and {runtime.name} can't fetch it: "
        f"{last_words(done.stderr)}"
    )


def known_image(container: ChosenContainer) -> tuple[Runtime, str]:
    """The runtime of a container here, and what is known of its image: empty where that is not here, or not
    named. UsageError where there is no runtime that works.
    """
    runtime = runtime_of(container.runtime)
    return runtime, _id_of(runtime, container.image) if container.image else ""


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
    program = python_program(container.python, ["-c", QUESTIONS, *modules])
    done = _run(image.runtime, container, program, PROBE_SECONDS)
    if done.returncode in (NOT_STARTED, NOT_RUN):
        raise UsageError(
            f"{image.runtime.name} can't start a container of {container.image}: {last_words(done.stderr)}"
        )
    if done.returncode == NOT_FOUND:
        raise UsageError(
            f"{what} has no {container.python or 'Python'}, in which the step could run: "
            f"{last_words(done.stderr)}"
        )
    return found_in(f"the Python of {what}", container.python, done)


def _run(
    runtime: Runtime, container: ChosenContainer, program: Sequence[str], seconds: float | None
) -> subprocess.CompletedProcess[str]:
    """Run a program of the image in a container that sees nothing of this machine."""
    name = container_name("look", os.urandom(4).hex())
    try:
        return subprocess.run(
            run_line(runtime, container, program, name=name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        remove(runtime, name)
        raise UsageError(f"a container of {container.image} does not answer within {seconds:g} s") from None
    except OSError as error:
        raise UsageError(f"{runtime.program} can't be started: {error.strerror or error}") from None
    except BaseException:  # as Ctrl-C: the container would go on
        remove(runtime, name)
        raise
