"""The fork server: what it forks, what it says of it, and that nothing outlives it or its node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from daskpar.processor.child_setup import CommandTask
from daskpar.processor.command_process import TIMED_OUT, CommandRunner
from daskpar.processor.fork_protocol import Exited, Spawned
from daskpar.processor.fork_server import ForkServer

pytestmark = pytest.mark.fresh_servers

# A child, one in a session of its own, and a daemon: each leaves its number.
FAMILY = """
echo $$ > a.new; mv a.new a
setsid sleep 3600 & echo $! > b.new; mv b.new b
(setsid sh -c 'echo $$ > c.new; mv c.new c; exec sleep 3600' &) &
sleep 3600
"""


def task(folder, command: str) -> CommandTask:
    return CommandTask(
        command=command, cwd=str(folder), stdout=str(folder / "stdout"), stderr=str(folder / "stderr")
    )


def read_events(server, number: int) -> list:
    import select

    events: list = []
    while len(events) < number:
        assert select.select([server], [], [], 60)[0]
        events += server.read_events()
    return events


def family(zoo, folder) -> list[int]:
    paths = [folder / name for name in "abc"]
    zoo.wait_for(lambda: all(path.exists() for path in paths), "the start of the family")
    return [int(path.read_text()) for path in paths]


@pytest.mark.parametrize(
    ("command", "status"), [("exit 3", 3 << 8), ("true", 0), ("kill -9 $$", 9), ("kill -SEGV $$", 11)]
)
def test_the_start_and_the_end_of_a_child_are_reported(tmp_path, command, status):
    server = ForkServer(light=True)
    key = server.spawn(task(tmp_path, command), [])
    spawned, exited = read_events(server, 2)
    assert isinstance(spawned, Spawned) and isinstance(exited, Exited)
    assert (spawned.key, exited.key, exited.pid, exited.status) == (key, key, spawned.pid, status)
    server.close()


def test_many_children_at_once_are_all_reported(tmp_path):
    server = ForkServer(light=True)
    keys = [server.spawn(task(tmp_path, "true"), []) for _ in range(50)]
    events = read_events(server, 100)
    assert sorted(e.key for e in events if isinstance(e, Spawned)) == keys
    assert sorted(e.key for e in events if isinstance(e, Exited)) == keys
    server.close()


def test_closing_takes_every_descendant_with_it(zoo, tmp_path):
    server = ForkServer(light=True)
    server.spawn(task(tmp_path, FAMILY), [])
    pids = family(zoo, tmp_path)
    server.close()
    assert all(zoo.gone(pid) for pid in pids)
    server.close()


def test_a_node_that_is_killed_leaves_nothing(zoo, tmp_path):
    text = f"""
import time
from pathlib import Path
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.child_setup import CommandTask
server = ForkServer(light=True)
server.spawn(CommandTask(command={FAMILY!r}, cwd={str(tmp_path)!r}, stdout="/dev/null", stderr="/dev/null"), [])
Path({str(tmp_path / "server")!r}).write_text(str(server.process.pid))
time.sleep(3600)
"""
    node = subprocess.Popen([sys.executable, "-c", text])
    pids = family(zoo, tmp_path)
    node.kill()
    node.wait()
    zoo.wait_gone(*pids, int((tmp_path / "server").read_text()))


def test_signals_to_everybody_are_left_to_the_driver(tmp_path):
    server = ForkServer(light=True)
    server.spawn(task(tmp_path, "true"), [])
    read_events(server, 2)  # it is up
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(server.process.pid, number)
    key = server.spawn(task(tmp_path, "exit 4"), [])
    assert {e.key for e in read_events(server, 2)} == {key}
    server.close()


def test_a_server_that_is_killed_says_how_it_ended(tmp_path):
    server = ForkServer(light=True)
    server.process.kill()
    with pytest.raises(ConnectionResetError, match="SIGKILL"):
        read_events(server, 1)
    server.close()


def test_a_server_that_can_not_start_says_where_its_log_is(tmp_path):
    log = tmp_path / "sys" / "forkserver.txt"
    server = ForkServer(environment={"PYTHONHOME": str(tmp_path)}, log=str(log))
    with pytest.raises(ConnectionResetError, match=rf"exit code 1; what it said is in {log}"):
        read_events(server, 1)
    server.close()
    assert "Python" in log.read_text()


def test_a_server_that_has_nothing_to_say_leaves_no_log(tmp_path):
    log = tmp_path / "forkserver.txt"
    server = ForkServer(light=True, log=str(log))
    server.spawn(task(tmp_path, "true"), [])
    read_events(server, 2)
    assert log.exists()
    server.close()
    assert not log.exists()


def test_a_module_in_the_folder_of_the_node_does_not_stand_in_for_another(tmp_path, monkeypatch):
    for name in ("select.py", "pickle.py", "daskpar.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong one')\n")
    monkeypatch.chdir(tmp_path)
    server = ForkServer(light=True)
    server.spawn(task(tmp_path, "true"), [])
    assert len(read_events(server, 2)) == 2
    server.close()


def runner(tmp_path, command: str, **options) -> CommandRunner:
    return CommandRunner(
        command=command,
        cwd=str(tmp_path),
        environment={"MINE": "here"},
        stdout_path=str(tmp_path / "logs/stdout"),
        stderr_path=str(tmp_path / "logs/stderr"),
        **options,
    )


@pytest.mark.parametrize(
    ("command", "code"), [("exit 3", 3), ("true; false; true", 0), ("kill -TERM $$", 143)]
)
def test_a_command_gives_its_exit_code(tmp_path, command, code):
    assert runner(tmp_path, command).run() == code


def test_a_command_has_its_folder_its_variables_and_its_logs(tmp_path):
    assert runner(tmp_path, "echo $MINE; pwd; echo wrong >&2; cat").run() == 0
    assert (tmp_path / "logs/stdout").read_text() == f"here\n{tmp_path}\n"
    assert (tmp_path / "logs/stderr").read_text() == "wrong\n"


def test_a_command_past_its_time_ends_with_all_that_it_started(zoo, tmp_path):
    found: list[int] = []
    one = runner(tmp_path, FAMILY, timeout=3.0)
    watcher = threading.Thread(target=lambda: found.extend(family(zoo, tmp_path)))
    watcher.start()
    assert one.run() == TIMED_OUT
    watcher.join()
    assert all(zoo.gone(pid) for pid in found) and len(found) == 3


def test_a_command_can_be_killed_at_any_time(zoo, tmp_path):
    early = runner(tmp_path, "sleep 3600")
    early.kill()
    assert early.run() == 137
    early.kill()
    late = runner(tmp_path, FAMILY)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(late.run()))
    thread.start()
    pids = family(zoo, tmp_path)
    late.kill()
    thread.join()
    assert codes == [137]
    assert all(zoo.gone(pid) for pid in pids)
