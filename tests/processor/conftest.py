"""A pool of real processors over an invented plan, with everything that it says kept."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import faults
import warm_servers
from daskpar.batches.plan_writer import write_plan
from daskpar.batches.records import unpack
from daskpar.processor import timeouts
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.pool import ProcessorPool
from daskpar.processor.protocol import BlockEnded, BlockOrder, Flushed, Message, ProcessorSettings, Released
from daskpar.results import Failure
from daskpar.rows.shared_folder import SharedFolder
from waiting import until

LONG = 60.0


class Zoo:
    """Runs the script of `tests/faults` over `count` mini-batches of one number each.

    `table`: mini-batch, "init" or "shutdown" -> the fault that happens there, each time.
    """

    def __init__(
        self,
        folder: Path,
        table: dict[Any, str],
        count: int = 10,
        server: ForkServer | None = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        for name in ("code", "parts", "logs", "work", "out"):
            (folder / name).mkdir(exist_ok=True)
        faults.install(folder / "code")
        moments = {f"run {key}" if isinstance(key, int) else key: fault for key, fault in table.items()}
        faults.schedule(folder / "code", moments)
        write_plan(folder / "plan", kind="numbers", count=count)
        given: dict[str, Any] = {
            "run_id": "r",
            "step": "s",
            "node": 0,
            "python": sys.executable,
            "processors": 1,
            "entry_script": str(folder / "code" / faults.SCRIPT),
            "code": str(folder / "code"),
            "plan": str(folder / "plan"),
            "store": SharedFolder(folder / "parts"),
            "shared": str(folder / "parts"),
            "logs": str(folder / "logs"),
            "work": str(folder / "work"),
            "working_dir": str(folder),
            "output_dir": str(folder / "out"),
            "append_row": True,
            "max_retries": 0,
            "run_timeout": LONG,
        }
        self.settings = ProcessorSettings(**{**given, **settings})
        self.messages: list[Message] = []
        self._changed = threading.Condition()
        self.pool = ProcessorPool(self.settings, self._hear, server)

    def _hear(self, messages: list[Message]) -> None:
        with self._changed:
            self.messages += messages
            self._changed.notify_all()

    def submit(self, start: int, stop: int, *, block: int = 1, tries: int = 0) -> None:
        self.pool.submit(BlockOrder(block=block, token=f"t{block}", start=start, stop=stop, tries=tries))

    def wait(self, true: Callable[[list[Message]], Any]) -> None:
        """Until something has been said."""
        with self._changed:
            assert self._changed.wait_for(lambda: true(self.messages), LONG), self.messages

    def wait_ended(self, *blocks: int) -> None:
        self.wait(lambda said: {m.block for m in said if isinstance(m, BlockEnded)} >= set(blocks or {1}))

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]

    @property
    def records(self) -> list[Any]:
        return [record for flushed in self.of(Flushed) for record in unpack(flushed.records)]

    @property
    def failures(self) -> dict[int, Failure]:
        return {failure.index: failure for flushed in self.of(Flushed) for failure in flushed.failures}

    @property
    def released(self) -> list[tuple[int, int, str]]:
        return [(m.start, m.stop, m.reason) for m in self.of(Released)]

    @property
    def rows(self) -> dict[int, str]:
        """Mini-batch -> its text in the part files."""
        found = {}
        for flushed in self.of(Flushed):
            for record in unpack(flushed.records):
                if record["length"]:
                    with open(self.folder / "parts" / flushed.part, "rb") as file:
                        file.seek(int(record["offset"]))
                        found[int(record["index"])] = file.read(int(record["length"])).decode()
        return found

    @property
    def calls(self) -> list[int]:
        path = self.folder / "code" / "calls"
        return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []

    def accounted(self, start: int, stop: int) -> bool:
        """Whether every index was reported exactly once, in a record or a range given back."""
        told = [int(record["index"]) for record in self.records]
        for low, high, _ in self.released:
            told += range(low, high)
        return sorted(told) == list(range(start, stop))


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def children() -> set[int]:
    """Of this process."""
    return {process.pid for process in psutil.Process().children()}


def wait_gone(*pids: int) -> None:
    until(lambda: all(map(gone, pids)), f"the end of {pids}")


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes pools. What waits behind a slow mini-batch is given back only where a test says `slow_seconds`: on a
    machine that is busy, any may be.
    """
    warm_servers.start()
    made: list[Zoo] = []

    def make(table: dict[Any, str] | None = None, *, slow_seconds: float = LONG, **settings: Any) -> Zoo:
        monkeypatch.setattr(timeouts, "SLOW_SECONDS", slow_seconds)
        made.append(Zoo(tmp_path, table or {}, **settings))
        return made[-1]

    make.wait_for, make.wait_gone, make.gone = until, wait_gone, gone  # type: ignore[attr-defined]
    yield make
    for one in made:
        one.pool.close()
    # What multiprocessing keeps for the clusters of other tests is not ours.
    left = {
        pid: Path(f"/proc/{pid}/cmdline").read_text()
        for pid in children() - warm_servers.pids()
        if not gone(pid)
    }
    assert {pid: what for pid, what in left.items() if "multiprocessing" not in what} == {}
