"""Peak memory of a process and all its descendants, with shared pages counted once (PSS)."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

SHARE = 0.05
"""At most this part of one core goes into looking; a large tree is looked at less often than 20 times a
second.
"""


def descendants(root: int) -> list[int]:
    """`root` and all processes below it that have not ended, whatever sessions they are in."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def pss_bytes(pid: int) -> int:
    """Proportional set size of one process; 0 once it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class MemorySampler(threading.Thread):
    """Samples the memory of the processes below `root` until `stop()`; `samples` holds (time, bytes)."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.samples: list[tuple[float, int]] = []
        self._stopped = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        pause = 0.0
        while not self._stopped.wait(pause):
            began, cpu = time.time(), time.thread_time()
            self.samples.append((began, sum(map(pss_bytes, descendants(self.root)))))
            pause = max(0.05, (time.thread_time() - cpu) / SHARE)

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self.join()

    def peak(self, until: float = float("inf")) -> int:
        """The largest sample taken before `until`."""
        return max((size for moment, size in self.samples if moment <= until), default=0)
