"""Finds out from the spec alone what a local node's fork server will need, as it starts before all else."""

from __future__ import annotations

from daskpar.jobspec.model import ParallelStep
from daskpar.processor.resource_usage import cores


def looks_tabular(step: ParallelStep) -> bool:
    """Whether a step's input is a table, as far as its mode says.

    An MLTable without a reader may turn out to be a list of files later, at no harm.
    """
    if not step.input_data or step.settings.rank_mini_batch_count > 0:
        return False
    data = step.inputs[step.input_data[0]]
    return data.type == "mltable" and not data.is_file_list


def local_threads(nodes: int, processors: int | None) -> int:
    """Threads (OMP_NUM_THREADS and its like) of each processor of `nodes` nodes in this process.

    The same as `allocation.threads_per_processor` finds later.
    """
    there = cores()
    return max(1, there // (nodes * (processors or max(1, there // nodes))))
