"""Follows a run from another process: its status as it changes, and its logs as they grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from daskpar.paths import LogPaths
from daskpar.value_classes import mutable

FIRST_LINES = 5
"""Lines of each log that are shown at the start."""
FIRST_BYTES = 16_384
"""How much of its end is looked at for these."""
MOST_BYTES = 1 << 20
"""How much of a log is read at a time: one that is written faster is caught up with later."""


@mutable
class _Log:
    path: Path
    label: str
    offset: int = 0
    begun: bytes = b""
    """The last line, which has no line break yet; at most `MOST_BYTES` of it."""


@mutable
class GrowingLogs:
    """What the scripts of some steps print, line by line; `steps`: name -> log tree."""

    steps: dict[str, LogPaths]
    _known: dict[Path, _Log] = field(default_factory=dict)
    _from_start: bool = False
    """Whether a log that is found now is new, and shown from its beginning."""

    def new_lines(self) -> Iterator[str]:
        """The lines that have come since the last call, each behind the step and the log it is from; of a
        log that grows quickly only some.
        """
        self._find()
        for log in self._known.values():
            for line in _grown(log) or ():
                yield f"{log.label} | {line}"

    def rest(self) -> Iterator[str]:
        """All the lines to the end of each log, when nothing more comes; the last one may have no break."""
        self._find()
        for log in self._known.values():
            while (lines := _grown(log)) is not None:
                yield from (f"{log.label} | {line}" for line in lines)
            if log.begun:
                yield f"{log.label} | {_shown(log.begun)}"
                log.begun = b""

    def _find(self) -> None:
        for step, logs in self.steps.items():
            for path, label in _logs_of(step, logs):
                if path not in self._known:
                    self._known[path] = _Log(path, label, 0 if self._from_start else -1)
        self._from_start = True


def _logs_of(step: str, logs: LogPaths) -> Iterator[tuple[Path, str]]:
    for folder in (logs.all_stdout, logs.all_stderr):
        for path in sorted(folder.glob("*/*.txt")):
            name = path.name.split(".")[0]
            yield path, f"{step} {path.parent.name}/{name} {folder.name}"
    for path, label in ((logs.command_stdout, "stdout"), (logs.command_stderr, "stderr")):
        if path.is_file():
            yield path, f"{step} {label}"


def _grown(log: _Log) -> list[str] | None:
    """The next whole lines; None where the log has nothing new."""
    try:
        with log.path.open("rb") as file:
            first = log.offset < 0
            size = file.seek(0, 2)
            start = max(0, size - FIRST_BYTES) if first else min(log.offset, size)
            file.seek(start)
            data = file.read(FIRST_BYTES if first else MOST_BYTES)
    except OSError:
        return None
    log.offset = start + len(data)
    if not data:
        return None
    if first and start:
        # The rest of a line that begins earlier may be half a secret.
        data = data.partition(b"\n")[2]
    *lines, begun = (log.begun + data).split(b"\n")
    # Of a bar of progress, which goes back to the start of its line, only the last state is kept.
    log.begun = begun[begun.rstrip(b"\r").rfind(b"\r") + 1 :]
    if first:
        lines = lines[-FIRST_LINES:]
    elif len(log.begun) >= MOST_BYTES:
        # A log without line breaks is shown in pieces: to keep it all would take ever longer.
        lines, log.begun = [*lines, log.begun], b""
    return [_shown(line) for line in lines]


def _shown(line: bytes) -> str:
    """A line as a terminal would leave it: what was written over it last."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
