"""Whether slow mini-batches of a step may be started a second time (`--backup`)."""

from __future__ import annotations

from collections.abc import Callable

from daskpar.jobspec.model import ParallelStep
from daskpar.jobspec.problems import Place, Problems


def backs_up(step: ParallelStep) -> bool:
    """Whether a slow mini-batch may run twice at a time.

    By default only where rows are all that comes of it: two calls at a time may disturb each other in files
    that the script writes, and cost twice where a service is asked.
    """
    if why_never(step):
        return False
    if step.settings.backup is not None:
        return step.settings.backup
    by_driver = {step.append_row_to, step.settings.failed_items_to}
    fills = any(output.path not in by_driver for output in step.outputs.values())
    return step.append_row_to is not None and not fills and step.settings.rate_limit is None


def why_never(step: ParallelStep) -> str:
    """Why the step starts no second copies, whatever is asked for; empty where it may."""
    if step.in_flight:
        return "its script has several calls in flight in one process, of which none can be stopped alone"
    if any(output.seen for output in step.outputs.values()):
        return "its files go to a URL, where those of two copies would take each other's place"
    return ""


def check_backup(step: ParallelStep, place_of: Callable[[str], Place], problems: Problems) -> None:
    """Warn where second copies are asked for that can't be."""
    if step.settings.backup and (why := why_never(step)):
        problems.warn(place_of("--backup"), f"--backup True changes nothing for this step: {why}.")
