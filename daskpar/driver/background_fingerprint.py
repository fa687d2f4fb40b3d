"""Finds out on a thread of its own what a step depends on, while the step plans and runs already."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from daskpar.rundir.fingerprint import INPUTS


class BackgroundFingerprint:
    """The fingerprint of a step, in two parts: all but the input files (`begin`), then those (`find`).

    What is `known` from an earlier process of the run is not looked at again.
    """

    def __init__(
        self,
        find: Callable[[], Mapping[str, object]],
        known: Mapping[str, object],
        begin: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._find = find
        self._begin = begin
        self._found = dict(known)
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._trouble: Exception | None = None

    def start(self, save: Callable[[Mapping[str, object]], None]) -> None:
        """Begin; `save` gets what is found while the step still runs, and is never called after `close`."""
        if INPUTS not in self._found:
            self._thread = threading.Thread(
                target=self._look, args=(save,), name="daskpar-fingerprint", daemon=True
            )
            self._thread.start()

    def wait_begun(self) -> None:
        """After `start`: wait until all but the input files is saved. Raises what stood in the way.

        No code of the user runs before that: it might change what is still to be looked at.
        """
        if self._thread is not None:
            self._begun.wait()
        if not self._found and self._trouble is not None:
            raise self._trouble

    def close(self, seconds: float | None = None) -> dict[str, object]:
        """What is known; the input files too, if looking at them ends within `seconds` (None: it is awaited).

        Later finds are dropped.
        """
        if self._thread is not None:
            self._thread.join(seconds)
        with self._lock:
            self._closed = True
            return self._found

    @property
    def gap(self) -> str:
        """After `close`: a sentence where the input files are not known, else an empty text."""
        if INPUTS in self._found:
            return ""
        error = self._trouble
        why = f" ({str(error) or type(error).__name__})" if error is not None else " in time"
        return (
            f"not all input files could be looked at{why}: when this run is resumed, nobody knows whether "
            "some are new or gone"
        )

    def _look(self, save: Callable[[Mapping[str, object]], None]) -> None:
        try:
            if not self._found:
                self._add(self._begin(), save)
            self._begun.set()
            if INPUTS not in self._found:
                self._add({INPUTS: self._find()}, save)
        except Exception as error:
            # A full disk, a store that refuses: the step's own work may not need what was asked for here.
            self._trouble = error
        finally:
            self._begun.set()

    def _add(self, found: Mapping[str, object], save: Callable[[Mapping[str, object]], None]) -> None:
        with self._lock:
            if not self._closed:
                together = {**self._found, **found}
                save(together)
                self._found = together
