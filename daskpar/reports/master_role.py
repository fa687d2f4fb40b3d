"""`sys/master_role.txt`: what the driver did for a step."""

from __future__ import annotations

from daskpar.events import (
    NodeEvent,
    NodeState,
    ProcessorEvent,
    ProcessorState,
    StepEnded,
    StepPlanned,
    StepStarted,
    TriesEnded,
    Warned,
    Watcher,
)
from daskpar.paths import LogPaths
from daskpar.reports.log_files import SystemLog
from daskpar.reports.wording import (
    counted,
    node_in_words,
    number,
    plan_in_words,
    processor_in_words,
    result_in_words,
)


class MasterRole(Watcher):
    """Writes settings, plan, nodes, processors, warnings, result; at DEBUG each bulk of tries."""

    def __init__(self, logs: LogPaths, level: str = "INFO") -> None:
        self._path = logs.master_role
        self._log = SystemLog(level)

    def step_started(self, event: StepStarted) -> None:
        settings = [f"setting {name} = {value}" for name, value in event.settings.items()]
        start = f"step {event.step} ({event.kind}) started in {event.folder}"
        self._write(event.time, "INFO", start, *settings)

    def step_planned(self, event: StepPlanned) -> None:
        self._write(event.time, "INFO", f"planned: {plan_in_words(event)}")

    def node_changed(self, event: NodeEvent) -> None:
        level = "WARNING" if event.state == NodeState.LOST else "INFO"
        self._write(event.time, level, node_in_words(event))

    def processor_changed(self, event: ProcessorEvent) -> None:
        level = "ERROR" if event.state == ProcessorState.INIT_FAILED else "DEBUG"
        self._write(event.time, level, f"{event.node}/{processor_in_words(event)}")

    def warned(self, event: Warned) -> None:
        self._write(event.time, "WARNING", event.text)

    def tries_ended(self, event: TriesEnded) -> None:
        failed = number(len(event.failures))
        committed = f"{counted(len(event.records), 'try')} committed, {failed} of them failed"
        self._write(event.time, "DEBUG", committed)

    def step_ended(self, event: StepEnded) -> None:
        self._write(event.time, "INFO", f"step {event.step} {result_in_words(event.result)}")
        if event.result.reason:
            self._write(event.time, "ERROR", f"reason: {event.result.reason}")

    def _write(self, now: float, level: str, *texts: str) -> None:
        self._log.write(self._path, now, level, *texts)
