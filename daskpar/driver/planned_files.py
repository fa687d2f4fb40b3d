"""What a plan tells of the files of a long list as they were when it was made, for its step's fingerprint."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daskpar.errors import DaskparError


class PlannedFiles:
    """What the plan in `folder` has of them, once there is one; nothing of a plan that is not `trusted`,
    whose files may be others by now.
    """

    def __init__(self, folder: Path, *, trusted: bool) -> None:
        self._folder = folder
        self._trusted = trusted
        self._settled = threading.Event()

    def settle(self) -> None:
        """The plan is made, or there will be none."""
        self._settled.set()

    def wait(self) -> Mapping[str, Any] | None:
        """Wait for that; None where the files have to be looked at."""
        from daskpar.batches.plan import Plan

        self._settled.wait()
        try:
            return Plan.open(self._folder).seen if self._trusted else None
        except DaskparError:
            return None
