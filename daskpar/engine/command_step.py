"""One command step from its inputs to its outputs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from daskpar.engine.cluster import Cluster
from daskpar.engine.code_copy import lay_out_code
from daskpar.engine.command_execution import CommandExecution, CommandSettings
from daskpar.errors import DaskparError, InfrastructureLost
from daskpar.events import Event
from daskpar.jobspec.model import CommandStep
from daskpar.results import StepResult

TAIL_BYTES = 4000


@dataclass(kw_only=True)
class CommandStepRun:
    """Runs one command step in `folder` of a run directory; `stop` may be called from any thread.

    The command runs in `folder/work`, a copy of what lies in `code`, with its stdout and stderr in
    `folder/logs/user/std_out.txt` and `std_err.txt`.
    """

    step: CommandStep
    run_id: str
    run_directory: Path
    folder: Path
    cluster: Cluster
    publish: Callable[[Event], None]
    before_again: Callable[[], object]
    """Clears the outputs after a node was lost under the command."""
    data: Collection[str] = ()
    """What the steps of the job read and write: no code, wherever it lies."""
    _execution: CommandExecution | None = None
    _stopped: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Kill the command and everything it started."""
        with self._lock:
            self._stopped = reason
            if self._execution is not None:
                self._execution.stop(reason, at_once=at_once)

    def run(self) -> StepResult:
        """Run to the end; never raises for what the command did."""
        began = monotonic()
        result = StepResult(step=self.step.name, status="completed")
        logs, work = self.folder / "logs" / "user", self.folder / "work"
        logs.mkdir(parents=True, exist_ok=True)
        settings = CommandSettings(
            run_id=self.run_id,
            step=self.step.name,
            command=self.step.command,
            cwd=str(work),
            environment={
                "AZUREML_RUN_ID": f"{self.run_id}-{self.step.name}",
                **self.step.environment_variables,
            },
            stdout=str(logs / "std_out.txt"),
            stderr=str(logs / "std_err.txt"),
            timeout=self.step.timeout,
        )
        with self._lock:
            self._execution = CommandExecution(
                cluster=self.cluster,
                settings=settings,
                publish=self.publish,
                before_again=self._prepare_again,
            )
            if self._stopped:
                self._execution.stop(self._stopped)
        try:
            self._lay_out()
            code = self._execution.run()
        except DaskparError as error:
            lost = error.exit_code == InfrastructureLost.exit_code
            result.status, result.reason, result.error = "lost" if lost else "failed", str(error), error
        else:
            self._judge(code, result, logs / "std_err.txt")
        result.seconds = monotonic() - began
        result.outputs = {name: output.path for name, output in self.step.outputs.items()}
        return result

    def _lay_out(self) -> None:
        lay_out_code(
            self.step.code, self.folder / "work", self.run_directory, self.data, lambda: bool(self._stopped)
        )

    def _prepare_again(self) -> None:
        self._lay_out()
        self.before_again()

    def _judge(self, code: int | None, result: StepResult, stderr: Path) -> None:
        result.exit_code = code
        if code is None:
            result.status, result.reason = "interrupted", self._stopped
        elif code != 0:
            tail = _tail(stderr)
            last = f"; its last words on stderr:\n{tail}" if tail else ""
            limit = (
                f" (limits.timeout is {self.step.timeout:g} s)" if code == 124 and self.step.timeout else ""
            )
            result.status, result.reason = (
                "failed",
                f"the command ended with exit code {code}{limit}, see {stderr.parent}{last}",
            )


def _tail(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""
