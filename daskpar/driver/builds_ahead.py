"""Builds the environments of a job's steps while others run: a step finds its own there, or waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from daskpar.jobspec.model import Step


class BuildsAhead:
    """Builds for `steps` on this machine. What goes wrong is for a step to find out: it asks for its own."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._orders = dict.fromkeys(
            step.python.build for step in steps if step.python is not None and step.python.build
        )
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with them, one after the other, in the order of their steps."""
        if self._orders:
            from daskpar.environments.built import forget_failures

            forget_failures()
            self._thread = threading.Thread(target=self._build, name="daskpar-environments", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the one that is under way; returns when that has ended."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _build(self) -> None:
        from daskpar.environments.build_order import BuildOrder
        from daskpar.environments.built import ensure_built

        for text in self._orders:
            try:
                ensure_built(BuildOrder.of(text), stopped=self._over.is_set)
            except Exception:  # whatever it is: the step that needs it tries again, and says why it can't
                if self._over.is_set():
                    return
