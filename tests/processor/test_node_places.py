"""Paths of a node that does not see the run directory, both ways."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from daskpar.events import ProcessorState
from daskpar.processor.node_places import NodePlaces
from daskpar.processor.protocol import LogMessage, ProcessorChanged, SeenInput
from daskpar.rows.shared_folder import SharedFolder

PLACES = NodePlaces(
    root="/node",
    moves=(("/home/me/rows.txt", "/node/input-1/rows.txt"), ("/runs/one", "/node/run")),
    back_only=(("/home/me", "/node/code-1"),),
)


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("/runs/one", "/node/run"),
        ("/runs/one/steps/a", "/node/run/steps/a"),
        ("--out=/runs/one/x", "--out=/node/run/x"),
        ("'/runs/one/a b'", "'/node/run/a b'"),
        ("/runs/one-more", "/runs/one-more"),
        ("/runs/one.old", "/runs/one.old"),
        ("/other/runs/one", "/other/runs/one"),
        ("/home/me/rows.txt", "/node/input-1/rows.txt"),
        ("/home/me/data", "/home/me/data"),
        ("s3://box/runs/one", "s3://box/runs/one"),
    ],
)
def test_texts_get_the_places_of_the_node(there, here):
    assert PLACES.text_here(there) == here
    assert PLACES.back(here) == there


def test_values_of_settings_are_moved_whatever_they_are_made_of():
    given = {
        "a": ("/runs/one/x", 1, None),
        "b": SharedFolder(Path("/runs/one/parts")),
        "c": [Path("/runs/one")],
    }
    moved = {
        "a": ("/node/run/x", 1, None),
        "b": SharedFolder(Path("/node/run/parts")),
        "c": [Path("/node/run")],
    }
    assert PLACES.here(given) == moved
    assert pickle.loads(pickle.dumps(PLACES)).here(given) == moved
    seen = SeenInput(path="/data", seen="/runs/one/copies/data", copied=False)
    assert PLACES.here((seen,)) == (SeenInput(path="/data", seen="/node/run/copies/data", copied=False),)


def test_reports_name_the_places_of_the_driver():
    message = LogMessage(level="warning", text="in /node/code-1/score.py, see /node/run/steps/a/logs")
    assert PLACES.back(message).text == "in /home/me/score.py, see /runs/one/steps/a/logs"
    changed = ProcessorChanged(node=1, processor=0, pid=2, state=ProcessorState.READY, detail="/node/run")
    assert type(PLACES.back(changed).state) is ProcessorState and PLACES.back(changed).detail == "/runs/one"
