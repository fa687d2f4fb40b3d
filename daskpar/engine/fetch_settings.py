"""What the nodes of a step fetch from URLs, as the step's inputs say."""

from __future__ import annotations

from pathlib import Path

from daskpar.jobspec.model import CommandStep, Input, ParallelStep
from daskpar.paths import StepPaths
from daskpar.processor.fetching.fetched_inputs import DEFAULT_CACHE_BYTES, FetchedInput, Fetching


def fetching_of(
    step: ParallelStep | CommandStep, folder: StepPaths, plan: Path | None = None
) -> Fetching | None:
    """What nodes fetch for a step; None: nothing. `plan`: of a step whose mini-batches are files."""
    split = set(step.input_data) if isinstance(step, ParallelStep) else set()
    found = tuple(
        FetchedInput(
            name=name,
            url=data.path,
            type=data.type,
            seen=data.seen,
            writable=data.mode in ("download", "eval_download"),
            split=name in split,
        )
        for name, data in step.inputs.items()
        if data.is_fetched
    )
    splits = plan is not None and any(_may_have_urls(step.inputs[name], plan) for name in split)
    if not found and not splits:
        return None
    chosen = step.settings.fetch_cache if isinstance(step, ParallelStep) else None
    return Fetching(
        folder=str(folder.input_copies),
        inputs=found,
        splits=splits,
        cache_bytes=DEFAULT_CACHE_BYTES if chosen is None else chosen,
    )


def _may_have_urls(data: Input, plan: Path) -> bool:
    """Whether the files of a split input are to be fetched: an MLTable may list some wherever it lies."""
    if data.mode == "direct" or data.is_fetched:
        return data.is_fetched
    if data.type != "mltable":
        return False
    from daskpar.batches.plan import Plan

    return any("://" in path for path in Plan.open(plan).paths())
