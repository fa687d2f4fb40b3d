"""Divisions with a real journal and real rows: joined in item order, and called again where rows are gone."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import numpy as np
import pytest

from daskpar.batches.records import RECORD, unpack
from daskpar.engine.dividing import Dividing
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.engine.rules.dispatch import Dispatcher, Piece
from daskpar.outputs.failed_items import write_failed_items
from daskpar.outputs.ledger import Ledger
from daskpar.paths import StepPaths
from daskpar.processor.protocol import Flushed
from daskpar.results import Failure, Reason, TryStatus

ITEMS = 13


class Step:
    """A step of three mini-batches whose second one has been run to its last try."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[int, int]] = []
        self.warned: list[str] = []
        self.open()

    def open(self, **options: bool) -> list[Flushed]:
        """Go on in another process; the commits of what had ended."""
        self.ledger = Ledger.open(self.folder, 3, step="s", **options)
        self.dispatcher = Dispatcher([], BlockSizer())
        self.dispatcher.add_node("a", 4)
        self.dividing = Dividing(
            ledger=self.ledger, at_most=4, files=True, max_retries=0, warn=self.warned.append
        )
        self.dividing.dispatcher = self.dispatcher
        return self.dividing.go_on()

    def ended(self, span: tuple[int, int], bad: set[int]) -> Flushed:
        """What a processor reports of a call."""
        failed = any(span[0] <= item < span[1] for item in bad)
        rows = b"" if failed else b"".join(b"%d\n" % item for item in range(*span))
        part = self.folder / "parts" / "a.part"
        offset = part.stat().st_size if part.exists() else 0
        with open(part, "ab") as file:
            file.write(b"neighbour\n" + rows)
        record = np.zeros(1, RECORD)
        record["index"], record["items"], record["final"] = 1, span[1] - span[0], 1
        record["status"] = TryStatus.FAILED if failed else TryStatus.SUCCEEDED
        record["offset"], record["length"] = offset + 10, len(rows)
        failure = Failure(index=1, reason=1, message=f"{span}", trace='File "x.py"', final=True)
        return Flushed(
            block=1,
            token="t",
            part="a.part",
            offset=offset,
            length=10 + len(rows),
            crc=zlib.crc32(b"neighbour\n" + rows),
            records=record.tobytes(),
            failures=(failure,) if failed else (),
        )

    def run(self, bad: set[int], *, calls: int = 10**6) -> list[Flushed]:
        """Call what is to be called, so often at most; the commits that came of it."""
        commits = []
        while calls and (orders := self.dispatcher.orders()):
            for _, order in orders:
                calls -= 1
                self.dispatcher.settle(order.block, "t", np.array([1]))
                self.calls.append(order.piece)
                flushed = self.ended(order.piece, bad)
                piece = Piece(1, *order.piece)
                commits += self.dividing.piece_ended(piece, flushed, unpack(flushed.records)[0])
                self.dispatcher.end(order.block, "t")
        return commits

    def begin(self, bad: set[int]) -> None:
        rest, divided = self.dividing.taken_out(self.ended((0, ITEMS), bad))
        assert (len(rest.records), divided["final"].tolist()) == (0, [0])

    def rows(self, flushed: Flushed) -> bytes:
        self.ledger.commit(flushed)
        record = unpack(flushed.records)[0]
        text = (self.folder / "parts" / flushed.part).read_bytes()
        return text[record["offset"] : record["offset"] + record["length"]]


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


def good(bad: set[int]) -> bytes:
    return b"".join(b"%d\n" % item for item in range(ITEMS) if item not in bad)


def test_the_rows_of_the_good_pieces_are_joined_in_item_order(step):
    step.begin({4, 12})
    (commit,) = step.run({4, 12})
    record = unpack(commit.records)[0]
    assert (record["items"], record["failed_items"], record["reason"]) == (ITEMS, 2, Reason.NONE)
    assert (record["status"], record["final"]) == (TryStatus.SUCCEEDED, 1)
    assert step.rows(commit) == good({4, 12})
    assert step.ledger.commits.with_failed_items() == [1]


def test_another_process_goes_on_and_a_third_runs_only_what_failed(step):
    draw = random.Random(5)
    step.begin({0, 7})
    while not step.run({0, 7}, calls=draw.randrange(1, 4)):
        before = len(step.calls)
        step.ledger.close()
        assert step.open() == []
        step.run(set(), calls=0)
        assert len(step.calls) == before
    assert len(set(step.calls)) == len(step.calls), "nothing is called twice"
    step.ledger.close()
    (commit,) = step.open()  # all pieces were known, the mini-batch was not
    assert step.rows(commit) == good({0, 7})
    step.ledger.close()
    step.calls.clear()
    assert step.open(retry_failed=True) == []
    (commit,) = step.run({7})
    assert step.calls == [(0, 1), (7, 8)]
    assert step.rows(commit) == good({7})


def test_rows_that_are_gone_are_made_again(step):
    step.begin({4})
    original = step.dividing._joined

    def spoilt(index, division):
        if (step.folder / "parts" / "a.part").exists():
            (step.folder / "parts" / "a.part").rename(step.folder / "gone")
        step.dividing._joined = original
        return original(index, division)

    step.dividing._joined = spoilt
    (commit,) = step.run({4})
    assert step.rows(commit) == good({4})
    assert len(step.calls) == 2 * len({call for call in step.calls if not call[0] <= 4 < call[1]}) + len(
        {call for call in step.calls if call[0] <= 4 < call[1]}
    )


def test_too_many_bad_items_are_the_failure_of_the_whole(step):
    bad = set(range(0, ITEMS, 2))
    step.begin(bad)
    (commit,) = step.run(bad)
    record = unpack(commit.records)[0]
    assert (record["status"], record["final"], record["items"]) == (TryStatus.FAILED, 1, ITEMS)
    assert "more than 4 of its 13 items fail alone (--isolate_at_most)" in commit.failures[0].message
    assert "mini-batch 1 is given up" in step.warned[-1]
    assert step.dispatcher.finished and list(step.ledger.divided) == []


@pytest.mark.parametrize("reason", [Reason.LOAD_ERROR, Reason.LOAD_TIMEOUT, Reason.INPUT_CHANGED])
@pytest.mark.parametrize("files", [True, False])
def test_a_piece_that_can_not_be_loaded_is_divided_only_where_items_are_files(step, reason, files):
    step.dividing.files = files
    step.begin({4})
    commits = []
    for _, order in step.dispatcher.orders():
        step.dispatcher.settle(order.block, "t", np.array([1]))
        flushed = step.ended(order.piece, {order.piece[0]})
        record = unpack(flushed.records)[0].copy()
        record["reason"] = reason
        commits += step.dividing.piece_ended(Piece(1, *order.piece), flushed, record)
        step.dispatcher.end(order.block, "t")
    if files:
        assert not commits and step.dispatcher.orders()
        return
    (commit,) = commits
    assert unpack(commit.records)[0]["status"] == TryStatus.FAILED and step.dispatcher.finished
    assert "then its rows could not be loaded for a part of it: (0, 6)" in commit.failures[0].message


def test_all_bad_items_are_named_although_the_whole_has_failed(step):
    step.dividing.at_most = ITEMS
    step.begin(set(range(ITEMS)))
    (commit,) = step.run(set(range(ITEMS)))
    assert unpack(commit.records)[0]["status"] == TryStatus.FAILED
    assert len(step.ledger.divided.failed_alone(1)) == ITEMS


def test_what_is_good_as_a_whole_has_no_failed_items_of_before(step):
    """The journal keeps the pieces of the time when it failed; later processes of the run must not list them."""
    bad = set(range(ITEMS))
    step.begin(bad)
    for commit in step.run(bad):
        step.ledger.commit(commit)
    for mended in (False, True):
        step.ledger.close()
        assert step.open(retry_failed=True) == []
        if not mended:
            step.ledger.commit(step.ended((0, ITEMS), set()))
    assert list(step.ledger.divided) == [1]
    folder = StepPaths(step.folder)
    assert write_failed_items(folder, step.ledger, most=None, target=None) == ""
    assert folder.failed_items.read_bytes() == b""


def test_only_the_chosen_mini_batches_go_on(step):
    """`resume --mini-batches`: the pieces of others wait for a later resume."""
    step.begin({4})
    for only, goes_on in (([], False), ([(0, 1), (2, 3)], False), ([(0, 2)], True), (None, True)):
        step.dividing.only = only
        assert step.dividing.begun_before() == ([1] if goes_on else [])
