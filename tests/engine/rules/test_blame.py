"""What may have taken a node down, from what was owed and what it said last."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.blame import LOSSES, LOSSES_AT_MOST, NARROWING, Blame, may_have_run
from daskpar.processor.last_state import LastState

A, B, C = [(0, 10)], [(10, 20)], [(20, 21)]


def state(*running: int, writing: tuple[int, ...] = ()) -> LastState:
    return LastState(running=frozenset(running), writing=frozenset(writing))


@pytest.mark.parametrize(
    ("blocks", "running", "said", "accused"),
    [
        # Nothing is known: the first block of each processor ran, as far as anybody can tell, and any other that had spoken.
        ([A, B], 1, None, [[(0, 10, True)], [(10, 20, False)]]),
        ([A, B, C], 2, None, [[(0, 10, True)], [(10, 20, True)], [(20, 21, False)]]),
        # What was at work did run; what was done before it and not said may be to blame.
        ([A, B], 1, state(0), [[(0, 1, True)], []]),
        ([A, B], 1, state(4), [[(0, 4, False), (4, 5, True)], []]),
        ([A, B], 2, state(4, 10), [[(0, 4, False), (4, 5, True)], [(10, 11, True)]]),
        ([A], 1, state(3, 6), [[(0, 3, False), (4, 6, False), (3, 4, True), (6, 7, True)]]),
        # The processor has come into its next block: the one before is done, but not said.
        ([A, B], 1, state(11), [[(0, 10, False)], [(10, 11, False), (11, 12, True)]]),
        ([C, B], 1, state(10), [[(20, 21, False)], [(10, 11, True)]]),
        # Rows were being written: any of theirs.
        ([A, B], 1, state(writing=(2,)), [[(0, 3, False)], []]),
        ([C, B], 1, state(writing=(20,)), [[(20, 21, True)], []]),
        # A processor was idle: whatever had waited for it is done.
        ([A, B], 1, state(), [[(0, 10, False)], [(10, 20, False)]]),
        ([A, C], 1, state(), [[(0, 10, False)], [(20, 21, True)]]),
        ([C], 1, state(), [[(20, 21, True)]]),
        ([A, B, C], 2, state(3), [[(0, 3, False), (3, 4, True)], [(10, 20, False)], [(20, 21, False)]]),
        # No processor was past init(), or the node ended in order.
        ([A, B], 0, state(), [[], []]),
        ([A, B], 1, LastState(running=frozenset({3}), orderly=True), [[], []]),
        ([], 1, state(), []),
        ([[]], 1, state(3), [[]]),
    ],
)
def test_what_may_have_run(blocks, running, said, accused):
    assert may_have_run([(due, False) for due in blocks], running, said) == accused


def test_a_block_that_has_spoken_had_begun():
    assert may_have_run([(A, False), (B, True)], 1, None) == [[(0, 10, True)], [(10, 20, True)]]
    assert may_have_run([(A, False), (B, True)], 0, state()) == [[], [(10, 20, False)]]


def test_one_that_is_marked_among_others_does_not_give_them_its_history():
    blame = Blame()
    for _ in range(LOSSES - 1):
        assert blame.accuse(7, 8) is None
    assert blame.accuse(0, 10, running=False) is None
    assert blame.accuse(3, 4) is None
    assert blame.accuse(7, 8) == 7


def test_a_single_one_is_given_up_at_its_third_loss_while_running_or_at_its_sixth_at_all():
    running, waiting, writing = Blame(), Blame(), Blame()
    assert [running.accuse(1, 2) for _ in range(LOSSES)] == [None] * (LOSSES - 1) + [1]
    assert [waiting.accuse(1, 2, running=False) for _ in range(LOSSES_AT_MOST)] == [None] * (
        LOSSES_AT_MOST - 1
    ) + [1]
    assert [writing.accuse(1, 2, writing=True) for _ in range(LOSSES)] == [None] * (LOSSES - 1) + [1]


@pytest.mark.parametrize(
    ("deaths", "failed"),
    [
        ((True, True, True), True),
        ((True, True, False), False),  # the fork server was killed while its rows were written
        ((False, True, True), False),
        ((True, True, False, False), True),
        ((False,) * (LOSSES_AT_MOST - 1), False),
        ((False,) * LOSSES_AT_MOST, True),
    ],
)
def test_a_processor_that_died_with_its_fork_server_counts_half(deaths, failed):
    blame = Blame()
    *before, last = [blame.accuse(1, 2, writing=True, by_itself=by_itself) for by_itself in deaths]
    assert before == [None] * len(before)
    assert last == (1 if failed else None)


def test_what_did_no_harm_is_forgotten():
    blame = Blame()
    blame.accuse(0, 32)
    blame.accuse(0, 32)
    assert (blame.end_of_piece(0, 100), blame.needs_own_node(5), blame.needs_own_node(32)) == (2, True, False)
    blame.clear(0, 16)
    assert (blame.end_of_piece(0, 100), blame.needs_own_node(5), blame.needs_own_node(16)) == (
        16,
        False,
        True,
    )


def test_who_is_accused_again_in_part_keeps_one_history_and_is_narrowed_by_its_own_width():
    blame = Blame()
    assert blame.accuse(100, 116) is None
    assert blame.end_of_piece(100, 116) == 100 + 16 // NARROWING
    assert blame.accuse(100, 101) is None
    assert blame.end_of_piece(100, 116) == 101
    for _ in range(LOSSES - 3):
        assert blame.accuse(100, 101) is None
    assert len(blame._ranges) == 2
    assert blame.accuse(100, 101) == 100


def test_rows_that_kill_their_writer_are_another_history_than_nodes_that_die():
    blame = Blame()
    for _ in range(LOSSES - 1):
        assert blame.accuse(1, 2, writing=True) is None
    assert not blame.needs_own_node(1), "it takes processors down, not nodes"
    for _ in range(LOSSES - 1):
        assert blame.accuse(1, 2) is None
    assert blame.needs_own_node(1) and not blame.needs_own_node(2) and not blame.needs_own_node(0)
    assert len(blame._ranges) == 1, "one history for each"
    assert blame.accuse(1, 2, writing=True) == 1


def test_where_a_range_begins_and_ends_and_that_only_one_alone_is_given_up():
    blame = Blame()
    for _ in range(2 * LOSSES_AT_MOST):
        assert blame.accuse(10, 20) is None
    assert [blame.is_suspect(index) for index in (9, 10, 19, 20)] == [False, True, True, False]
    assert [blame.needs_own_node(index) for index in (9, 10, 19, 20)] == [False, True, True, False]
    assert [blame.end_of_piece(*block) for block in ((0, 10), (0, 30), (19, 30), (20, 30))] == [
        10,
        10,
        20,
        30,
    ]
