"""When faults happen: the schedule of the world, and the moments inside a processor to which it can refer."""

import json
import os
import time

from fault_table import FAULTS, OF_THE_NODE
from fault_world import WORKER, WORLD, line, turn

SCHEDULE = json.loads((WORLD / "faults.json").read_text())
CURRENT = {"index": -1}
"""The mini-batch whose run() was called last in this process."""


def moment(name, index=None, rows=()):
    """Do what the schedule says for this moment; returns what run() is to return."""
    key = name if index is None else f"{name} {index}"
    planned = SCHEDULE.get(key, "ok")
    if isinstance(planned, list):
        n = turn(key)
        planned = planned[n] if n < len(planned) else "ok"
    if planned == "ok":
        return rows
    what, pid = ("node", WORKER) if planned in OF_THE_NODE else ("processor", os.getpid())
    # Before it happens: afterwards there may be nobody to write it.
    line(
        "deaths", what, pid, planned.replace(" ", "-"), name, -1 if index is None else index, time.monotonic()
    )
    return FAULTS[planned](rows)


def arm():
    """Make the moments "load", "write" and "say" come, where the schedule names any of them."""
    if not any(key.startswith(("load ", "write ", "say ")) for key in SCHEDULE):
        return
    from daskpar.batches.plan import Plan
    from daskpar.processor import block_runner, channel
    from daskpar.rows import shared_folder

    patience = block_runner.FLUSH_SECONDS

    def loading(self, index, load=Plan.load):
        moment("load", index)
        return load(self, index)

    def writing(self, data, before=0, append=shared_folder.PartFile.append):
        index = CURRENT["index"]
        if f"write {index}" in SCHEDULE:
            # The write is torn in the middle: half of it is there, and nobody was told.
            half = len(data) // 2
            append(self, data[:half])
            moment("write", index)
            self.size -= half
            os.ftruncate(self._fd, self.size)
        return append(self, data, before)

    def saying(sock, value, send=channel.send):
        if type(value).__name__ == "Flushed":
            moment("say", CURRENT["index"])
        send(sock, value)

    def running(index):
        # A death while its rows are written comes only where there is a write just then.
        block_runner.FLUSH_SECONDS = 0.0 if {f"write {index}", f"say {index}"} & SCHEDULE.keys() else patience

    Plan.load, shared_folder.PartFile.append, channel.send = loading, writing, saying
    BEFORE_RUN.append(running)


BEFORE_RUN = []
