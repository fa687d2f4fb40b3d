"""Keeps what is known of a running run, for whoever looks at its page, and writes its report at the end."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep, time

from daskpar.errors import DaskparError
from daskpar.events import (
    HOOKS,
    Event,
    Progress,
    RunEnded,
    RunStarted,
    StepEnded,
    StepEvent,
    StepKind,
    StepStarted,
    Warned,
    Watcher,
)
from daskpar.paths import RunPaths
from daskpar.printable import printable_tree
from daskpar.processor.protocol import LookRow
from daskpar.reports.shown_file import save_shown
from daskpar.reports.step_facts import RunFacts, StepFacts
from daskpar.results import Status

logger = logging.getLogger(__name__)

WARNINGS_KEPT = 100
SETTLE_SECONDS = 1.0
"""How long the end of a run waits for events that viewers of its page are to see."""


class LiveFacts(Watcher):
    """The facts of one run. `answer` may be called from any thread."""

    def __init__(self, run_id: str = "", *, name: str = "", directory: str = "") -> None:
        self.run = RunFacts(id=run_id, name=name, directory=directory)
        self._lock = threading.RLock()
        self._has_earlier = self._loaded = False

    def handle(self, event: Event) -> None:
        """Take in any event; one of a step goes to what is known of it, too."""
        with self._lock:
            super().handle(event)
            if isinstance(event, StepEvent) and event.step and not isinstance(event, Warned):
                step = self.run.steps.get(event.step)
                if step is None and not isinstance(event, StepStarted):
                    return  # a pass of our own over the input of a step, which is none of the job's
                if step is None:
                    step = self.run.steps[event.step] = StepFacts(event.step)
                getattr(step, HOOKS[type(event)])(event)
                if isinstance(event, StepStarted | StepEnded):
                    self._save()
                elif isinstance(event, Progress) and event.counts.done and not self._loaded:
                    # What the end needs takes a moment to load: neither at the start nor at the end.
                    self._loaded = True
                    import daskpar.reports.run_facts  # noqa: F401

    def run_started(self, event: RunStarted) -> None:
        run = self.run
        run.name, run.spec, run.directory = event.name, event.spec, event.run_directory
        run.started, run.resumed, run.notes, run.needs = event.time, event.resumed, event.notes, event.needs
        run.steps = {name: run.steps.get(name) or StepFacts(name) for name in event.steps}

    def warned(self, event: Warned) -> None:
        warning = (event.step, event.text)
        if len(self.run.warnings) < WARNINGS_KEPT and warning not in self.run.warnings:
            self.run.warnings.append(warning)

    def run_ended(self, event: RunEnded) -> None:
        run = self.run
        run.status, run.reason = event.status, event.reason
        run.ended, run.seconds = event.time, event.seconds
        run.started = run.started or event.time - event.seconds
        self._save()
        from daskpar.reports.run_facts import facts_of
        from daskpar.reports.run_report import ROWS_AT_END, write_report

        paths = RunPaths(Path(run.directory))
        try:
            if run.resumed:  # what earlier processes have done is in the run directory alone
                run = replace(
                    facts_of(paths.path, keep=ROWS_AT_END),
                    status=run.status,
                    reason=run.reason,
                    ended=run.ended,
                    seconds=run.seconds,
                    resumed=True,
                )
            write_report(run, paths.report, rows=ROWS_AT_END)
        except DaskparError as error:
            logger.warning("%s", error)

    def _save(self) -> None:
        try:
            save_shown(self.run)
        except (DaskparError, OSError) as error:  # a full disk ends the run elsewhere, or not at all
            logger.warning("shown.json, which a later report reads, can't be written: %s", error)

    # -- for pages

    def settle(self, status: Status, reason: str) -> None:
        """The run is about to end so: wait a moment for the ends of its steps, which are on their way."""
        end = monotonic() + SETTLE_SECONDS
        while monotonic() < end:
            with self._lock:
                if not any(step.status == Status.RUNNING for step in self.run.steps.values()):
                    break
            sleep(0.01)
        with self._lock:
            self.run.status, self.run.reason, self.run.ended = status, reason, time()

    def answer(self, question: Mapping[str, object], rows: Sequence[LookRow] = ()) -> bytes:
        """What a page asks for, as JSON; `rows`: what processors do just now.

        `{"step": NAME}`: the run and this step (its first running one where there is none of that name).
        `{"log": NAME, "node": N, "processor": M}`: the ends of what a processor's script has printed.
        """
        value = self._log(question) if "log" in question else self._facts(question, rows)
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
            "utf-8", "replace"
        )

    def chosen(self, name: object) -> StepFacts | None:
        """The step `name`; else the one that matters most now."""
        steps = self.run.steps
        if isinstance(name, str) and name in steps:
            return steps[name]
        running = [step for step in steps.values() if step.status == "running"]
        begun = [step for step in steps.values() if step.started]
        return next(iter(running), None) or (begun[-1] if begun else next(iter(steps.values()), None))

    def _facts(self, question: Mapping[str, object], rows: Sequence[LookRow]) -> object:
        from daskpar.reports.facts import run_document, step_document
        from daskpar.reports.looks import looks_from
        from daskpar.reports.run_report import tails

        now = time()
        self._take_in_earlier()
        with self._lock:
            step = self.chosen(question.get("step"))
            shown = step_document(step, now, looks_from(rows, step.name)) if step is not None else None
            run = run_document(self.run, now)
        if step is not None and shown is not None and step.kind == StepKind.COMMAND:
            shown["tails"] = tails(step)
        return {"run": run, "step": shown}

    def _take_in_earlier(self) -> None:
        """Steps that earlier processes of the run have ended are known from its directory alone.

        That is read while events go on: the watchers' thread must not wait for a disk.
        """
        with self._lock:
            if not self.run.resumed or self._has_earlier:
                return
            self._has_earlier = True
        from daskpar.reports.run_facts import facts_of

        try:
            earlier = facts_of(self.run.directory, keep=0).steps
        except DaskparError as error:
            logger.debug("what was done before can't be shown: %s", error)
            return
        with self._lock:
            for name, step in self.run.steps.items():
                if not step.started and name in earlier and earlier[name].ended:
                    self.run.steps[name] = earlier[name]

    def _log(self, question: Mapping[str, object]) -> object:
        from daskpar.reports.log_places import tail_of

        with self._lock:
            step = self.run.steps.get(str(question["log"]))
        if step is None or not step.folder:
            return {"texts": []}
        logs = step.paths.logs
        if step.kind == "command":
            places = [("stdout", logs.command_stdout), ("stderr", logs.command_stderr)]
        else:
            place = int(str(question.get("node", 0))), int(str(question.get("processor", 0)))
            places = [("stdout", logs.stdout(*place)), ("stderr", logs.stderr(*place))]
        return printable_tree(
            {"texts": [[what, str(path), tail_of(path)] for what, path in places]}, width=20_000
        )
