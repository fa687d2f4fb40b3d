"""Reads a run directory into what pages and reports draw: the same that events tell of a run that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daskpar.errors import RunDirectoryError
from daskpar.outputs.commits import Commits
from daskpar.paths import RunPaths, process_name
from daskpar.reports.failure_kinds import FailureKinds
from daskpar.reports.run_report import ROWS_ASKED_FOR
from daskpar.reports.run_tables import RunTables, StepTables
from daskpar.reports.step_facts import Init, RunFacts, StepFacts
from daskpar.reports.try_tally import TryTally
from daskpar.results import Counts, Status
from daskpar.rundir.json_files import read_json


def facts_of(path: Path | str, *, keep: int = ROWS_ASKED_FOR) -> RunFacts:
    """What is known of the run in a run directory, whether it goes on, has ended or was killed.

    `keep`: how many tries of a step are kept one by one.

    Raises RunDirectoryError for a folder that is no run directory, or a damaged one.
    """
    tables = RunTables(path)
    identity = tables.identity
    shown = read_json(RunPaths(tables.path).shown) or {}
    try:
        run = RunFacts(
            id=identity.id,
            name=identity.name,
            spec=identity.spec,
            directory=str(tables.path),
            status=tables.status,
            reason=identity.reason,
            started=identity.created,
            ended=identity.ended or 0.0,
            notes=tuple(map(str, shown.get("notes", ()))),
            warnings=[(str(step), str(text)) for step, text in shown.get("warnings", ())],
            needs={str(name): tuple(map(str, needs)) for name, needs in shown.get("needs", {}).items()},
        )
        found = {
            table.name: _step_facts(table, shown.get("steps", {}).get(table.name, {}), keep)
            for table in tables.steps
        }
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(
            f"{RunPaths(tables.path).shown} is damaged: {error!r}. Remove it: the report then lacks "
            "what stands there alone, such as warnings and where settings come from."
        ) from error
    run.steps = {
        name: found.get(name) or _never_begun(name, run, shown.get("not_begun", {}))
        for name in [*run.needs, *(set(found) - set(run.needs))]
    }
    if run.ended:
        run.seconds = run.ended - run.started
    return run


def _never_begun(name: str, run: RunFacts, told: Mapping[str, Any]) -> StepFacts:
    """A step that has no folder: it still waits only while the run goes on."""
    if run.status == Status.RUNNING:
        return StepFacts(name)
    status, reason = told.get(name, ("not run", ""))
    return StepFacts(name, status=str(status), reason=str(reason))


def _step_facts(table: StepTables, shown: Mapping[str, Any], keep: int) -> StepFacts:
    state = table.state
    over = bool(state.ended)
    step = StepFacts(
        table.name,
        kind=state.kind,
        folder=str(table.folder.path),
        status=str(table.status),
        reason=state.reason,
        started=state.started or 0.0,
        ended=state.ended or 0.0,
        seconds=state.seconds,
        counts=state.counts,
        settings={str(name): str(value) for name, value in shown.get("settings", {}).items()},
        sources=tuple(
            (str(name), str(value), str(source)) for name, value, source in shown.get("sources", ())
        ),
        outputs=dict(state.outputs),
        notes=state.notes,
        exit_code=state.exit_code,
        nodes=int(shown.get("nodes", 0)),
        processors=int(shown.get("processors", 0)),
        tally=TryTally(keep),
    )
    step.inits = [
        Init(int(node), int(number), float(start), float(end), bool(well))
        for node, number, start, end, well in shown.get("inits", ())
    ]
    if over and shown.get("ended"):
        names = ("failures", "other_failures", "init_failures")
        step.kept = {**{name: shown[name] for name in names}, "gpus": shown.get("gpus", [])}
    if table.parallel:
        _add_tries(step, table)
    return step


def _add_tries(step: StepFacts, table: StepTables) -> None:
    for _, _, records in table.journal.batches():
        step.tally.add(records)
    if not step.counts.planned:
        found = table.journal.found
        step.counts = (
            Commits.load(table.planned, table.journal).counts() if found else Counts(planned=table.planned)
        )
    if not step.kept:
        step.kinds = FailureKinds()
        for failure in table.failure_texts().values():
            record = table.outcomes.last[failure.index]
            step.kinds.add_one(failure, f"{int(record['node'])}/{process_name(int(record['processor']))}")
