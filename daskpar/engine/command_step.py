"""One command step: its code is copied, its command runs, and its exit code says how the step ended."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from daskpar.datastores import known_options
from daskpar.engine.code_copy import lay_out_code
from daskpar.engine.command_execution import CommandExecution
from daskpar.engine.fetch_settings import fetching_of
from daskpar.engine.input_copies import lay_out_inputs, own_outputs, remove_inputs
from daskpar.engine.input_guard import guard_of
from daskpar.engine.node_probe import needs_of
from daskpar.engine.step_mounts import mounts_of
from daskpar.engine.step_run import StepRun
from daskpar.events import Progress
from daskpar.jobspec.env_references import resolved_values
from daskpar.jobspec.input_access import shown_paths
from daskpar.jobspec.model import CommandStep
from daskpar.outputs.step_uploads import StepUploads, uploads_of
from daskpar.processor.azure_variables import azure_variables
from daskpar.processor.command_settings import CommandSettings
from daskpar.results import Counts, Status, StepResult
from daskpar.rundir.probe import NodeNeeds
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from daskpar.engine.far_command import FarCommand

TAIL_BYTES = 4000
"""How much of the end of stderr is shown when the command fails."""
TIMEOUT_CODE = 124
"""Exit code of a command that took too long, as of `timeout` in a shell."""


@mutable(kw_only=True)
class CommandStepRun(StepRun):
    """Runs a command in a copy of its `code`; its output goes to the step's log tree."""

    step: CommandStep
    run_directory: Path
    before_again: Callable[[], object]
    """Clears the outputs after a node was lost under the command."""
    goes_on: bool = False
    """Whether what an earlier process has done of it counts, for nothing has changed."""
    data: Collection[str] = ()
    """What the steps of the job read and write: no code, wherever it lies."""
    _far: FarCommand | None = None
    """For nodes that do not see the run directory; None where there can be none."""

    def _run(self) -> StepResult:
        logs = self.folder.logs
        logs.command_stdout.parent.mkdir(parents=True, exist_ok=True)
        variables = azure_variables(
            run_id=self.run_id, step=self.step.name, folder=str(self.folder.path), logs=str(logs.root)
        )
        own = self.step.python
        settings = CommandSettings(
            run_id=self.run_id,
            step=self.step.name,
            command=self.step.command,
            cwd=str(self.folder.work),
            environment={
                **{name: value for name, value in variables.items() if name not in os.environ},
                "AZUREML_RUN_ID": variables["AZUREML_RUN_ID"],
                **resolved_values(self.step.variables, os.environ),
                **resolved_values(self.step.environment_variables, os.environ),
            },
            stdout=str(logs.command_stdout),
            stderr=str(logs.command_stderr),
            timeout=self.step.timeout,
            python=own.python if own is not None else "",
            container=own.container if own is not None else None,
            mounts=mounts_of(self.step, self.run_directory),
            guard=guard_of(self.step.inputs, self.step.outputs, self.run_directory),
            fetching=fetching_of(self.step, self.folder),
            storage=known_options(),
        )
        inputs = self.step.inputs.values()
        uploads = self._uploads()
        self._far = None if self.cluster.local else self._far_command(settings, uploads)
        execution = CommandExecution(
            cluster=self.cluster,
            settings=settings,
            publish=self.publish,
            before_again=self._prepare_again,
            lay_out=self._lay_out,
            needs=None if self.cluster.local else self._needs,
            far=self._far,
        )
        if uploads is not None and uploads.command_has_ended and self.goes_on:
            return self._uploaded(uploads, 0, logs.command_stderr)  # it need not run again for that
        try:
            with self._stoppable(execution):
                if uploads is not None:
                    uploads.begin_command()
                code = execution.run()
            own_outputs(inputs, [output.path for output in self.step.outputs.values()])
        finally:
            remove_inputs(inputs)
            shutil.rmtree(self.folder.sent, ignore_errors=True)
        return self._uploaded(uploads, code, logs.command_stderr)

    def _far_command(self, settings: CommandSettings, uploads: StepUploads | None) -> FarCommand:
        from daskpar.engine.far_command import FarCommand
        from daskpar.engine.parcel_sender import ParcelSender

        return FarCommand(
            sender=ParcelSender(
                client=self.cluster.client,
                run_id=self.run_id,
                folder=self.folder.sent,
                stopped=lambda: self._stopped,
            ),
            step=self.step,
            settings=settings,
            run_directory=self.run_directory,
            tell=self._warn,
            show=self._show,
            stopped=lambda: self._stopped,
            uploads=uploads,
            skip=self.data,
        )

    def _uploads(self) -> StepUploads | None:
        """What is to be done with outputs at URLs; None where the command writes none."""
        uploads = uploads_of(self.step.outputs, self.folder.uploads)
        if uploads is None:
            return None
        return StepUploads(
            uploads=uploads,
            who=f"command-{secrets.token_hex(4)}",
            warn=self._warn,
            stopped=lambda: self._stopped,
            progress=self._show,
        )

    def _show(self, doing: str) -> None:
        self.publish(Progress(time=time(), step=self.step.name, counts=Counts(), running=0, doing=doing))

    def _uploaded(self, uploads: StepUploads | None, code: int | None, stderr: Path) -> StepResult:
        """How the step has ended, with what a command that ended well has written uploaded."""
        if uploads is not None and code == 0:
            far = {name for name, _ in self._far.uploaded} if self._far is not None else set()
            for output in () if uploads.command_has_ended else self.step.outputs.values():
                if output.name in far:
                    continue
                if output.type == "uri_file" and output.seen and not os.path.exists(output.seen):
                    self._warn(f"the command has written no file for its output {output.name}")
            uploads.finish_command()
        return self._ended(code, stderr)

    def _needs(self) -> NodeNeeds:
        return needs_of(self.step, self.run_directory)

    def _lay_out(self) -> None:
        lay_out_code(
            self.step.code,
            self.folder.work,
            self.run_directory,
            self.data,
            lambda: bool(self._stopped),
            self._warn,
            shown_paths(self.step.inputs),
            self.step.includes,
        )
        lay_out_inputs(self.step.inputs.values(), str(self.run_directory), lambda: bool(self._stopped))

    def _prepare_again(self) -> None:
        if (uploads := self._uploads()) is not None:
            uploads.begin_command()
        self.before_again()

    def _ended(self, code: int | None, stderr: Path) -> StepResult:
        """How a command ended with exit code `code`, None for one that was stopped."""
        status, reason = Status.COMPLETED, ""
        if code is None:
            status, reason = Status.INTERRUPTED, self._stopped
        elif code != 0:
            tail = _tail(stderr)
            last = f"; the end of its stderr:\n{tail}" if tail else ""
            timeout = self.step.timeout
            limit = f" (limits.timeout is {timeout:g} s)" if code == TIMEOUT_CODE and timeout else ""
            status = Status.FAILED
            reason = f"the command ended with exit code {code}{limit}, see {stderr.parent}{last}"
        return StepResult(step=self.step.name, status=status, reason=reason, exit_code=code)


def _tail(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""
