"""Profiles the functions of the entry script (`--profiling_module`), with `cProfile` or `profile`."""

from __future__ import annotations

import contextlib
import cProfile
import profile
import pstats
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from daskpar import atomic
from daskpar.processor.entry_script import Entry

SAVE_SECONDS = 5.0
"""A processor that is killed loses at most so much of its profile, and the call that it was killed in."""


class Profiling:
    """Profiles calls with `module` into the file `path`.

    What an earlier processor of that name left there is added to.
    """

    def __init__(self, module: str, path: str) -> None:
        self._profile = cProfile.Profile() if module == "cProfile" else None
        self._stats: pstats.Stats | None = None
        self._path = path
        self._saved = monotonic()
        with contextlib.suppress(Exception):  # none, or one that was cut off
            self._stats = pstats.Stats(path)

    def wrap(self, entry: Entry) -> Entry:
        """The entry script with each of its calls profiled."""
        return replace(
            entry,
            init=entry.init and self._profiled(entry.init),
            run=self._profiled(entry.run),
            shutdown=entry.shutdown and self._profiled(entry.shutdown),
        )

    def save(self, *, now: bool = False) -> None:
        """Write the profile, every few seconds or `now`. A disk that is full costs the profile alone."""
        if not now and monotonic() - self._saved < SAVE_SECONDS:
            return
        if self._profile is not None:
            self._add(self._profile)
            self._profile = cProfile.Profile()
        if self._stats is not None:
            path = Path(self._path)
            with (
                contextlib.suppress(OSError),
                atomic.replacing(path, durable=False, shared=True) as temporary,
            ):
                self._stats.dump_stats(temporary)
        self._saved = monotonic()

    def _profiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            returned = self._call(function, *arguments)
            if hasattr(returned, "__next__"):  # the work of a generator is done as it is taken
                returned = self._call(list, returned)
            return returned

        return call

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._profile is not None:
            return self._profile.runcall(function, *arguments)
        once = profile.Profile()  # one of these can't be used again after a call
        try:
            return once.runcall(function, *arguments)
        finally:
            self._add(once)

    def _add(self, profiled: cProfile.Profile | profile.Profile) -> None:
        with contextlib.suppress(TypeError):  # nothing was called
            if self._stats is None:
                self._stats = pstats.Stats(profiled)
            else:
                self._stats.add(profiled)
