"""Writes the rows that an unfinished or failed run has committed so far to a file (`daskpar export`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from daskpar import atomic
from daskpar.errors import InfrastructureLost, RowsDamaged, RunDirectoryError, UsageError
from daskpar.jobspec.row_formats import TEXT
from daskpar.locations import is_url
from daskpar.named_places import looked_up
from daskpar.outputs.assembly import SPACE_ADVICE, Assembled, assemble
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal_reader import JournalContents, read_journal
from daskpar.outputs.lost_output import rows_gone
from daskpar.outputs.meter import OnProgress
from daskpar.outputs.part_check import REPAIR_ROUNDS, damage, lost_ranges
from daskpar.outputs.row_folder import assemble_folder
from daskpar.outputs.upload import TRY_AGAIN
from daskpar.rows.part_store import PartStore
from daskpar.rows.registry import store_of
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepFolder
from daskpar.value_classes import frozen


@frozen(kw_only=True)
class Exported:
    """What was exported, for the terminal."""

    step: str
    path: str
    size_bytes: int
    mini_batches: int
    """Mini-batches of the plan."""
    committed: int
    """Those that have an outcome: the rows of the others are not in the file."""
    failed: int
    lost: int
    """Committed ones whose rows did not survive on the disk; resume runs them again."""

    def __str__(self) -> str:
        missing = self.mini_batches - self.committed
        held = self.committed - self.failed
        text = (
            f"{self.path}: {self.size_bytes:,} bytes, rows of {held:,} of {self.mini_batches:,} mini-batches "
        )
        text += f"of step {self.step}"
        text += f" ({missing:,} missing)" if missing else ""
        text += f"; {self.failed:,} failed; what these returned at last is in it" if self.failed else ""
        return text + (
            f"; the rows of {self.lost:,} committed ones did not survive on the disk" if self.lost else ""
        )


def export_partial(
    run: RunDirectory | Path | str, target: str, step: str | None = None, progress: OnProgress | None = None
) -> Exported:
    """Write the committed rows of a step to `target`, in mini-batch order; the run goes on undisturbed if it
    is running. A `target` that is a folder, or ends with a slash, gets part files where the rows are no text.

    `step` may be left out where only one has rows. Raises RunDirectoryError when there is nothing to export,
    and says where the rows are; UsageError for a target inside the run directory, or one whose name promises
    other than text.
    """
    if not isinstance(run, RunDirectory):
        run = RunDirectory.open(run, lock=False)
    if is_url(target):
        target = looked_up(target)
    _check_place(run, target)
    _refuse_outputs(run, target)
    folder, contents = _choose(run, step)
    row_format, store = contents.row_format, store_of(folder)
    into_folder = row_format.name != TEXT and (target.endswith("/") or os.path.isdir(target))
    if not into_folder:
        row_format.check_name(target)
    commits = Commits.load(contents.planned, contents)
    # The run may be going on: what is committed from here on is not looked at, and parts only grow.
    lost = lost_ranges(contents, commits, store)
    commits.revoke(lost)
    path = target if is_url(target) else os.path.abspath(target)
    put_together = partial(
        assemble_folder if into_folder else assemble,
        commits,
        store,
        path,
        row_format=row_format,
        schema=contents.schema,
        progress=progress,
    )
    done, more_lost = _whole(commits, store, put_together)
    counts = commits.counts()
    return Exported(
        step=folder.name,
        path=path,
        size_bytes=done.size_bytes,
        mini_batches=counts.planned,
        committed=counts.done,
        failed=counts.failed,
        lost=sum(stop - start for start, stop in lost) + more_lost,
    )


def _whole(
    commits: Commits, store: PartStore, put_together: Callable[[], Assembled]
) -> tuple[Assembled, int]:
    """Put together what is as it was written; how many mini-batches are not, which are revoked."""
    lost = 0
    for last in (False,) * REPAIR_ROUNDS + (True,):
        try:
            return put_together(), lost
        except InfrastructureLost as error:
            if not isinstance(error, RowsDamaged):
                raise InfrastructureLost(_for_export(str(error))) from error
            if last:
                raise
            found = damage(commits, store)
            commits.revoke(found.ranges)
            lost += found.count
    raise AssertionError("the last round returns or raises")


def _for_export(text: str) -> str:
    """What is wrong with the place of an output, with the advice for a place that the user has chosen: the
    run has nothing to go on with, and may be completed.
    """
    for advice in (atomic.ADVICE, SPACE_ADVICE, TRY_AGAIN):
        text = text.replace(advice, "The run itself is as it was: export to another place.")
    return text


def _check_place(run: RunDirectory, target: str) -> None:
    if is_url(target):
        return
    above = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(above):
        raise UsageError(f"{target} can't be written: there is no folder {above}.")
    if os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target):
        raise UsageError(
            f"{target} is a pipe or a device, and an export is put in its place when it is whole: export to "
            "a file, then print that."
        )
    inside, of = os.path.realpath(target), os.path.realpath(run.path)
    if inside == of or inside.startswith(of.rstrip("/") + "/"):
        raise UsageError(
            f"{target} lies in the run directory {run.path}, whose files are the run's own: "
            "export to a file elsewhere."
        )


def _refuse_outputs(run: RunDirectory, target: str) -> None:
    """UsageError for the place of an output of a run that goes on: it writes there itself when the output is
    complete, and what looks like its result would be a part of it.
    """
    if run.holder() is None:
        return
    wanted = target if is_url(target) else os.path.realpath(target)
    for folder in run.steps():
        state = folder.state()
        if state is None or state.completed:
            continue
        for name, place in _outputs_of(run, folder.name, state.outputs).items():
            if wanted == (place if is_url(place) else os.path.realpath(place)):
                raise UsageError(
                    f"{target} is the output {name} of step {folder.name}, which is not complete: the run "
                    "writes there itself when it is. Export to another file."
                )


def _outputs_of(run: RunDirectory, step: str, known: Mapping[str, str]) -> dict[str, str]:
    """Where the outputs of a step go: as its state says, or before it has ended the effective spec."""
    if known:
        return dict(known)
    import yaml

    try:
        outputs = yaml.safe_load(run.effective_spec.read_text())["jobs"][step]["outputs"]
        return {str(name): str(output["path"]) for name, output in outputs.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return {}


def _choose(run: RunDirectory, step: str | None) -> tuple[StepFolder, JournalContents]:
    folders = [folder for folder in run.steps() if folder.journal.exists() and step in (None, folder.name)]
    if not folders:
        known = ", ".join(folder.name for folder in run.steps()) or "none"
        which = f"the step {step!r}" if step else "any step"
        raise RunDirectoryError(
            f"{run.path} has no committed mini-batches of {which}. Steps that have started: {known}."
        )
    with_rows = [
        (folder, contents)
        for folder in folders
        if (contents := read_journal(folder.journal)).flushes["length"].any()
    ]
    if not with_rows:
        raise RunDirectoryError(
            f"{run.path} has no committed rows: "
            "nothing was returned yet, or nothing is aggregated (append_row_to)."
        )
    there = [(folder, contents) for folder, contents in with_rows if store_of(folder).exists()]
    if len(there) == 1:
        return there[0]
    if there:
        names = ", ".join(folder.name for folder, _ in there)
        raise RunDirectoryError(
            f"Several steps of {run.path} have rows to export: {names}. Say which one with --step."
        )
    states = [
        f"the step {folder.name} {_without_rows(folder, [with_them for with_them, _ in with_rows])}"
        for folder in _steps(run, step)
    ]
    hint = (
        "" if step is not None or len(states) == 1 else " --step NAME chooses one of them, once it has rows."
    )
    raise RunDirectoryError(f"{run.path} has no rows to export: {'; '.join(states)}.{hint}")


def _steps(run: RunDirectory, step: str | None) -> list[StepFolder]:
    return [folder for folder in run.steps() if step in (None, folder.name)]


def _without_rows(folder: StepFolder, put_together: list[StepFolder]) -> str:
    """Why a step has no rows to export; `put_together`: those whose rows are in their outputs."""
    state = folder.state()
    if folder in put_together:
        outputs = dict(state.outputs) if state else {}
        gone = "; ".join(
            f"{name}, {path}: {what}" for name, path in outputs.items() if (what := rows_gone(folder, path))
        )
        listed = ", ".join(f"{name}: {path}" for name, path in outputs.items()) or "see run.json"
        return (
            f"is complete ({gone})" if gone else f"is complete: its rows are in its output already ({listed})"
        )
    if state is not None and state.kind == "command":
        return "is a command, which has none"
    return f"has none{' yet' if state is None or state.status != 'completed' else ''}"
