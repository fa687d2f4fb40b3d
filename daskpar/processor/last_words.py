"""What a script printed last before a try failed: often the very reason, and only in its log (argparse).

Read by the node, not by the processor, in which the script may have changed anything.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from daskpar.batches.packed_record import PACK
from daskpar.masking import hidden
from daskpar.paths import LogPaths
from daskpar.processor.protocol import Flushed
from daskpar.processor.std_streams import OUR_MARK
from daskpar.results import Failure

LINES = 8
"""Lines that are kept of each stream."""
CHARACTERS = 2_000
READ_BYTES = 32_768
"""How much of the end of a log is looked at."""
KINDS = 50
"""Different failures of a node whose last words are read: a million alike must not cost a look each."""
_OURS = re.compile(rf"^{re.escape(OUR_MARK)}.*?\n\n", re.MULTILINE | re.DOTALL)
"""What we write into the script's log ourselves (`std_streams.failure_in_log`)."""
_PROCESSOR = 11
"""Place of the processor's number in a record."""


class LastWords:
    """What the scripts of one step on one node printed last; `logs`: where this node writes them."""

    def __init__(self, logs: LogPaths, node: int) -> None:
        self._logs = logs
        self._node = node
        self._kinds: set[tuple[int, str]] = set()

    def of(self, processor: int, sizes: tuple[int, int] | None = None) -> str:
        """The end of what the processor's script printed, each stream below the path of its log.

        `sizes`: of the two logs at that moment; it may have printed more since.
        """
        parts = []
        logs = (self._logs.stdout(self._node, processor), self._logs.stderr(self._node, processor))
        for path, size in zip(logs, sizes or (None, None), strict=True):
            if text := last_lines(end_of(path, size)):
                parts.append(f"{path}\n{text}")
        return "\n".join(parts)

    def added(self, flushed: Flushed) -> Flushed:
        """The message with what was printed before each failure of a new kind."""
        if len(self._kinds) >= KINDS:
            return flushed
        number = PACK.unpack_from(flushed.records)[_PROCESSOR]
        return replace(flushed, failures=tuple(self._with_words(one, number) for one in flushed.failures))

    def _with_words(self, failure: Failure, processor: int) -> Failure:
        kind = (failure.reason, re.sub(r"\d+", "#", failure.message[:200]))
        if kind in self._kinds or len(self._kinds) >= KINDS:
            return failure
        self._kinds.add(kind)
        return replace(failure, printed=self.of(processor, failure.log_sizes))


def end_of(path: Path, size: int | None = None) -> str:
    """The last part of a log, or of its first `size` bytes; empty where none can be read."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            end = end if size is None or not 0 <= size <= end else size
            start = file.seek(max(0, end - READ_BYTES))
            text = file.read(end - start).decode(errors="replace")
            # The rest of a line that begins earlier says little, and may be half a secret.
            return text.partition("\n")[2] or text if start else text
    except OSError:
        return ""


def last_lines(text: str) -> str:
    """The last lines that the script itself printed, without what we have added to them, and without secrets:
    these are found before anything is cut, for of half a secret nothing tells what it is.
    """
    kept = [line.rstrip() for line in hidden(_OURS.sub("", text)).splitlines() if line.strip()]
    shown = "\n".join(kept[-LINES:])
    return shown if len(shown) <= CHARACTERS else "…" + shown[-CHARACTERS:]
