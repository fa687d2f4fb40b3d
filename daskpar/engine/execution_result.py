"""What an execution is given to keep results with, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from daskpar.errors import DaskparError
from daskpar.processor.protocol import Flushed
from daskpar.results import Failure, InitFailed, Status

Commit = Callable[[Flushed], np.ndarray]
"""Takes a flush for good, in the journal of a step or, for an internal pass, nowhere; returns the records
that count. Raises InfrastructureLost when it can't be kept, JobFailed when it must not."""


@dataclass(frozen=True, kw_only=True)
class ExecutionResult:
    """How an execution ended."""

    status: Status = Status.COMPLETED
    """Completed: every mini-batch has its final outcome."""
    reason: str = ""
    first_failure: Failure | InitFailed | None = None
    error: DaskparError | None = None
    """What made the driver itself give up: the disk, the cluster."""
