"""An entry script that harms itself, its node or its run at named moments: the first call does the first thing of its list, and so on.

--world DIR holds `faults.json`: {"moments": {"load 7": ["kill", ...], "run 7": [...], "write 7": [...], "say 7": [...], "init": [...]}},
where the number is the mini-batch, and gets what happened: `calls` (a line for each call of run()) and `deaths` (a line for each harm).
"""

import argparse
import json
import os
import pathlib
import signal
import time

from daskpar.batches.plan import Plan
from daskpar.processor import block_runner, channel, part_file

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--world")
known, _ = parser.parse_known_args()
WORLD = pathlib.Path(known.world)
FAULTS = json.loads((WORLD / "faults.json").read_text())
HELD = []
CURRENT = {"index": -1, "first": -1}


def worker_pid():
    """The Dask worker: parent of the fork server, which is our parent."""
    with open(f"/proc/{os.getppid()}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


WORKER = worker_pid()


def line(name, *values):
    """One whole line in a file of the world, whoever else writes there."""
    fd = os.open(WORLD / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (" ".join(map(str, values)) + "\n").encode())
    os.close(fd)


def turn(moment):
    """Which time it is that this moment comes, over all processes."""
    n = 0
    while True:
        try:
            os.close(
                os.open(WORLD / f"turn.{moment.replace(' ', '-')}.{n}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            )
        except FileExistsError:
            n += 1
        else:
            return n


def moment(name, index=None):
    """Do what the table says for this moment, if anything."""
    things = FAULTS.get(name if index is None else f"{name} {index}")
    if not things:
        return
    n = turn(name if index is None else f"{name} {index}")
    if n < len(things) and things[n] != "ok":
        harm(things[n], name, -1 if index is None else index)


def harm(thing, name, index):
    nodes = {"kill worker", "kill worker, go on", "kill nanny", "kill node", "stop worker"}
    what, pid = ("node", WORKER) if thing in nodes else ("processor", os.getpid())
    line("deaths", what, pid, thing.replace(" ", "-"), name, index, time.monotonic())
    HARMS[thing](name, index)


def signalled(number):
    return lambda *_: os.kill(os.getpid(), number)


def hang(*_):
    while True:
        signal.pause()


def throw(*_):
    raise ValueError("the script says no")


def grow(*_):
    while True:
        HELD.append(bytearray(64 << 20))


def kill_worker(*_):
    os.kill(WORKER, signal.SIGKILL)
    hang()


def kill_worker_and_go_on(*_):
    # It may be through with its block before its end reaches it.
    os.kill(WORKER, signal.SIGKILL)


def kill_node(*_):
    os.kill(parent_of(WORKER), signal.SIGKILL)
    kill_worker()


def call(name, index):
    # Somebody outside acts on it and lets us go on.
    line("wanted", name, index, os.getpid())
    while not (WORLD / "go").exists():
        time.sleep(0.01)


HARMS = {
    "kill": signalled(signal.SIGKILL),
    "segfault": signalled(signal.SIGSEGV),
    "stop": signalled(signal.SIGSTOP),
    "leave": lambda *_: os._exit(9),
    "hang": hang,
    "raise": throw,
    "grow": grow,
    "kill worker": kill_worker,
    "kill worker, go on": kill_worker_and_go_on,
    "stop worker": lambda *_: os.kill(WORKER, signal.SIGSTOP),
    "kill nanny": lambda *_: os.kill(parent_of(WORKER), signal.SIGKILL),
    "kill node": kill_node,
    "call": call,
}


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def _loading(self, index, load=Plan.load):
    moment("load", index)
    return load(self, index)


def _writing(self, data, append=part_file.PartFile.append):
    # A part file's write is torn in the middle: half of it is there, nothing was said.
    index = CURRENT["index"]
    if FAULTS.get(f"write {index}"):
        half = len(data) // 2
        append(self, data[:half])
        moment("write", index)
        self.size -= half
        os.ftruncate(self._fd, self.size)
    return append(self, data)


def _saying(sock, value, send=channel.send):
    if type(value).__name__ == "Flushed":
        moment("say", CURRENT["index"])
    send(sock, value)


Plan.load, part_file.PartFile.append, channel.send = _loading, _writing, _saying
moment("import")


def init():
    moment("init")


def run(mini_batch, context):
    index = CURRENT["index"] = int(context.minibatch_index)
    line("calls", index, os.getpid(), WORKER, time.monotonic())
    # A death while its rows are written comes only where there is a write just then.
    block_runner.FLUSH_SECONDS = 0.0 if f"write {index}" in FAULTS or f"say {index}" in FAULTS else 0.1
    moment("run", index)
    if isinstance(mini_batch, list):
        return [f"{index} {os.path.basename(item)}" for item in mini_batch]
    rows = mini_batch[["key", "row"]]
    rows.insert(0, "mini_batch", index)
    return rows


def shutdown():
    moment("shutdown")
