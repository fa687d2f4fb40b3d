"""Nothing outlives a run, though the fork server itself is killed or stopped, alone or with its node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from daskpar.processor.child_setup import CommandTask
from daskpar.processor.fork_server import ForkServer

pytestmark = pytest.mark.fresh_servers

# A child, one in a session of its own, and a daemon: each leaves its number.
FAMILY = """
echo $$ > a.new; mv a.new a
setsid sleep 3600 & echo $! > b.new; mv b.new b
(setsid sh -c 'echo $$ > c.new; mv c.new c; exec sleep 3600' &) &
sleep 3600
"""


def family(zoo, folder) -> list[int]:
    paths = [folder / name for name in "abc"]
    zoo.wait_for(lambda: all(path.exists() for path in paths), "the start of the family")
    return [int(path.read_text()) for path in paths]


def test_a_fork_server_that_is_killed_leaves_nothing_though_nobody_closes_it(zoo, tmp_path):
    server = ForkServer(light=True)
    server.spawn(CommandTask(command=FAMILY, cwd=str(tmp_path), stdout="/dev/null", stderr="/dev/null"), [])
    pids = family(zoo, tmp_path)
    server.process.kill()
    zoo.wait_gone(*pids)
    server.close()


@pytest.mark.parametrize("first", ["server and node", "server stopped, then node", "node, then server"])
def test_nothing_is_left_whoever_dies(zoo, tmp_path, first):
    text = f"""
import time
from pathlib import Path
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.child_setup import CommandTask
server = ForkServer(light=True)
server.spawn(CommandTask(command={FAMILY!r}, cwd={str(tmp_path)!r}, stdout="/dev/null", stderr="/dev/null"), [])
Path({str(tmp_path / "server.new")!r}).write_text(str(server.process.pid))
Path({str(tmp_path / "server.new")!r}).rename({str(tmp_path / "server")!r})
time.sleep(3600)
"""
    node = subprocess.Popen([sys.executable, "-c", text])
    pids = family(zoo, tmp_path)
    zoo.wait_for((tmp_path / "server").exists, "the server's number")
    server = int((tmp_path / "server").read_text())
    if first == "server stopped, then node":
        os.kill(server, signal.SIGSTOP)
        node.kill()
    else:
        order = [server, node.pid] if first == "server and node" else [node.pid, server]
        for pid in order:
            os.kill(pid, signal.SIGKILL)
    node.wait()
    zoo.wait_gone(*pids, server)


LEAVES = """
import os, tempfile, time
from multiprocessing import shared_memory
def run(mini_batch):
    memory = shared_memory.SharedMemory(create=True, size=1000)
    open(os.path.join(tempfile.mkdtemp(), "file"), "w").close()
    with open(os.environ["WORLD"] + "/left.new", "w") as file:
        file.write(f"/dev/shm/{memory.name}\\n{tempfile.gettempdir()}\\n{os.getpid()}")
    os.rename(os.environ["WORLD"] + "/left.new", os.environ["WORLD"] + "/left")
    time.sleep(3600)
"""


def test_what_processors_had_goes_with_a_fork_server_that_is_killed(zoo, tmp_path):
    (tmp_path / "leaves.py").write_text(LEAVES)
    at = zoo({}, entry_script=str(tmp_path / "leaves.py"), environment={"WORLD": str(tmp_path)})
    at.submit(0, 1)
    zoo.wait_for((tmp_path / "left").exists, "the call")
    memory, temporary, pid = (tmp_path / "left").read_text().split("\n")
    assert os.path.exists(memory) and temporary.endswith(f"/{pid}")
    os.kill(at.pool.processors.server.process.pid, signal.SIGKILL)
    zoo.wait_for(lambda: not os.path.exists(memory), "the end of the shared memory")
    zoo.wait_for(lambda: not os.path.exists(os.path.dirname(temporary)), "the end of the temporary files")


SLOW_GUARDIAN = """
import os, signal, sys, time
from pathlib import Path
from daskpar.processor import guardian
guardian.GRACE_SECONDS = 0.2
fork, folder = os.fork, Path(sys.argv[1])
def fork_and_wait():
    pid = fork()
    while not pid and not (folder / "node-is-gone").exists():
        time.sleep(0.01)
    return pid
if fork():
    time.sleep(3600)
os.fork = fork_and_wait
guardian.start("DASKPAR_BELOW=nobody", os.open(os.devnull, os.O_RDWR))
(folder / "server.new").write_text(str(os.getpid()))
(folder / "server.new").rename(folder / "server")
os.setsid()
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_guardian_that_runs_only_once_its_node_has_gone_knows_that(zoo, tmp_path):
    node = subprocess.Popen([sys.executable, "-c", SLOW_GUARDIAN, str(tmp_path)])
    zoo.wait_for((tmp_path / "server").exists, "the server's number")
    node.kill()
    node.wait()
    (tmp_path / "node-is-gone").touch()
    zoo.wait_gone(int((tmp_path / "server").read_text()))
