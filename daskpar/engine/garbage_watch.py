"""Keeps Dask from measuring collections of garbage in the processes of local clusters.

Its measure begins and ends with servers, on other threads than those that collect. What begins in the middle
of a collection sees an end without a start, and then Python writes a traceback onto the terminal of a run
that went well ("Exception ignored in: GCDiagnosis"). Nobody reads what it would log.
"""

from __future__ import annotations

from typing import Any


def measure_no_garbage() -> None:
    """Let servers of Dask that are started in this process from now on measure nothing."""
    from distributed import gc

    lock: Any = getattr(gc, "_gc_diagnosis_lock", None)
    if lock is None or not hasattr(gc, "_gc_diagnosis"):
        return  # another release of Dask

    class Nothing(gc.GCDiagnosis):
        """Is switched on and off, and does nothing meanwhile."""

        def _gc_callback(self, phase: str, info: dict[str, int]) -> None:
            pass

    # Another run of this process may start a server right now: what its end switches off must be what its
    # start has switched on.
    with lock:
        if (
            not gc._gc_diagnosis.enabled
        ):  # else servers of the user's own, or of another run, are measured here
            gc._gc_diagnosis = Nothing()  # type: ignore[no-untyped-call]
