"""Finds out what a step depends on (its fingerprint), on a thread of its own, while the step already runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from daskpar.datastores import carried
from daskpar.rundir.fingerprint import INPUTS


class BackgroundFingerprint:
    """The fingerprint of a step, in two parts: `look_at_rest` (code, values), then `look_at_inputs` (files).

    The second may take long. What an `earlier` process of the run has found is not looked at again.
    """

    def __init__(
        self,
        look_at_inputs: Callable[[], Mapping[str, object]],
        earlier: Mapping[str, object],
        look_at_rest: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._look_at_inputs = look_at_inputs
        self._look_at_rest = look_at_rest
        self._found = dict(earlier)
        self._thread: threading.Thread | None = None
        self._rest_known = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._trouble: Exception | None = None

    def start(self, save: Callable[[Mapping[str, object]], None]) -> None:
        """Start the thread; `save` gets what is found while the step runs, never after `close`."""
        if INPUTS not in self._found:
            self._thread = threading.Thread(
                target=carried(self._look_at_all), args=(save,), name="daskpar-fingerprint", daemon=True
            )
            self._thread.start()

    def wait_for_code(self) -> None:
        """After `start`: wait until the first part, with the step's code, is saved. Raises what went wrong.

        No code of the user runs before that: it might change its own files before they are looked at.
        """
        if self._thread is not None:
            self._rest_known.wait()
        if not self._found and self._trouble is not None:
            raise self._trouble

    def close(self, seconds: float | None = None) -> dict[str, object]:
        """What was found; waits `seconds` for the input files (None: as long as it takes).

        What is found later is dropped.
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

    def _look_at_all(self, save: Callable[[Mapping[str, object]], None]) -> None:
        try:
            if not self._found:
                self._add(self._look_at_rest(), save)
            self._rest_known.set()
            if INPUTS not in self._found:
                self._add({INPUTS: self._look_at_inputs()}, save)
        except Exception as error:
            # A full disk, a store that refuses: the step itself may not need what could not be read here.
            self._trouble = error
        finally:
            self._rest_known.set()

    def _add(self, found: Mapping[str, object], save: Callable[[Mapping[str, object]], None]) -> None:
        with self._lock:
            if not self._closed:
                together = {**self._found, **found}
                save(together)
                self._found = together
