"""Second copies: the first commit wins, each mini-batch is committed once, and nothing else changes by them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from daskpar.engine.rules.backup_dispatch import BackupDispatcher, Overtaken
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.processor.protocol import FIRST_COPY


def queue(count=4, nodes=2, processors=1, at=0):
    made = BackupDispatcher([(at, at + count)], BlockSizer())
    for node in range(nodes):
        made.add_node("abcdefgh"[node], processors)
    return made


def run(made, block, *indices):
    return made.settle(block, f"t{block}", np.array(indices)).tolist()


def straggling():
    """Mini-batch 0 runs on node a as block 0, all others are done."""
    made = queue(2)
    orders = dict((order.start, (node, order.block)) for node, order in made.orders())
    _, block = orders[1]
    assert run(made, block, 1) == [True]
    made.end(block, f"t{block}")
    return made, *orders[0]


def test_a_copy_goes_to_another_node_and_its_result_counts_where_it_is_first():
    made, slow, block = straggling()
    node, order = made.copy(block, 0, 1)
    assert node != slow and order.block == FIRST_COPY and not made.finished
    assert run(made, order.block, 0) == [True]
    assert made.finished and made.overtaken == [Overtaken(node=slow, block=block, start=0, stop=1)]
    assert run(made, block, 0) == [False]  # the other one comes too late
    made.end(order.block, f"t{order.block}")
    assert made.idle() == {"a": 1, "b": 1}


def test_the_copy_is_stopped_where_the_first_one_is_first():
    made, _, block = straggling()
    node, order = made.copy(block, 0, 1)
    assert run(made, block, 0) == [True]
    made.end(block, f"t{block}")
    made.end_copies()
    assert made.overtaken == [Overtaken(node=node, block=order.block, start=0, stop=1)]
    assert run(made, order.block, 0) == [False]
    assert made.finished and not made.copies and made.idle() == {"a": 1, "b": 1}


def test_another_processor_of_the_node_will_do_unless_the_node_hangs():
    made = queue(1, nodes=1, processors=2)
    [(node, order)] = made.orders()
    assert made.copy(order.block, 0, 1, elsewhere=True) is None
    assert made.copy(order.block, 0, 1)[0] == node
    assert made.copy(order.block, 0, 1) is None  # now none is idle


def test_each_try_has_one_copy():
    made, _, block = straggling()
    assert made.may_copy(0, 1)
    _, order = made.copy(block, 0, 1)
    assert not made.may_copy(0, 1)
    made.end(order.block, f"t{order.block}")  # it has failed
    assert not made.may_copy(0, 1)
    run(made, block, 0)
    made.retry(0, 1)
    assert made.may_copy(0, 1)


def test_who_takes_nodes_down_gets_no_copy():
    made, _, _ = straggling()
    made.blame.accuse(0, 1)
    assert not made.may_copy(0, 1)


@pytest.mark.parametrize("waits", ["queue", "elsewhere", "held", "block of several"])
def test_a_copy_takes_its_mini_batch_from_wherever_it_is_due(waits):
    made, slow, block = straggling()
    _, order = made.copy(block, 0, 1)
    if waits == "block of several":
        made.blocks[block].due = [(0, 3)]
    else:
        assert run(made, block, 0) == [True]  # it has failed there
        made.end(block, f"t{block}")
        if waits == "held":
            made.hold(0, 0)
        else:
            made.retry(0, 1, failed_on=slow if waits == "elsewhere" else "")
    made.end_copies()
    assert made.copies and not made.overtaken  # nothing has its outcome yet
    assert run(made, order.block, 0) == [True]
    assert made.finished is (waits != "block of several") and made.waiting == 0
    if waits == "block of several":
        assert made.blocks[block].due == [(1, 3)]
    made.let_go(0)
    assert made.waiting == 0


def test_a_lost_copy_changes_nothing_and_a_lost_node_is_made_up_for_by_its_copy():
    made, slow, block = straggling()
    node, _ = made.copy(block, 0, 1)
    made.lose_node(node)
    assert made.requeue_lost_node(node, running=1).requeued == 0
    assert not made.copies and not made.finished
    made.add_node("c", 1)
    assert made.copy(block, 0, 1)[0] == "c"
    made.lose_node(slow)
    assert made.requeue_lost_node(slow, running=1).requeued == 1
    assert run(made, FIRST_COPY + 1, 0) == [True] and made.finished


def test_a_copy_that_gives_back_or_is_told_unreached_gives_nothing_to_the_queue():
    made, _, block = straggling()
    _, order = made.copy(block, 0, 1)
    token = f"t{order.block}"
    assert made.take_out(order.block, token, 0) is None
    assert made.release(order.block, token, 0, 1).requeued == 0 and made.waiting == 0
    assert run(made, order.block, 0) == [False]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_each_mini_batch_is_committed_once(seed):
    """Blocks and copies end, fail, are given back and lost with their nodes, in any order."""
    dice = random.Random(seed)
    made = queue(30, nodes=3, processors=2)
    committed: list[int] = []
    under_way: dict[int, tuple[str, list[int]]] = {}
    nodes = 3
    for _ in range(20_000):
        made.end_copies()
        made.overtaken.clear()
        if made.finished:
            break
        for node, order in made.orders():
            under_way[order.block] = (node, list(range(order.start, order.stop)))
        if not made.waiting and (block := dice.choice([*made.blocks, None])) is not None:
            due = made.blocks[block].due
            if due and made.may_copy(due[0][0], due[0][0] + 1):
                found = made.copy(block, due[0][0], due[0][0] + 1)
                if found:
                    under_way[found[1].block] = (found[0], [found[1].start])
        if not under_way:
            continue
        block = dice.choice(list(under_way))
        node, indices = under_way[block]
        what = dice.choice(["end", "end", "end", "fail", "release", "lose"])
        if what == "lose" and dice.random() < 0.2:
            made.lose_node(node)
            lost = made.requeue_lost_node(node, running=2)
            committed += lost.failed
            under_way = {b: found for b, found in under_way.items() if found[0] != node}
            nodes += 1
            made.add_node(f"n{nodes}", 2)
            continue
        index = indices.pop(0)
        if what == "release":
            made.release(block, f"t{block}", index, index + 1)
        elif what == "fail" and block >= FIRST_COPY:
            pass
        elif run(made, block, index) == [True]:
            if what == "fail":
                made.retry(index, 1, failed_on=node)
            else:
                committed.append(index)
        if not indices:
            del under_way[block]
            made.end(block, f"t{block}")
    assert sorted(committed) == list(range(30))
    assert made.waiting == 0 and not made.copies


def test_a_copy_of_several_brings_each_of_them_and_only_once():
    made = BackupDispatcher([(0, 40)], BlockSizer())
    made.sizer.measure(1000, 100.0)
    made.add_node("a", 1)
    made.add_node("b", 1)
    orders = made.orders()
    block = next(order for node, order in orders if node == "a")
    for node, order in orders:
        if node == "b":
            run(made, order.block, *range(order.start, order.stop))
            made.end(order.block, f"t{order.block}")
    assert block.stop - block.start > 2
    node, copy = made.copy(block.block, block.start, block.start + 3)
    assert node == "b"
    assert [run(made, copy.block, block.start + at) for at in range(3)] == [[True], [True], [True]]
    assert run(made, copy.block, block.start + 3) == [False]  # it had no copy
    assert run(made, block.block, *range(block.start, block.start + 4)) == [False, False, False, True]


def test_what_is_said_of_a_block_and_of_its_copy():
    made, _, block = straggling()
    node, order = made.copy(block, 0, 1)
    assert made.take_out(order.block, f"t{order.block}", 0) is None
    assert made.end(order.block, f"t{order.block}") == 0
    assert made.take_out(block, f"t{block}", 0) == 0
    made, _, block = straggling()
    node, order = made.copy(block, 0, 1)
    made.lose_block(order.block)
    assert not made.copies and made.idle()[node] == 1
