"""What a node was at when it was killed is written down by its fork server; what ends in order blames nobody."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from daskpar.processor import last_state
from daskpar.processor.last_state import LastState
from daskpar.processor.shared_page import Announcement, Phase

pytestmark = pytest.mark.fresh_servers

NODE = """
import pickle, sys, time
from daskpar.processor.pool import ProcessorPool
from daskpar.processor.protocol import BlockOrder
settings, orders = pickle.load(sys.stdin.buffer)
pool = ProcessorPool(settings, lambda messages: None)
for number, (start, stop) in enumerate(orders):
    pool.submit(BlockOrder(block=number, token=f"t{number}", start=start, stop=stop))
time.sleep(3600)
"""


@pytest.mark.parametrize(
    "text", ["[[3,", "[]", '{"last": 3, "orderly": false}', '{"last": [[1]], "orderly": false}', "null"]
)
def test_a_damaged_file_is_no_state(zoo, text):
    settings = zoo().settings
    Path(last_state.path_of(settings)).write_text(text)
    assert last_state.read(settings) is None


def test_another_fork_server_of_a_living_node_deletes_the_state_of_the_one_before(zoo):
    made = zoo({3: "hang"}, max_retries=1)
    made.submit(0, 5)
    zoo.wait_for(lambda: 3 in made.calls, "the hanging call")
    last_state.write(made.settings, [])
    made.pool.processors.server.process.kill()
    zoo.wait_for(lambda: last_state.read(made.settings) is None, "the end of the old state")


@pytest.mark.parametrize(
    ("announced", "state"),
    [
        ([], LastState()),
        (
            [
                Announcement(-1, Phase.INIT, 0.0),
                Announcement(-1, Phase.IDLE, 0.0),
                Announcement(-1, Phase.SHUTDOWN, 0.0),
            ],
            LastState(),
        ),
        (
            [Announcement(7, Phase.LOAD, 0.0), Announcement(9, Phase.RUN, 0.0)],
            LastState(running=frozenset({7, 9})),
        ),
        (
            [Announcement(5, Phase.FLUSH, 0.0), Announcement(9, Phase.RUN, 0.0)],
            LastState(running=frozenset({9}), writing=frozenset({5})),
        ),
    ],
)
def test_what_is_written_is_read(zoo, announced, state):
    settings = zoo().settings
    assert last_state.read(settings) is None
    last_state.write(settings, announced)
    assert last_state.read(settings) == state
    assert last_state.read(replace(settings, session="another")) is None


def test_a_folder_that_has_gone_is_not_made_again(zoo, tmp_path):
    settings = replace(zoo().settings, shared=str(tmp_path / "gone"))
    last_state.write(settings, [])
    assert not (tmp_path / "gone").exists()


def test_a_node_that_is_killed_has_said_what_its_processors_were_at(zoo):
    made = zoo({3: "hang", 7: "hang"}, processors=2)
    node = subprocess.Popen([sys.executable, "-c", NODE], stdin=subprocess.PIPE)
    pickle.dump((made.settings, [(0, 5), (5, 10)]), node.stdin)
    node.stdin.close()
    zoo.wait_for(lambda: {3, 7} <= set(made.calls), "the hanging calls")
    node.kill()
    node.wait()
    zoo.wait_for(lambda: last_state.read(made.settings) is not None, "its last state")
    assert last_state.read(made.settings) == LastState(running=frozenset({3, 7}))


def test_a_pool_that_is_closed_blames_nobody(zoo):
    made = zoo({3: "hang"})
    made.submit(0, 5)
    zoo.wait_for(lambda: 3 in made.calls, "the hanging call")
    made.pool.close()
    assert last_state.read(made.settings) == LastState(running=frozenset({3}), orderly=True)
    assert [name for name in os.listdir(made.settings.shared) if name.endswith(".tmp")] == []
