"""How an execution ended, and the type of the function by which it commits results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from daskpar.errors import DaskparError
from daskpar.processor.protocol import Flushed
from daskpar.results import Failure, InitFailed, Status, first_that_cost
from daskpar.value_classes import frozen

Commit = Callable[[Flushed], np.ndarray]
"""Commits a flush: to the journal of a step or, for an internal pass, nowhere. Returns the counted records.

Raises InfrastructureLost when it can't be stored, JobFailed when it must not be.
"""


@frozen(kw_only=True)
class ExecutionResult:
    """How an execution ended."""

    status: Status = Status.COMPLETED
    """Completed: every mini-batch has its final outcome."""
    reason: str = ""
    first_failure: Failure | InitFailed | None = None
    gathered: str = ""
    """The processor or node where failures gather, in one sentence; empty where they do not."""
    notes: tuple[str, ...] = ()
    """What nodes want said at the end: a GPU that was left out."""
    error: DaskparError | None = None
    """What made the driver itself give up: the disk, the cluster."""
    input_changed: int = 0
    """Mini-batches that failed because a file was not what was planned."""

    def after(self, earlier: ExecutionResult) -> ExecutionResult:
        """This one as the end of a step of which `earlier` ran all that is not run again now."""
        return replace(
            self,
            first_failure=first_that_cost(earlier.first_failure, self.first_failure),
            gathered=self.gathered or earlier.gathered,
            notes=tuple(dict.fromkeys((*earlier.notes, *self.notes))),
            input_changed=self.input_changed + earlier.input_changed,
        )
