"""The dispatcher never loses and never doubles a mini-batch, whatever happens to nodes and blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daskpar.engine.rules.blame import LOSSES, LOSSES_AT_MOST, subtract
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.engine.rules.dispatch import QUEUED_AHEAD, Dispatcher, Loss, Piece, runs
from daskpar.processor.last_state import LastState


def dispatcher(count: int, *, each: float | None = 0.1, nodes: dict[str, int] | None = None) -> Dispatcher:
    sizer = BlockSizer()
    if each is not None:
        sizer.measure(1000, each * 1000)
    made = Dispatcher([(0, count)], sizer)
    for node, processors in (nodes or {"a": 2}).items():
        made.add_node(node, processors)
    return made


def settle(made: Dispatcher, order, start: int, stop: int, token: str = "t") -> int:
    return int(made.settle(order.block, token, np.arange(start, stop)).sum())


def lose(made: Dispatcher, node: str, last_state: LastState | None = None) -> Loss:
    return made.requeue_lost_node(node, running=made.lose_node(node), last_state=last_state)


def lose_unready(made: Dispatcher, node: str) -> Loss:
    """None of its processors had come past `init()`."""
    made.lose_node(node)
    return made.requeue_lost_node(node, running=0, last_state=LastState())


def test_every_processor_gets_one_block_to_run_and_one_to_wait():
    made = dispatcher(1000, nodes={"a": 2, "b": 1})
    given = [node for node, _ in made.orders()]
    assert (given.count("a"), given.count("b")) == (2 * QUEUED_AHEAD, QUEUED_AHEAD)
    assert made.orders() == []


def test_blocks_are_contiguous_and_in_order():
    orders = [order for _, order in dispatcher(1000).orders()]
    assert orders[0].start == 0
    assert all(a.stop == b.start for a, b in itertools.pairwise(orders))


def fail(made: Dispatcher, *, charged: bool = True) -> tuple[str, int]:
    """The first mini-batch of a block on node "a" fails there, the rest succeed: the node and the mini-batch."""
    node, order = next((node, order) for node, order in made.orders() if node == "a")
    settle(made, order, order.start, order.stop)
    made.end(order.block, "t")
    made.retry(order.start, order.tries + charged, failed_on=node, charged=charged)
    return node, order.start


def test_a_retry_goes_to_another_node():
    made = dispatcher(1000, nodes={"a": 1, "b": 1})
    node, index = fail(made)
    assert [given for given, order in made.orders() if order.start == index] == [], "the other one is full"
    block = next(number for number, block in made.blocks.items() if block.node == "b")
    made.lose_block(block)
    assert [given for given, order in made.orders() if order.start == index] == ["b"] != [node]


@pytest.mark.parametrize("gone", ["lost", "left", "paused", "the only one"])
def test_a_retry_stays_where_no_other_node_can_run_it(gone):
    made = dispatcher(1000, nodes={"a": 1} if gone == "the only one" else {"a": 1, "b": 1})
    made.ready = {"a", "b"}
    _, index = fail(made)
    if gone == "lost":
        made.lose_node("b")
    elif gone == "left":
        made.leave_node("b")
    elif gone == "paused":
        made.paused = {"b"}
    assert index in {order.start for node, order in made.orders() if node == "a"}


def test_a_retry_waits_for_a_node_that_is_starting():
    made = dispatcher(1, nodes={"a": 1})
    made.more_come = True
    fail(made)
    assert made.orders() == []
    made.more_come = False
    assert [node for node, _ in made.orders()] == ["a"]


def test_a_retry_that_waits_for_another_node_is_not_forgotten():
    made = dispatcher(1, nodes={"a": 1, "b": 1})
    made.leave_node("b")
    made.add_node("b", 1)
    fail(made)
    assert (made.finished, made.waiting) == (False, 1)
    made.drop_waiting()
    assert (made.finished, made.waiting) == (True, 0)


@pytest.mark.parametrize("charged", [True, False])
def test_a_try_that_is_not_charged_uses_up_none_and_is_known_to_its_next_block(charged):
    made = dispatcher(1000, nodes={"a": 1})
    _, index = fail(made, charged=charged)
    again = next(order for _, order in made.orders() if order.start == index)
    assert (again.tries, again.repeated, again.stop) == (int(charged), not charged, index + 1)
    assert again.is_retry


def test_a_retried_mini_batch_goes_first_and_alone():
    made = dispatcher(1000)
    order = made.orders()[0][1]
    settle(made, order, order.start, order.stop)
    made.end(order.block, "t")
    made.retry(3, 1)
    [(_, again)] = made.orders()
    assert (again.start, again.stop, again.tries) == (3, 4, 1)


def test_a_node_that_leaves_gives_back_what_it_owed_and_nothing_is_suspected():
    made = dispatcher(1000, nodes={"a": 2, "b": 1})
    orders = made.orders()
    owed = sum(order.stop - order.start for node, order in orders if node == "a")
    assert made.leave_node("a") == owed
    assert (list(made.nodes), made.processors) == (["b"], 1)
    assert {block.node for block in made.blocks.values()} == {"b"}
    assert made.blame.end_of_piece(0, 1000) == 1000
    assert made.leave_node("a") == 0


def test_a_released_rest_goes_to_another_block_and_is_refused_from_the_old_one():
    made = dispatcher(10, each=10.0, nodes={"a": 1})
    made.sizer.seconds_per_mini_batch = 0.1
    order = made.orders()[0][1]
    assert order.stop - order.start > 2
    assert (
        made.release(order.block, "t", order.start + 1, order.stop).requeued == order.stop - order.start - 1
    )
    assert settle(made, order, order.start, order.stop) == 1
    assert made.end(order.block, "t") == 0


def test_what_a_block_still_owes_at_its_end_is_queued_again():
    made = dispatcher(100, nodes={"a": 1})
    order = made.orders()[0][1]
    settle(made, order, order.start, order.start + 1)
    assert made.end(order.block, "t") == order.stop - order.start - 1


def test_only_the_first_start_of_a_block_is_listened_to():
    made = dispatcher(100, nodes={"a": 1})
    order = made.orders()[0][1]
    assert settle(made, order, order.start, order.start + 1, token="first") == 1
    assert settle(made, order, order.start + 1, order.start + 2, token="second") == 0


def test_nothing_is_taken_from_a_block_whose_node_is_lost():
    made = dispatcher(100)
    order = made.orders()[0][1]
    lose(made, "a")
    assert settle(made, order, order.start, order.stop) == 0
    assert made.waiting == 100


@pytest.mark.parametrize("speaks", [True, False])
@pytest.mark.parametrize("killer", [0, 7, 19])
def test_a_mini_batch_that_takes_three_nodes_down_has_failed_and_the_others_have_not(killer, speaks):
    """Whether or not its block has said a word before its node is gone, and wherever in the block it stands."""
    made = dispatcher(20, each=0.001, nodes={"n0": 1})
    failed: list[int] = []
    done: set[int] = set()
    losses = 0
    while not made.finished:
        for _, order in sorted(made.orders(), key=lambda given: given[1].block):
            if order.block not in made.blocks:
                continue
            if order.start <= killer < order.stop:
                if speaks:
                    made.owns(order.block, "t")
                failed += lose(made, f"n{losses}").failed
                losses += 1
                made.add_node(f"n{losses}", 1)
            else:
                assert settle(made, order, order.start, order.stop) == order.stop - order.start
                done.update(range(order.start, order.stop))
                made.end(order.block, "t")
        assert losses < 20
    assert failed == [killer]
    assert done == set(range(20)) - {killer}
    assert losses == LOSSES


def test_a_neighbour_whose_word_is_always_lost_with_the_killer_is_not_blamed():
    """6 is done each time, but its result dies with the node that 7 takes down right after."""
    made = dispatcher(8, each=0.001, nodes={"n0": 1})
    failed: list[int] = []
    losses = 0
    while not made.finished:
        for _, order in sorted(made.orders(), key=lambda given: given[1].block):
            if order.block not in made.blocks:
                continue
            node = made.blocks[order.block].node
            with_killer = any(
                start <= 7 < stop for b in made.blocks.values() if b.node == node for start, stop in b.due
            )
            if with_killer:
                failed += lose(made, node).failed
                losses += 1
                made.add_node(f"n{losses}", 1)
            else:
                settle(made, order, order.start, order.stop)
                made.end(order.block, "t")
        assert losses < 10
    assert failed == [7]


def test_the_one_of_a_hundred_thousand_that_takes_nodes_down_is_found_by_few_losses():
    made = dispatcher(100_000, each=0.00001, nodes={"n0": 1})
    killer, losses, failed = 77_777, 0, ()
    while not failed:
        for _, order in sorted(made.orders(), key=lambda given: given[1].block):
            if order.block in made.blocks and order.start <= killer < order.stop:
                failed = lose(made, f"n{losses}").failed
                losses += 1
                made.add_node(f"n{losses}", 1)
            elif order.block in made.blocks:
                settle(made, order, order.start, order.stop)
                made.end(order.block, "t")
    assert failed == (killer,)
    assert losses <= LOSSES + 4


@pytest.mark.parametrize("each", [0.00001, 0.001, 5.0])
@pytest.mark.parametrize(
    "killers", [{0: 1, 7: 2, 50: 1, 99: 2}, {7: 9}, {7: 9, 8: 9}, dict.fromkeys(range(0, 100, 3), 2)]
)
def test_a_node_that_leaves_words_is_charged_to_what_it_ran_alone(killers, each):
    """Whatever shared a block or a node with it, and however often: only what ran at three losses has failed."""
    made = dispatcher(100, each=each, nodes={"n0": 1})
    left, losses, failed, done = dict(killers), 0, [], set()
    while not made.finished:
        for node, order in sorted(made.orders(), key=lambda given: given[1].block):
            if order.block not in made.blocks:
                continue
            killer = next((index for index in range(order.start, order.stop) if left.get(index)), None)
            if killer is None:
                done.update(range(order.start, order.stop))
                settle(made, order, order.start, order.stop)
                made.end(order.block, "t")
                continue
            left[killer] -= 1
            losses += 1
            # What is done before it in its block was not said any more.
            failed += lose(made, node, LastState(running=frozenset({killer}))).failed
            made.add_node(f"n{losses}", 1)
    guilty = {index for index, times in killers.items() if times >= LOSSES}
    assert (sorted(failed), done) == (sorted(guilty), set(range(100)) - guilty)
    assert losses == sum(min(times, LOSSES) for times in killers.values())


def test_a_node_that_died_while_rows_were_written_may_have_been_hit_by_any_of_them():
    made = dispatcher(10, each=0.1, nodes={"a": 1})
    order = made.orders()[0][1]
    settle(made, order, order.start, order.start + 1)
    loss = lose(made, "a", LastState(writing=frozenset({order.start + 2})))
    assert loss.failed == ()
    assert made.blame.end_of_piece(order.start + 1, 10) <= order.start + 3
    assert made.blame.end_of_piece(order.start + 3, 10) == 10


def test_of_a_block_that_may_have_run_in_several_places_the_first_is_named():
    made = dispatcher(1000, each=0.001, nodes={"a": 1})
    order = made.orders()[0][1]
    settle(made, order, order.start + 1, order.start + 2)
    assert lose(made, "a").suspects == (order.start,)


@pytest.mark.parametrize("goes_on", [0, 1, 5])
@pytest.mark.parametrize("each", [0.00001, 0.01, 5.0])
def test_one_that_takes_its_node_down_and_goes_on_is_found_too(each, goes_on):
    """Its processor comes to some of the next before its end has reached it, or through with the block."""
    made = dispatcher(100, each=each, nodes={"n0": 1})
    killer, losses, failed = 42, 0, []
    while not made.finished:
        for node, order in sorted(made.orders(), key=lambda given: given[1].block):
            if order.block not in made.blocks:
                continue
            if not order.start <= killer < order.stop:
                settle(made, order, order.start, order.stop)
                made.end(order.block, "t")
                continue
            at = killer + goes_on
            last_state = LastState(running=frozenset({at})) if goes_on and at < order.stop else LastState()
            failed += lose(made, node, last_state).failed
            losses += 1
            made.add_node(f"n{losses}", 1)
    assert failed == [killer]
    assert losses <= 2 * LOSSES


@pytest.mark.parametrize("killer", [0, 7, 42, 99])
@pytest.mark.parametrize("each", [0.00001, 0.01, 5.0])
def test_it_is_found_also_where_nothing_of_its_node_was_heard_any_more(each, killer):
    """All that waited on its node is done each time, before the end reaches the processor, and none of it is said."""
    made = dispatcher(100, each=each, nodes={"n0": 1})
    losses, failed = 0, []
    while not made.finished:
        orders = [order for _, order in sorted(made.orders(), key=lambda given: given[1].block)]
        owed = [(start, stop) for block in made.blocks.values() for start, stop in block.due]
        if any(start <= killer < stop for start, stop in owed):
            failed += lose(made, f"n{losses}", LastState()).failed
            losses += 1
            made.add_node(f"n{losses}", 1)
            continue
        for order in orders:
            settle(made, order, order.start, order.stop)
            made.end(order.block, "t")
    assert failed == [killer]
    assert losses <= LOSSES_AT_MOST


def test_what_a_node_that_ends_in_order_was_at_is_not_to_blame():
    made = dispatcher(4, each=5.0, nodes={"n0": 1})
    for number in range(2 * LOSSES_AT_MOST):
        [first, *_] = [order.start for _, order in made.orders()]
        loss = lose(made, f"n{number}", LastState(orderly=True, running=frozenset({first})))
        assert (loss.failed, loss.requeued) == ((), 2)
        made.add_node(f"n{number + 1}", 1)


def test_a_node_whose_processors_were_still_in_init_blames_nobody():
    made = dispatcher(100)
    for name in "abcdefgh":
        made.add_node(name, 2)
        made.orders()
        loss = lose_unready(made, name)
        assert (loss.failed, loss.suspects) == ((), ())
    assert made.blame.end_of_piece(0, 100) == 100


def test_rows_that_kill_their_writer_three_times_have_failed():
    made = dispatcher(4, each=0.001, nodes={"a": 1})
    failed: tuple[int, ...] = ()
    deaths = 0
    while not failed:
        for _, order in made.orders():
            if order.start <= 2 < order.stop:
                failed = made.release(order.block, "t", order.start, order.stop, suspect=True).failed
                deaths += 1
            else:
                settle(made, order, order.start, order.stop)
            made.end(order.block, "t")
    assert (failed, deaths) == ((2,), LOSSES)


def test_intervals():
    assert subtract([(0, 10)], 3, 5) == ([(0, 3), (5, 10)], [(3, 5)])
    assert subtract([(0, 4), (6, 8)], 2, 7) == ([(0, 2), (7, 8)], [(2, 4), (6, 7)])
    assert runs(np.array([1, 2, 3, 7, 9, 10])) == [(1, 4), (7, 8), (9, 11)]
    assert runs(np.array([], dtype=int)) == []


class AnyCourseOfEvents(RuleBasedStateMachine):
    """Nodes come and go, blocks flush, release, fail, end, in any order: each mini-batch is settled exactly once in the end."""

    @initialize(
        count=st.integers(1, 60), each=st.sampled_from([None, 0.001, 0.2, 5.0]), processors=st.integers(1, 3)
    )
    def begin(self, count, each, processors):
        self.count = count
        self.made = dispatcher(count, each=each, nodes={"n0": processors})
        self.names = 1
        self.orders: dict[int, object] = {}
        self.dead: list = []
        self.settled: list[int] = []
        self.failed: list[int] = []
        self.tries: dict[int, int] = {}

    @rule()
    def send(self):
        for _, order in self.made.orders():
            self.orders[order.block] = order

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), fails=st.booleans(), charged=st.booleans())
    def flush(self, data, fails, charged):
        order = self.orders[data.draw(st.sampled_from(sorted(self.orders)))]
        due = [i for a, b in sorted(self.made.blocks[order.block].due) for i in range(a, b)]
        if not due:
            return
        done = due[: data.draw(st.integers(1, len(due)))]
        accepted = self.made.settle(order.block, "t", np.array(done))
        assert accepted.all()
        if fails and self.tries.get(done[-1], 0) < 2:
            self.tries[done[-1]] = self.tries.get(done[-1], 0) + 1
            node = self.made.blocks[order.block].node
            self.made.retry(done.pop(), order.tries + charged, failed_on=node, charged=charged)
        self.settled += done

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def release_rest(self, data):
        order = self.orders[data.draw(st.sampled_from(sorted(self.orders)))]
        due = [i for a, b in sorted(self.made.blocks[order.block].due) for i in range(a, b)]
        if len(due) > 1:
            self.made.release(order.block, "t", due[1], order.stop)

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def end_block(self, data):
        order = self.orders.pop(data.draw(st.sampled_from(sorted(self.orders))))
        self.made.end(order.block, "t")
        self.dead.append(order)

    @precondition(lambda self: self.made.nodes)
    @rule(data=st.data(), back=st.booleans())
    def lose(self, data, back):
        node = data.draw(st.sampled_from(sorted(self.made.nodes)))
        gone = {b for b, known in self.made.blocks.items() if known.node == node}
        self.failed += lose(self.made, node).failed
        self.dead += [self.orders.pop(b) for b in gone if b in self.orders]
        if back or not self.made.nodes:
            self.made.add_node(f"n{self.names}", 2)
            self.names += 1

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def late_word(self, data):
        order = data.draw(st.sampled_from(self.dead))
        assert not self.made.settle(order.block, "t", np.arange(order.start, order.stop)).any()
        assert self.made.release(order.block, "t", order.start, order.stop).requeued == 0

    @invariant()
    def every_mini_batch_is_in_exactly_one_place(self):
        if not hasattr(self, "made"):
            return
        waiting = [i for a, b, _ in [*self.made._queue, *self.made._waiting_suspects] for i in range(a, b)]
        owed = [i for block in self.made.blocks.values() for a, b in block.due for i in range(a, b)]
        assert sorted(waiting + owed + self.settled + self.failed) == list(range(self.count))
        assert self.made.waiting == len(waiting)


TestAnyCourseOfEvents = AnyCourseOfEvents.TestCase


def test_what_is_held_waits_until_it_is_let_go_and_keeps_its_tries():
    made = dispatcher(1, nodes={"a": 1})
    ((_, order),) = made.orders()
    assert made.take_out(order.block, "t", 0) == 0
    assert made.take_out(order.block, "t", 0) is None  # it is not due any more
    made.hold(0, 2)
    made.end(order.block, "t")
    assert made.orders() == [] and not made.finished
    made.let_go(0)
    ((_, again),) = made.orders()
    assert (again.start, again.stop, again.tries) == (0, 1, 2)
    made.let_go(0)
    assert made.orders() == []


def test_nothing_is_taken_from_a_block_by_a_start_that_does_not_own_it():
    made = dispatcher(1, nodes={"a": 1})
    ((_, order),) = made.orders()
    made.owns(order.block, "t")
    assert made.take_out(order.block, "other", 0) is None
    assert settle(made, order, 0, 1) == 1


def test_a_paused_node_gets_nothing_and_others_do():
    made = dispatcher(1000, nodes={"a": 1, "b": 1})
    made.paused = {"a"}
    assert {node for node, _ in made.orders()} == {"b"}
    made.paused = set()
    assert {node for node, _ in made.orders()} == {"a"}


def test_what_is_held_is_dropped_when_nothing_more_is_to_be_started():
    made = dispatcher(1, nodes={"a": 1})
    ((_, order),) = made.orders()
    made.take_out(order.block, "t", 0)
    made.hold(0, 0)
    made.end(order.block, "t")
    made.drop_waiting()
    assert made.finished


@pytest.mark.parametrize("way", ["end", "release", "settle"])
def test_a_start_that_does_not_own_its_block_changes_nothing(way):
    made = dispatcher(100, nodes={"a": 1})
    order = made.orders()[0][1]
    made.owns(order.block, "first")
    if way == "end":
        assert made.end(order.block, "second") == 0
    elif way == "release":
        assert made.release(order.block, "second", order.start, order.stop) == Loss(requeued=0, failed=())
    else:
        assert settle(made, order, order.start, order.stop, token="second") == 0
    assert settle(made, order, order.start, order.stop, token="first") == order.stop - order.start


def test_a_block_that_is_over_is_not_lost():
    made = dispatcher(100, nodes={"a": 1})
    order = made.orders()[0][1]
    assert made.lose_block(order.block) == order.stop - order.start
    assert made.lose_block(order.block) == 0


def test_a_new_dispatcher_has_no_processors_and_those_of_a_lost_node_are_gone():
    made = dispatcher(100, nodes={"a": 2, "b": 3})
    assert made.processors == 5
    made.add_node("a", 4)
    assert made.processors == 7
    assert (made.lose_node("a"), made.lose_node("a"), made.processors) == (4, 0, 3)


def test_work_goes_to_the_node_that_has_the_least_for_each_of_its_processors():
    made = dispatcher(1000, nodes={"a": 1, "b": 4})
    first_five = [node for node, _ in made.orders()][:5]
    assert sorted(first_five) == ["a", "b", "b", "b", "b"], "one each, before anybody gets a second one"
    for node, ended in (("a", 1), ("b", 5)):
        for number in [number for number, block in made.blocks.items() if block.node == node][:ended]:
            made.lose_block(number)
    assert made.orders()[0][0] == "b", "three for four processors, against one for one"


def test_a_node_that_must_not_take_a_retry_takes_other_work():
    made = dispatcher(1000, nodes={"a": 1, "b": 1})
    _, index = fail(made)
    given = made.orders()
    assert [node for node, _ in given] == ["a"] and given[0][1].start != index


def test_a_flush_with_a_gap_leaves_what_lies_in_the_gap_due():
    made = dispatcher(1000, each=0.001, nodes={"a": 1})
    order = made.orders()[0][1]
    assert made.settle(order.block, "t", np.array([0, 2])).tolist() == [True, True]
    assert made.blocks[order.block].due == [(1, 2), (3, order.stop)]
    assert made.end(order.block, "t") == order.stop - 2


def suspects_after_two_losses(killer_names: str = "ab") -> Dispatcher:
    """0 and 1 have each been at two losses: each needs a node of its own now."""
    made = Dispatcher([(0, 2)], BlockSizer())
    for name in killer_names:
        made.add_node(name, 1)
        made.orders()
        lose(made, name)
    return made


def test_suspects_of_two_losses_are_given_out_at_once_and_never_two_to_a_node():
    made = suspects_after_two_losses()
    made.add_node("c", 2)
    made.add_node("d", 2)
    suspects = [(node, order) for node, order in made.orders() if made.blocks[order.block].alone]
    assert sorted(order.start for _, order in suspects) == [0, 1]
    assert sorted(node for node, _ in suspects) == ["c", "d"]


def test_a_suspect_goes_to_the_node_with_the_least_for_each_of_its_processors():
    made = suspects_after_two_losses()
    made.add_node("large", 8)
    made.add_node("small", 1)
    for index in range(10, 17):  # one for the one processor, six for the eight
        made.retry(index, 1)
    given = [(node, order.start) for node, order in made.orders() if made.blocks[order.block].alone]
    assert given == [("large", 0), ("small", 1)]


def test_a_range_without_a_mini_batch_is_none():
    made = Dispatcher([(0, 0), (3, 3), (5, 6), (9, 9)], BlockSizer())
    made.add_node("a", 8)
    assert [(order.start, order.stop) for _, order in made.orders()] == [(5, 6)]
    assert made.waiting == 0


def test_a_node_with_a_suspect_gets_nothing_behind_it_until_that_is_over():
    made = suspects_after_two_losses()
    made.add_node("c", 1)
    ((node, order),) = made.orders()
    assert (node, order.start, made.orders()) == ("c", 0, [])
    settle(made, order, 0, 1)
    made.end(order.block, "t")
    ((node, order),) = made.orders()
    assert (node, order.start) == ("c", 1)


def test_a_suspect_waits_for_a_node_with_a_ready_processor():
    made = suspects_after_two_losses()
    made.ready = set()
    made.add_node("c", 1)
    assert made.orders() == []
    made.ready = {"c"}
    assert [order.start for _, order in made.orders()] == [0]


def test_an_order_says_which_costly_units_it_touches_and_a_piece_says_none():
    made = Dispatcher([(0, 40)], BlockSizer(breaks=[0, 20]))
    made.add_node("a", 1)
    assert [(order.start, order.stop, order.units) for _, order in made.orders()] == [
        (0, 20, (0,)),
        (20, 40, (20,)),
    ]
    pieces = Dispatcher([], BlockSizer(breaks=[0, 20]))
    pieces.add_node("a", 1)
    pieces.add_pieces([Piece(30, 0, 2)])
    assert [(order.start, order.units) for _, order in pieces.orders()] == [(30, None)]


def test_several_retries_of_one_node_are_all_given_to_the_other():
    made = dispatcher(8, nodes={"a": 1, "b": 1})
    for node, order in made.orders():
        settle(made, order, order.start, order.stop)
        made.end(order.block, "t")
        if node == "a":
            for index in range(order.start, order.stop):
                made.retry(index, 1, failed_on="a")
    waiting = made.waiting
    assert waiting >= 2
    given = []
    while orders := made.orders():
        for node, order in orders:
            given += [node] * (order.stop - order.start) if order.tries else []
            settle(made, order, order.start, order.stop)
            made.end(order.block, "t")
    assert made.finished and made.waiting == 0 and given == ["b"] * len(given)


def test_blocks_go_first_to_the_node_whose_processors_have_least():
    made = dispatcher(1000, nodes={"a": 1, "b": 4})
    given = [node for node, _ in made.orders()]
    # one for each processor, before any of them gets one to wait
    assert (given[:5].count("a"), given[:5].count("b")) == (1, 4)


def test_retries_go_first_to_the_node_whose_processors_have_least():
    made = dispatcher(40, each=None, nodes={"gone": 1, "one": 1, "four": 4})
    while orders := made.orders():
        for _, order in orders:
            settle(made, order, order.start, order.stop)
            made.end(order.block, "t")
    for index in range(5):
        made.retry(index, 1, failed_on="gone")
    made.paused.add("gone")
    given = [node for node, order in made.orders() if order.tries]
    assert (given.count("one"), given.count("four")) == (1, 4)


def test_rows_that_kill_their_writer_do_not_ask_for_a_node_of_their_own():
    made = dispatcher(1, each=0.001, nodes={"a": 1})
    for _ in range(LOSSES - 1):
        ((_, order),) = made.orders()
        assert made.release(order.block, "t", 0, 1, suspect=True).failed == ()
        made.end(order.block, "t")
    assert made.blame.is_suspect(0) and not made.blame.needs_own_node(0)
