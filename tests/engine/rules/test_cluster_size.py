"""How many nodes there is work for, and what is said while they are waited for."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.cluster_size import NodeWait, nodes_for, waiting_in_words


@pytest.mark.parametrize(
    ("mini_batches", "processors", "instance_count", "nodes"),
    [(100, 2, 4, 4), (5, 2, 4, 3), (5, 2, -1, 3), (1, 8, 4, 1), (0, 2, 4, 0), (10, 0, 4, 4)],
)
def test_no_more_nodes_than_there_is_work_for(mini_batches, processors, instance_count, nodes):
    assert nodes_for(mini_batches, processors, instance_count) == nodes


@pytest.mark.parametrize(
    ("asked", "here", "seconds", "said"),
    [
        (4, 1, 125.0, "asked for 4 nodes, 1 is here (2 min)"),
        (1, 0, 30.0, "asked for 1 node, none is here (30 s)"),
        (4, 1, 7_200.0, "asked for 4 nodes, 1 is here (2 h)"),
        (9, 3, 7_260.0, "asked for 9 nodes, 3 are here (2 h 1 min)"),
    ],
)
def test_what_is_said(asked, here, seconds, said):
    assert waiting_in_words(asked, here, seconds) == said


def test_it_is_said_ever_more_seldom_and_anew_when_something_else_is_asked_for():
    wait = NodeWait(0.0)
    told = [second for second in range(1300) if wait.look(4, 1, float(second))]
    assert told == [10, 30, 60, 120, 300, 600, 900, 1200]
    assert wait.look(4, 4, 1500.0) == "" and wait.look(0, 0, 1800.0) == ""
    assert wait.look(5, 4, 1801.0) == "" and "asked for 5" in wait.look(5, 4, 1811.0)


def test_the_wait_for_another_number_of_nodes_begins_when_it_is_asked_for():
    wait = NodeWait(0.0)
    assert not wait.look(4, 1, 0.0)
    assert wait.look(4, 1, 10.0) and not wait.look(5, 1, 11.0)
    assert not wait.look(5, 1, 20.0) and wait.look(5, 1, 21.0).endswith("(10 s)")
