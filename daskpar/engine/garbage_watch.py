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

    known: Any = getattr(gc, "_gc_diagnosis", None)
    if known is None or known.enabled:
        return  # another release of Dask, or servers of the user's own are measured here

    class Nothing(gc.GCDiagnosis):
        """Is switched on and off, and does nothing meanwhile."""

        def _gc_callback(self, phase: str, info: dict[str, int]) -> None:
            pass

    gc._gc_diagnosis = Nothing()  # type: ignore[no-untyped-call]
