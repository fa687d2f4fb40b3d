"""The state of mini-batches: what is accepted, counted, missing, and where the rows lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.batches.records import RECORD
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal_frames import FLUSH
from daskpar.outputs.journal_reader import JournalContents
from daskpar.results import TryStatus


def records(*values: tuple[int, int, int], length: int = 0, items: int = 3) -> np.ndarray:
    """(index, status, final) each."""
    made = np.zeros(len(values), RECORD)
    for record, (index, status, final) in zip(made, values, strict=True):
        record["index"], record["status"], record["final"] = index, status, final
        record["items"], record["length"] = items, length
        record["failed_items"] = items if status == TryStatus.FAILED else 0
    return made


def test_nothing_is_committed_twice() -> None:
    commits = Commits(3)
    assert commits.apply(records((1, 1, 1))).tolist() == [True]
    assert commits.apply(records((0, 1, 1), (1, 1, 1))).tolist() == [True, False]
    assert commits.apply(records((2, 3, 1), (2, 1, 1))).tolist() == [True, False]
    counts = commits.counts()
    assert (counts.succeeded, counts.failed, counts.items, counts.failed_items) == (2, 1, 9, 3)
    assert commits.complete and commits.missing() == [] and commits.failed() == [(2, 3)]


def test_records_outside_the_plan_are_refused() -> None:
    commits = Commits(2)
    assert commits.apply(records((-1, 1, 1), (2, 1, 1), (1, 1, 1))).tolist() == [False, False, True]
    assert commits.missing() == [(0, 1)]


def test_failed_tries_are_counted_and_leave_the_mini_batch_open() -> None:
    commits = Commits(2)
    commits.apply(records((0, 3, 0)))
    commits.apply(records((0, 3, 0)))
    assert commits.missing() == [(0, 2)]
    commits.apply(records((0, 1, 1)))
    late = commits.apply(records((0, 3, 0)))
    counts = commits.counts()
    assert (counts.tries_failed, counts.retried, counts.succeeded, late.tolist()) == (2, 2, 1, [False])


def test_a_final_failure_is_replaced_only_when_reopened() -> None:
    commits = Commits(2)
    commits.apply(records((0, 3, 1), (1, 1, 1), length=10), "a")
    assert commits.apply(records((0, 1, 1))).tolist() == [False]
    assert commits.reopen_failed() == 1
    assert commits.missing() == [(0, 1)] and commits.size_bytes == 20
    assert (commits.counts().failed, commits.counts().items, commits.counts().failed_items) == (0, 3, 0)
    assert commits.apply(records((0, 1, 1), length=4), "b").tolist() == [True]
    assert commits.complete and commits.size_bytes == 14
    assert (commits.counts().succeeded, commits.counts().items) == (2, 6)


def test_revoked_mini_batches_are_missing_again() -> None:
    commits = Commits(5)
    commits.apply(records((0, 1, 1), (1, 3, 1), (2, 2, 1), (4, 1, 1), length=2), "a")
    commits.revoke([(1, 4)])
    assert commits.missing() == [(1, 4)]
    assert (
        commits.counts().succeeded,
        commits.counts().failed,
        commits.counts().empty,
        commits.size_bytes,
    ) == (2, 0, 0, 4)
    assert commits.counts().items == 6 and commits.counts().failed_items == 0
    commits.revoke([(0, 5)])
    found = commits.counts()
    assert (found.succeeded, found.items, found.done, commits.size_bytes) == (0, 0, 0, 0)


def test_empty_ones_are_done_and_count_neither_way() -> None:
    commits = Commits(1)
    commits.apply(records((0, 2, 1), items=0))
    assert commits.complete and commits.counts().succeeded == 0 and commits.counts().empty == 1


def test_how_far_all_are_final() -> None:
    commits = Commits(5)
    commits.apply(records((0, 1, 1), (1, 3, 1), (2, 3, 0), (4, 2, 1)))
    assert [commits.final_until(start, 10) for start in range(6)] == [2, 2, 2, 3, 5, 5]
    commits.reopen_failed()
    assert commits.final_until(0, 10) == 1


@pytest.mark.parametrize(
    ("most", "stop"), [(0, 1), (4, 1), (5, 1), (9, 1), (10, 3), (14, 3), (15, 4), (99, 4)]
)
def test_how_far_all_are_final_within_so_many_bytes(most: int, stop: int) -> None:
    commits = Commits(4)
    commits.apply(records((0, 1, 1), (1, 1, 1), (3, 1, 1), length=5))
    commits.apply(records((2, 2, 1)))
    assert commits.final_until(0, most) == stop


def test_rows_of_a_range() -> None:
    commits = Commits(4)
    commits.apply(records((0, 1, 1), (2, 1, 1), (3, 1, 1), length=5), "p")
    assert [
        [sum(found.lengths.tolist()) for found in commits.part_ranges(*span)]
        for span in ((0, 4), (1, 3), (1, 2), (3,))
    ] == [[15], [5], [], [5]]


def test_neighbouring_rows_become_one_stretch() -> None:
    commits = Commits(4)
    made = records((0, 1, 1), (1, 2, 1), (2, 1, 1), (3, 1, 1), length=5)
    made["length"][1] = 0
    made["offset"] = [10, 0, 15, 30]
    commits.apply(made, "a")
    (runs,) = commits.part_ranges()
    assert (runs.offsets.tolist(), runs.lengths.tolist(), runs.parts.tolist()) == ([10, 30], [10, 5], [1, 1])


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([1, 2, 3]), st.booleans()), max_size=60),
    st.booleans(),
)
def test_counts_agree_with_a_plain_model(events: list[tuple[int, int, bool]], bulk: bool) -> None:
    commits = Commits(13)
    model: dict[int, int] = {}
    tries = 0
    for index, status, final in events:
        if index not in model:
            tries += status == TryStatus.FAILED
            if final:
                model[index] = status
    if bulk:
        commits.apply(_each_until_final(events))
    else:
        for index, status, final in events:
            commits.apply(records((index, status, final)))
    counts = commits.counts()
    assert (
        counts.done == len(model)
        and counts.failed == sum(s == 3 for s in model.values())
        and counts.items == 3 * len(model)
    )
    assert counts.tries_failed == tries
    missing = [i for start, stop in commits.missing() for i in range(start, stop)]
    assert missing == [i for i in range(13) if i not in model]


def _each_until_final(events: list[tuple[int, int, bool]]) -> np.ndarray:
    """One flush reports a mini-batch's tries up to its final one: what comes after that is another flush's."""
    ended: set[int] = set()
    kept = []
    for index, status, final in events:
        if index not in ended:
            kept.append((index, status, int(final)))
            if final:
                ended.add(index)
    return records(*kept)


@pytest.mark.parametrize("count", [0, 1])
def test_tiny_plans(count: int) -> None:
    commits = Commits(count)
    assert (
        commits.complete == (count == 0)
        and list(commits.part_ranges()) == []
        and commits.missing() == [(0, 1)][:count]
    )


def in_flushes(*flushes: tuple[int, ...]) -> Commits:
    """Nine mini-batches; those of each flush have two bytes each, one after the other."""
    commits = Commits(9)
    for number, indices in enumerate(flushes):
        made = records(*((index, 1, 1) for index in indices), length=2)
        made["offset"] = 100 * number + 2 * np.arange(len(indices))
        commits.apply(made, "p", 100 * number, 2 * len(indices), 7 + number)
    return commits


def test_each_range_knows_the_flush_that_its_rows_are_checked_with() -> None:
    commits = in_flushes((0, 1, 2), (5, 6, 4), (3,))
    (found,) = commits.part_ranges()
    assert (found.offsets.tolist(), found.lengths.tolist()) == ([0, 200, 104, 100], [6, 2, 2, 4])
    assert found.flushes.tolist() == [(1, 0, 6, 7), (1, 200, 2, 9), (1, 100, 6, 8), (1, 100, 6, 8)]


def test_rows_that_follow_each_other_in_two_flushes_stay_two_ranges() -> None:
    commits = Commits(2)
    for index in (0, 1):
        made = records((index, 1, 1), length=2)
        made["offset"] = 2 * index
        commits.apply(made, "p", 2 * index, 2, index)
    (found,) = commits.part_ranges()
    assert (found.offsets.tolist(), found.lengths.tolist()) == ([0, 2], [2, 2])


def test_what_a_bad_flush_costs() -> None:
    commits = in_flushes((0, 1, 2), (5, 6, 4), (3,))
    assert commits.flushes_in_force().tolist() == [1, 2, 3]
    assert commits.rows_of_flushes(np.array([2])) == [(4, 7)]
    assert commits.rows_of_flushes(np.array([1, 3])) == [(0, 4)]
    commits.revoke([(0, 3), (5, 6)])
    assert commits.flushes_in_force().tolist() == [2, 3]
    assert commits.rows_of_flushes(np.array([1, 2])) == [(4, 5), (6, 7)]
    assert commits.rows_of_flushes(np.array([], np.int64)) == []


@pytest.mark.parametrize(
    ("start", "stop", "cut"),
    [
        (0, 2, 2),  # within the first flush: there is no better place
        (0, 3, 3),
        (0, 4, 3),  # the second would be cut
        (0, 5, 3),
        (3, 5, 5),
        (1, 5, 3),
        (0, 6, 6),
        (0, 7, 7),
        (0, 8, 8),
        (0, 9, 9),
        (4, 4, 4),
    ],
)
def test_no_flush_is_cut_in_two_where_it_need_not(start: int, stop: int, cut: int) -> None:
    assert in_flushes((0, 1, 2), (3, 4, 5), (6,)).whole_flushes(start, stop) == cut


def test_a_table_of_flushes_grows() -> None:
    commits = Commits(1000)
    for index in range(1000):
        made = records((index, 1, 1), length=1)
        made["offset"] = index
        commits.apply(made, f"p{index % 3}", index, 1, index)
    (found,) = commits.part_ranges()
    assert found.flushes["crc"].tolist() == list(range(1000)) == found.offsets.tolist()
    assert [commits.part_names[part] for part in found.parts.tolist()] == [f"p{i % 3}" for i in range(1000)]


def journal_of(
    *flushes: tuple[int, list[tuple[int, int, int]]], revoked: dict[int, list[list[int]]] | None = None
) -> JournalContents:
    """What a journal says of these flushes: (number of the part, records). Parts 1 and 2 have names, 3 has lost its.

    `revoked`: ranges that were revoked after so many flushes.
    """
    table, places, data = np.zeros(len(flushes), FLUSH), [], b""
    for row, (part, values) in zip(table, flushes, strict=True):
        made = records(*values, length=2)
        made["offset"] = 100 * part + 2 * np.arange(len(values))
        row["part"], row["records"], row["offset"], row["length"] = (
            part,
            len(values),
            100 * part,
            2 * len(values),
        )
        row["crc"] = 7 * part
        places.append(len(data))
        data += made.tobytes()
    return JournalContents(
        path=Path("journal"),
        parts={1: "one", 2: "two"},
        flushes=table,
        places=np.array(places, np.int64),
        revoked=tuple((after, np.array(ranges, np.int64)) for after, ranges in (revoked or {}).items()),
        data=data,
    )


GOOD_FIRST = (1, [(0, 1, 1), (1, 1, 1)])
GOOD_NEXT = (2, [(3, 1, 1), (4, 3, 1)])


def test_a_journal_is_loaded_as_its_flushes_were_applied() -> None:
    loaded = Commits.load(6, journal_of(GOOD_FIRST, GOOD_NEXT))
    (found,) = loaded.part_ranges()
    assert [loaded.part_names[part] for part in found.parts.tolist()] == ["one", "two"]
    assert (found.offsets.tolist(), found.lengths.tolist()) == ([100, 200], [4, 4])
    assert found.flushes.tolist() == [(1, 100, 4, 7), (2, 200, 4, 14)]
    assert loaded.missing() == [(2, 3), (5, 6)] and loaded.failed() == [(4, 5)]
    counts = loaded.counts()
    assert (counts.succeeded, counts.failed, counts.items, counts.failed_items) == (3, 1, 12, 3)


def test_rows_in_a_part_whose_name_is_lost_are_run_again() -> None:
    loaded = Commits.load(6, journal_of(GOOD_FIRST, (3, [(3, 1, 1), (5, 1, 1)]), GOOD_NEXT))
    assert loaded.missing() == [(2, 3), (5, 6)]


@pytest.mark.parametrize(
    ("after", "ranges", "missing"),
    [
        (2, [[0, 2]], [(0, 3), (5, 6)]),
        (1, [[0, 6]], [(0, 3), (5, 6)]),  # what came later holds
        (0, [[0, 6]], [(2, 3), (5, 6)]),
        (2, [[-5, 1]], [(0, 1), (2, 3), (5, 6)]),
        (2, [[-5, -1]], [(2, 3), (5, 6)]),
        (2, [[3, 4], [1, 2]], [(1, 4), (5, 6)]),
        (2, [[4, 99]], [(2, 3), (4, 6)]),
    ],
)
def test_what_a_journal_revokes_is_missing(
    after: int, ranges: list[list[int]], missing: list[tuple[int, int]]
) -> None:
    assert Commits.load(6, journal_of(GOOD_FIRST, GOOD_NEXT, revoked={after: ranges})).missing() == missing


def test_items_are_known_where_all_have_their_outcome_and_rows_where_there_are_bytes() -> None:
    commits = Commits(5)
    commits.apply(records((0, 1, 1), length=1))
    commits.apply(records((1, 2, 1), (4, 3, 1), items=2))
    assert commits.with_rows() == [(0, 1)]
    assert [commits.items_between(*span) for span in ((0, 2), (0, 3), (2, 3), (4, 5), (2, 2))] == [
        5,
        None,
        None,
        2,
        0,
    ]
