"""Follows a run from another process: its status as it changes, and its logs as they grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from daskpar.paths import LogPaths

FIRST_LINES = 5
"""Lines of each log that are shown at the start."""
FIRST_BYTES = 16_384
"""How much of its end is looked at for these."""
MOST_BYTES = 1 << 20
"""How much of a log is read at a time: one that is written faster is caught up with later."""


@dataclass
class _Log:
    path: Path
    label: str
    offset: int = 0
    begun: bytes = b""
    """The last line, which has no line break yet."""


@dataclass
class GrowingLogs:
    """What the scripts of some steps print, line by line; `steps`: name -> log tree."""

    steps: dict[str, LogPaths]
    _known: dict[Path, _Log] = field(default_factory=dict)
    _from_start: bool = False
    """Whether a log that is found now is new, and shown from its beginning."""

    def new_lines(self) -> Iterator[str]:
        """The lines that have come since the last call, each behind the step and the log it is from."""
        for step, logs in self.steps.items():
            for path, label in _logs_of(step, logs):
                if path not in self._known:
                    self._known[path] = _Log(path, label, 0 if self._from_start else -1)
        self._from_start = True
        for log in self._known.values():
            for line in _grown(log):
                yield f"{log.label} | {line}"

    def rest(self) -> Iterator[str]:
        """The last lines that have no line break, when nothing more comes."""
        yield from self.new_lines()
        for log in self._known.values():
            if log.begun:
                yield f"{log.label} | {log.begun.decode(errors='replace')}"
                log.begun = b""


def _logs_of(step: str, logs: LogPaths) -> Iterator[tuple[Path, str]]:
    for folder in (logs.all_stdout, logs.all_stderr):
        for path in sorted(folder.glob("*/*.txt")):
            name = path.name.split(".")[0]
            yield path, f"{step} {path.parent.name}/{name} {folder.name}"
    for path, label in ((logs.command_stdout, "stdout"), (logs.command_stderr, "stderr")):
        if path.is_file():
            yield path, f"{step} {label}"


def _grown(log: _Log) -> list[str]:
    try:
        with log.path.open("rb") as file:
            first = log.offset < 0
            size = file.seek(0, 2)
            start = max(0, size - FIRST_BYTES) if first else min(log.offset, size)
            file.seek(start)
            data = file.read(FIRST_BYTES if first else MOST_BYTES)
    except OSError:
        return []
    log.offset = start + len(data)
    *lines, log.begun = (log.begun + data).split(b"\n")
    if first:
        lines = lines[-FIRST_LINES:]
    return [line.decode(errors="replace").rstrip("\r") for line in lines]
