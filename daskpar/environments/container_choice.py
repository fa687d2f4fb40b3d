"""What may be written of a container: `container:IMAGE`, or a mapping with the runtime and its options."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace

from daskpar.chosen_container import ChosenContainer
from daskpar.configured import configured
from daskpar.errors import UsageError, nearest
from daskpar.processor.containers.container_options import check_image, check_options

CONTAINERS = ("container", "podman", "docker")
"""Words that a choice of a container begins with; the last two name the runtime too."""
KEY = "containers"
"""Of Dask's configuration, for all containers."""
_KEYS = ("container", "runtime", "options", "python")


def container_of(written: object, source: str) -> ChosenContainer | None:
    """The container that a text or mapping means; None where it means none.

    UsageError, which names `source`, for what can't be understood.
    """
    if isinstance(written, str):
        word, colon, image = written.strip().partition(":")
        if word not in CONTAINERS or (colon and not image.strip()):
            return None
        return _container(word, image.strip(), {}, source)
    if not isinstance(written, Mapping):
        return None
    words = [word for word in CONTAINERS if word in written]
    if not words:
        return None
    if len(words) > 1:
        raise UsageError(f"{source}: {words[0]} and {words[1]} are given; write one of them")
    known = (words[0], *_KEYS[1:])
    for key in written:
        if key not in known:
            meant = nearest(str(key), known)
            raise UsageError(
                f"{source}: {key!r} says nothing of a container ({', '.join(known)} do). {meant}".rstrip()
            )
    named = written[words[0]]
    if named is not True and not (isinstance(named, str) and named.strip()):
        raise UsageError(f"{source}: write `{words[0]}: IMAGE`, or `true` for the image that the spec names")
    return _container(words[0], "" if named is True else str(named).strip(), written, source)


def _container(word: str, image: str, written: Mapping[str, object], source: str) -> ChosenContainer:
    try:
        check_image(image)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    runtime = written.get("runtime", "" if word == "container" else word)
    python = written.get("python", "")
    if not isinstance(runtime, str) or not isinstance(python, str):
        raise UsageError(f"{source}: runtime and python are texts: a program, and a path in the image")
    options = _options(written.get("options", ()), source)
    try:
        check_options(options)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    if os.sep in runtime:
        runtime = os.path.abspath(os.path.expanduser(runtime))
    return ChosenContainer(image=image, runtime=runtime.strip(), options=options, python=python.strip())


def with_defaults(container: ChosenContainer) -> ChosenContainer:
    """The container with what Dask's configuration says of all of them (`daskpar.containers`): the runtime
    where it names none, and options before its own. UsageError for what can't be understood.
    """
    written, source = configured(KEY, {}), f"daskpar.{KEY}"
    if not written:
        return container
    if not isinstance(written, Mapping) or not set(written) <= {"runtime", "options"}:
        raise UsageError(f"{source} in Dask's configuration may have runtime and options, and nothing else")
    default = _container("container", "", written, source)
    options = (*default.options, *container.options)
    return replace(container, runtime=container.runtime or default.runtime, options=options)


def _options(written: object, source: str) -> tuple[str, ...]:
    if isinstance(written, str):
        try:
            return tuple(shlex.split(written))
        except ValueError as error:
            raise UsageError(f"{source}: the options {written!r} can't be read: {error}") from None
    if isinstance(written, list | tuple) and all(isinstance(each, str | int | float) for each in written):
        return tuple(str(each) for each in written)
    raise UsageError(f'{source}: options are a list of texts, as ["--gpus", "all"]')


def container_as_kept(container: ChosenContainer) -> dict[str, object]:
    """A choice as a run directory keeps it."""
    return {
        "container": container.image or True,
        "runtime": container.runtime,
        "options": list(container.options),
        "python": container.python,
    }
