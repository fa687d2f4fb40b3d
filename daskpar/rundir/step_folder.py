"""The folder of one step: reads and writes `step.json`, from which a later process of the run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace

from daskpar import atomic
from daskpar.errors import RunDirectoryError
from daskpar.masking import hidden
from daskpar.paths import StepPaths
from daskpar.results import Counts, Status, StepResult
from daskpar.rundir.json_files import read_json
from daskpar.value_classes import frozen


@frozen(kw_only=True)
class StepState:
    """step.json: how far a step is, and what it was made of."""

    step: str
    kind: str
    """`parallel` or `command`."""
    status: Status
    number: int = 0
    """Its place among the steps of the job, from 0: steps that start together are shown in this order."""
    reason: str = ""
    counts: Counts = field(default_factory=Counts)
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    exit_code: int | None = None
    """Of a command."""
    started: float | None = None
    ended: float | None = None
    seconds: float = 0.0
    """Time spent on the step, those of earlier driver processes included."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output name -> path."""
    rows: str = ""
    """Path or URL of a completed step's rows (append_row_to), or of those of a partial one.

    With a slash at its end where it is a folder of part files; empty where nothing is aggregated.
    """
    notes: tuple[str, ...] = ()
    """As `StepResult.notes`."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Anything else that should be there after a resume; JSON values."""

    @property
    def completed(self) -> bool:
        """Whether nothing is left to do."""
        return self.status == Status.COMPLETED

    def with_result(
        self,
        result: StepResult,
        *,
        ended: float,
        seconds_before: float,
        fingerprint: Mapping[str, object],
        rows: str,
    ) -> StepState:
        """This state of a running step, now that it has ended with `result` at `ended`.

        `seconds_before` is the time that earlier processes have spent on it. `rows` counts where the step is
        completed.
        """
        return replace(
            self,
            status=result.status,
            reason=result.reason,
            counts=result.counts,
            fingerprint=fingerprint,
            exit_code=result.exit_code,
            ended=ended,
            seconds=seconds_before + result.seconds,
            outputs=result.outputs,
            notes=result.notes,
            rows=rows if result.status == Status.COMPLETED else result.partial_rows,
        )

    def result(self) -> StepResult:
        """How the step ended, for a process that does not run it again."""
        return StepResult(
            step=self.step,
            status=self.status,
            reason=self.reason,
            counts=self.counts,
            seconds=self.seconds,
            outputs=self.outputs,
            exit_code=self.exit_code,
            notes=self.notes,
            partial_rows=self.rows if self.status == Status.PARTIAL else "",
        )


class StepFolder(StepPaths):
    """The folder of one step, and what is kept in it from one process of the run to the next."""

    def state(self) -> StepState | None:
        """What step.json says; None before the step's first start."""
        value = read_json(self.path / "step.json")
        if value is None:
            return None
        known = {name: value[name] for name in (f.name for f in fields(StepState)) if name in value}
        numbers = {f.name for f in fields(Counts)}
        known["notes"] = tuple(known.get("notes", ()))
        known["counts"] = Counts(
            **{name: n for name, n in value.get("counts", {}).items() if name in numbers}
        )
        try:
            state = StepState(**{**known, "status": Status(known["status"])})
        except (KeyError, TypeError, ValueError) as error:
            raise RunDirectoryError(f"{self.path / 'step.json'} is damaged: {error}.") from error
        if state.step != self.name:
            raise RunDirectoryError(
                f"{self.path / 'step.json'} is damaged: it names the step {state.step!r}."
            )
        return state

    def keep_before(self, there: Mapping[str, str]) -> None:
        """Remember what lay in the places of the step's outputs before it first began."""
        if there:
            self.path.mkdir(parents=True, exist_ok=True)
            atomic.replace_json(self.path / "outputs-before.json", there, mode=atomic.OWNER_FILE)

    def before(self) -> dict[str, str]:
        """What `keep_before` has kept."""
        return read_json(self.path / "outputs-before.json") or {}

    def forget_plan(self) -> None:
        """Remove the plan, of which nothing is committed: it is made anew from the input as it is now."""
        with atomic.explained(f"The plan {self.plan} can't be removed"):
            self.journal.unlink(missing_ok=True)
            if self.plan.exists():
                shutil.rmtree(self.plan)

    def save(self, state: StepState) -> None:
        """Write step.json, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        value = {**asdict(state), "reason": hidden(state.reason)}
        atomic.replace_json(self.path / "step.json", value, mode=atomic.OWNER_FILE)
