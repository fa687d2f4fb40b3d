"""How the environments of steps are had here: `--environment NAME=HOW`, and `daskpar.environments`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from daskpar.chosen_container import ChosenContainer
from daskpar.configured import configured
from daskpar.environments.container_choice import CONTAINERS, container_as_kept, container_of
from daskpar.errors import UsageError, nearest
from daskpar.jobspec.model import CommandStep, ParallelStep
from daskpar.value_classes import frozen

OURS, CHECK, BUILD = "ours", "check", "build"
WORDS = (OURS, CHECK, BUILD)
"""HOW in one word: this Python; the same, held to what the environment's conda file names; built from that
file.
"""
PLACES = ("python", "venv", "conda")
"""HOW with a place: an executable, the folder of a virtual environment, name or folder of a conda one."""
CONTAINER = "container"
"""HOW with the image of a container, or without: that which the environment names."""
FOR_ALL = "default"
"""The NAME for all environments that are not named."""
KEY = "environments"

WrittenHow = str | Mapping[str, object]
"""As `--environment` and the configuration have it."""


@frozen(kw_only=True)
class How:
    """One choice."""

    kind: str
    """One of `WORDS` or `PLACES`, or `CONTAINER`."""
    place: str = ""
    container: ChosenContainer | None = None
    """Of that kind."""
    source: str
    """Where it was made, as `plan` shows it."""


def how_of(name: str, written: object, source: str) -> How:
    """What a text or mapping means. UsageError, with what may be written, for one that means nothing."""
    if (container := container_of(written, source)) is not None:
        return How(kind=CONTAINER, container=container, source=source)
    if isinstance(written, Mapping):
        if len(written) != 1:
            raise _unknown(name, dict(written), source)
        ((kind, place),) = written.items()
        if place is True and kind in WORDS:
            return How(kind=str(kind), source=source)
        return how_of(name, f"{kind}:{place}", source)
    if not isinstance(written, str) or not written.strip():
        raise _unknown(name, written, source)
    text = written.strip()
    if text in WORDS:
        return How(kind=text, source=source)
    kind, colon, place = text.partition(":")
    if colon and kind in PLACES and place.strip():
        return How(kind=kind, place=_absolute(kind, place.strip()), source=source)
    if os.sep in text:
        return How(kind="python", place=_absolute("python", text), source=source)
    raise _unknown(name, text, source)


def _absolute(kind: str, place: str) -> str:
    if kind == "conda" and os.sep not in place:
        return place
    return os.path.abspath(os.path.expanduser(place))


def _unknown(name: str, written: object, source: str) -> UsageError:
    meant = nearest(str(written), [*WORDS, *PLACES, *CONTAINERS]) if isinstance(written, str) else ""
    return UsageError(
        f"{source}: {written!r} does not say how the environment {name} is had. {meant}{' ' * bool(meant)}"
        "Write the path of a Python or of its environment's folder, conda:NAME, venv:FOLDER, build (from its "
        "conda file), container or container:IMAGE, check (this Python, held to the conda file), or ours "
        "(this Python)"
    )


def as_kept(environments: Mapping[str, WrittenHow]) -> dict[str, WrittenHow]:
    """Choices as a run directory keeps them: places are absolute."""
    found: dict[str, WrittenHow] = {}
    for name, written in environments.items():
        how = how_of(name, written, f"--environment {name}")
        found[name] = (
            container_as_kept(how.container)
            if how.container is not None
            else f"{how.kind}:{how.place}"
            if how.place
            else how.kind
        )
    return found


class Choices:
    """The choices of a run: those of `--environment`, then those of Dask's configuration."""

    def __init__(self, given: Mapping[str, WrittenHow] | None = None) -> None:
        self._given = {
            str(name).removeprefix("azureml:"): how_of(str(name), written, f"--environment {name}")
            for name, written in (given or {}).items()
        }

    @cached_property
    def _configured(self) -> Mapping[str, How]:
        found = configured(KEY, {})
        if not isinstance(found, Mapping):
            raise UsageError(f"daskpar.{KEY} in Dask's configuration has to map names to how they are had")
        return {
            str(name).removeprefix("azureml:"): how_of(str(name), written, f"daskpar.{KEY}.{name}")
            for name, written in found.items()
        }

    def all_configured(self) -> Mapping[str, How]:
        """Those of Dask's configuration."""
        return self._configured

    def of(self, step: ParallelStep | CommandStep) -> How | None:
        """The choice for a step; None where none is made: this Python."""
        names = [*_names(step), FOR_ALL]
        for chosen in (self._given, self._configured):
            for name in names[:-1]:
                if name in chosen:
                    return chosen[name]
        for chosen in (self._given, self._configured):
            if FOR_ALL in chosen:
                return chosen[FOR_ALL]
        return None

    def check_names(self, steps: Iterable[ParallelStep | CommandStep]) -> None:
        """UsageError for a name that was given and that no step has."""
        known = dict.fromkeys(name for step in steps for name in _names(step))
        for name in self._given:
            if name != FOR_ALL and name not in known:
                named = ", ".join(known) or "none"
                raise UsageError(
                    f"--environment {name}: no step has an environment of that name (there are: {named}). "
                    f"{nearest(name, known)}".rstrip()
                )


def _names(step: ParallelStep | CommandStep) -> Iterator[str]:
    """What may stand for the environment of a step, the closest name first."""
    yield step.name
    if step.environment is not None:
        yield from step.environment.names
