"""Looks at the inputs that a step does not split (models, folders) when it starts and when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, cast

from daskpar.datastores import carried
from daskpar.rundir.seen_files import changes

START_SECONDS = 1.0
"""How long user code waits for the first look; a look that takes longer goes on beside it."""


class InputsBeside:
    """`look` says how the files of each input are now (`rundir.fingerprint.seen_beside`)."""

    def __init__(self, look: Callable[[], Mapping[str, object]]) -> None:
        self._look = look
        self._before: Mapping[str, object] | None = None
        self._thread = threading.Thread(
            target=carried(self._look_first), name="daskpar-inputs-beside", daemon=True
        )
        self._thread.start()

    def _look_first(self) -> None:
        try:
            self._before = self._look()
        except Exception:  # a store that refuses us; the script may have credentials of its own
            self._before = None

    def wait_begun(self) -> None:
        """Wait for the first look, for a while: user code may change what is still to be looked at."""
        self._thread.join(START_SECONDS)

    def changed(self) -> tuple[str, ...]:
        """At the end of the step: what has changed since it started, one sentence for each kind of change."""
        self._thread.join()
        if not self._before:
            return ()
        try:
            now = self._look()
        except Exception as error:
            why = str(error) or type(error).__name__
            return (f"whether its other inputs changed while the step ran is not known: {why}",)
        found = []
        for name, before in self._before.items():
            old, new = cast(Mapping[str, Any], before), cast(Mapping[str, Any], now.get(name, {}))
            found += [
                f"{change} since the step started: what it made of this input may be of either state"
                for change in changes(f"files of input {name}", old, new)
            ]
        return tuple(found)
