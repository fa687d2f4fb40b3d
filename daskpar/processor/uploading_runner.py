"""Runs mini-batches whose script fills outputs at URLs: each file belongs to the try that wrote it.

Files are sealed when their try counts, travel by name with its report, and are uploaded by the node while
this process goes on. It waits where the node can't keep up, so that a slow store fills no disk.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from typing import Any

from daskpar.own_calls import OWN
from daskpar.paths import process_name
from daskpar.processor import channel
from daskpar.processor.block_runner import BlockRunner
from daskpar.processor.output_sweep import OutputSweep
from daskpar.processor.processor_messages import DiskFailed
from daskpar.processor.protocol import LogMessage
from daskpar.processor.shared_page import KILL_PENDING, Phase
from daskpar.results import TryStatus

WAITING_AT_MOST = 200
"""Sealed folders of one processor that are not uploaded yet."""
WAITING_BYTES = 512 << 20
"""Bytes in these, beside the last one."""
LOOK_SECONDS = 0.01


class UploadingRunner(BlockRunner):
    """A `BlockRunner` that tells the files of its mini-batches apart."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        uploads = self.settings.uploads
        assert uploads is not None
        self._uploads = uploads
        # Rows are put in their part as they are reported, so each report is about all that was sealed.
        self._most_waiting = float("inf")
        own = uploads.of(self.settings.node, self._number)
        place = f"{self.settings.session}-{self.settings.node}-{process_name(self._number)}-{self._pid}"
        self._name = place
        self._sweep = OutputSweep(own.own, own.outputs, f"{uploads.sealed}/{place}")
        self._sealed_now: list[tuple[int, str]] = []
        self._waiting: deque[tuple[str, int]] = deque()
        """Sealed folders that were there when they were looked at last, and their bytes."""
        self._waiting_bytes = 0
        self._told: set[str] = set()
        """Links of which it was said."""
        self._sweep.begin()

    def _keep(
        self,
        index: int,
        items: int,
        returned: int,
        failed_items: int,
        status: int,
        reason: int,
        final: int,
        rows: bool,
        clocks: tuple[Any, ...],
    ) -> None:
        # What a last try returned counts where it is short of items, and so does what it wrote.
        counts = status == TryStatus.SUCCEEDED or (final and returned > 0)
        try:
            with self._ground.restored():
                if not counts:
                    self._sweep.discard()
                elif folder := self._sweep.seal():
                    self._sealed_now.append((index, os.path.basename(folder)))
                    size = _bytes_in(folder)
                    self._waiting.append((folder, size))
                    self._waiting_bytes += size
        except OSError as error:
            why = error.strerror or str(error)
            problem = f"files of outputs can't be moved to {self._uploads.sealed}: {why}"
            channel.send(self._sock, DiskFailed(problem))
            raise
        super()._keep(index, items, returned, failed_items, status, reason, final, rows, clocks)

    def _report_stray(self) -> None:
        super()._report_stray()
        if self._sweep.links - self._told:
            self._told |= self._sweep.links
            text = f"links to folders are not uploaded, such as {min(self._sweep.links)}: write files instead"
            channel.send(self._sock, LogMessage(level="warning", text=text))

    def _sealed(self) -> tuple[tuple[int, str], ...]:
        found, self._sealed_now = tuple(self._sealed_now), []
        return found

    def _flush(self) -> None:
        super()._flush()
        while self._is_behind():
            if self._page.allowed() == KILL_PENDING:
                return
            # Told anew, for its time limit is that of a script: a store may take as long as it takes.
            self._page.announce(self._page.announced().index, Phase.FLUSH, OWN.monotonic())
            OWN.sleep(LOOK_SECONDS)

    def _is_behind(self) -> bool:
        """Whether too much of what this process has sealed is not uploaded yet."""
        waiting = self._waiting
        # They are uploaded about in their order.
        while waiting and not _is_there(waiting[0][0]):
            self._waiting_bytes -= waiting.popleft()[1]
        return len(waiting) > WAITING_AT_MOST or (len(waiting) > 1 and self._waiting_bytes > WAITING_BYTES)

    def leave(self) -> None:
        """Hand over what `shutdown()` has written."""
        with self._ground.restored():
            self._sweep.leave(f"{self._uploads.left}/{self._name}")
            shutil.rmtree(self._sweep.folder, ignore_errors=True)


def _is_there(path: str) -> bool:
    try:
        OWN.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _bytes_in(folder: str) -> int:
    size = 0
    with OWN.scandir(folder) as entries:
        for entry in entries:
            size += _bytes_in(entry.path) if entry.is_dir() else entry.stat().st_size
    return size
