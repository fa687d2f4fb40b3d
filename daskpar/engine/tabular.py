"""Whether a step's mini-batches will be DataFrames, guessed from the spec alone so that pandas can be loaded ahead."""

from __future__ import annotations

from daskpar.spec.model import ParallelStep

FILE_MODES = ("eval_mount", "eval_download", "ro_mount", "download", "mount")


def looks_tabular(step: ParallelStep) -> bool:
    """True for an MLTable that is not a file list by its mode; an MLTable without a reader turns out to be one later, at no harm."""
    if not step.input_data or step.settings.rank_mini_batch_count > 0:
        return False
    data = step.inputs[step.input_data[0]]
    return data.type == "mltable" and data.mode not in FILE_MODES
