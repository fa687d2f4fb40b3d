"""A call beside the caller's own work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from daskpar.datastores import carried

T = TypeVar("T")


class Beside(Generic[T]):
    """A call of `work` on a thread of its own; a process that ends does not wait for it."""

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._done: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=carried(self._run), name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread can be had
            self._run()

    @property
    def is_over(self) -> bool:
        """Whether `result` does not wait any more."""
        return bool(self._done) or self._error is not None

    def result(self) -> T:
        """Wait for what it returns; raises what it raised."""
        if not self.is_over:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._done[0]

    def _run(self) -> None:
        try:
            self._done.append(self._work())
        except BaseException as error:  # raised again in `result`
            self._error = error
