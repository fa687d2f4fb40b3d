"""Divides mini-batches that have used up their tries, until the items that fail alone are known.

`engine.rules.division` decides; here the pieces go to the dispatcher and their outcomes to the journal, and
the rows of the good ones become those of the mini-batch.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field, replace

import numpy as np

from daskpar.batches.records import RECORD, unpack
from daskpar.engine.rules.dispatch import Dispatcher, Piece
from daskpar.engine.rules.division import Division, Span, Stage, tells_nothing_of_items, to_divide
from daskpar.outputs.ledger import Ledger
from daskpar.outputs.pieces import PieceOutcome, rows_of
from daskpar.processor.protocol import Flushed
from daskpar.results import Failure, Reason, TryStatus
from daskpar.value_classes import mutable


@mutable(kw_only=True)
class Dividing:
    """The divisions of one step that are under way."""

    ledger: Ledger
    at_most: int
    """Bad items of one mini-batch; with more it is given up (`--isolate_at_most`)."""
    files: bool
    """Whether items are files."""
    max_retries: int
    warn: Callable[[str], None]
    only: Sequence[tuple[int, int]] | None = None
    """Ranges of the mini-batches that are run now; None: all that have no outcome."""
    dispatcher: Dispatcher = field(init=False)
    _open: dict[int, Division] = field(default_factory=dict)
    _given_up: int = 0

    # -- beginning -------------------------------------------------------------------------------------------

    def begun_before(self) -> list[int]:
        """Mini-batches that are run now and whose divisions an earlier process of the run has begun and not
        ended.
        """
        ledger = self.ledger
        return [
            index
            for index in ledger.divided
            if self._is_run(index)
            and not ledger.commits.is_final(index)
            and ledger.divided.whole(index) is not None
        ]

    def _is_run(self, index: int) -> bool:
        if self.only is None:
            return True
        at = bisect.bisect_right(self.only, index, key=lambda found: found[0]) - 1
        return at >= 0 and index < self.only[at][1]

    def go_on(self) -> list[Flushed]:
        """Queue the pieces that are left of these; the commits of those of which none is left."""
        commits = []
        for index in self.begun_before():
            whole = self.ledger.divided.whole(index)
            assert whole is not None
            outcomes = {span: found.good for span, found in self.ledger.divided.outcomes(index).items()}
            again = index in self.ledger.reopened
            division = Division.restored(whole.span[1], self.at_most, outcomes, again=again)
            self._open[index] = division
            # What is called once more may be tried as often as any other.
            self._queue(index, sorted(division.open), tries=0 if again else self.max_retries)
            commits += self._ended(index)
        return commits

    def taken_out(self, flushed: Flushed) -> tuple[Flushed, np.ndarray]:
        """Begin to divide the mini-batches of a flush for which that is worth it.

        The flush without them, and their records as tries that are not their last.
        """
        records = unpack(flushed.records)
        chosen = to_divide(records, files=self.files)
        if not chosen.any():
            return flushed, records[:0]
        chosen &= np.array([not self.ledger.commits.is_final(index) for index in records["index"].tolist()])
        for record in records[chosen]:
            index, items = int(record["index"]), int(record["items"])
            failure = next((found for found in flushed.failures if found.index == index), None)
            self._keep(flushed, record, (0, items), failure, whole=True)
            division = self._open[index] = Division(items, self.at_most)
            self._queue(index, division.begin(), tries=self.max_retries)
        begun = set(records["index"][chosen].tolist())
        failures = tuple(
            replace(failure, final=False) if failure.index in begun else failure
            for failure in flushed.failures
        )
        return replace(flushed, records=records[~chosen].tobytes(), failures=failures), _not_last(
            records[chosen]
        )

    # -- pieces ----------------------------------------------------------------------------------------------

    def piece_ended(self, piece: Piece, flushed: Flushed, record: np.void) -> list[Flushed]:
        """The last try of a piece has ended; the commit of its mini-batch where that is all."""
        division = self._open.get(piece.index)
        span = (piece.start, piece.stop)
        if division is None or span not in division.open:
            return []
        failure = next(iter(flushed.failures), None)
        if tells_nothing_of_items(int(record["reason"]), files=self.files):
            said = failure.message if failure is not None else "no reason is known"
            return self.give_up(piece.index, f"then its rows could not be loaded for a part of it: {said}")
        self._keep(flushed, record, span, failure, whole=False)
        good = int(record["status"]) != TryStatus.FAILED
        self._queue(piece.index, division.ended(span, good=good), tries=self.max_retries)
        return self._ended(piece.index)

    def _keep(
        self, flushed: Flushed, record: np.void, span: Span, failure: Failure | None, *, whole: bool
    ) -> None:
        has_rows = bool(flushed.part) and int(record["length"]) > 0
        self.ledger.commit_piece(
            flushed,
            PieceOutcome(
                span=span,
                whole=whole,
                record=record.tobytes(),
                part=flushed.part if has_rows else "",
                flush=(flushed.offset, flushed.length, flushed.crc) if has_rows else (0, 0, 0),
                failure=failure,
            ),
        )

    def _queue(self, index: int, spans: Iterable[Span], *, tries: int) -> None:
        self.dispatcher.add_pieces([Piece(index, *span) for span in spans], tries=tries)

    # -- the end of a division -------------------------------------------------------------------------------

    def _ended(self, index: int) -> list[Flushed]:
        """The commit of a mini-batch whose division has ended; none while it goes on."""
        division = self._open[index]
        if division.stage is Stage.OPEN:
            return []
        if division.stage is Stage.GIVEN_UP:
            return [self._as_a_whole(index, _why_given_up(division))]
        if len(division.bad) == division.items:
            return [self._as_a_whole(index, f"each of its {division.items} items fails alone too")]
        if (joined := self._joined(index, division)) is None:
            return []
        del self._open[index]
        return [joined]

    def give_up(self, index: int, why: str) -> list[Flushed]:
        """A mini-batch is not divided any further."""
        return [self._as_a_whole(index, why)] if index in self._open else []

    def _as_a_whole(self, index: int, why: str) -> Flushed:
        """The failure of a mini-batch as it would be if nothing had been divided."""
        division = self._open.pop(index)
        self.dispatcher.drop_pieces(index)
        whole = self.ledger.divided.whole(index)
        assert whole is not None
        if len(division.bad) < division.items:
            self.ledger.divided.forget([(index, index + 1)])  # not all that is bad is known
            self._given_up += 1
            if self._given_up == 1:
                self.warn(f"mini-batch {index} is given up as a whole: {why} (later ones are counted only)")
        failure = whole.failure or Failure(index=index, reason=int(Reason.NONE), message="")
        offset, length, crc = whole.flush
        return Flushed(
            block=-1,
            token="",
            part=whole.part,
            offset=offset,
            length=length,
            crc=crc,
            records=whole.record,
            failures=(replace(failure, final=True, message=f"{failure.message}; {why}"),),
        )

    def _joined(self, index: int, division: Division) -> Flushed | None:
        """The rows of the good pieces as those of the mini-batch; None where some are gone and come again."""
        ledger = self.ledger
        whole, outcomes = ledger.divided.whole(index), ledger.divided.outcomes(index)
        assert whole is not None
        good = [outcomes[span] for span in sorted(division.good)]
        texts = [rows_of(outcome, ledger.store) for outcome in good]
        lost = [outcome.span for outcome, text in zip(good, texts, strict=True) if text is None]
        for span in lost:
            self._queue(index, division.lost(span), tries=self.max_retries)
        if lost:
            return None
        with_rows = [text for text in texts if text]
        data = ledger.row_format.one_range(with_rows) if with_rows else b""
        flush = ledger.write_rows(data) if data else None
        record = _joined_record(whole.values, [outcome.values for outcome in good], bad=len(division.bad))
        if flush is None:
            return Flushed(block=-1, token="", part="", offset=0, length=0, crc=0, records=record.tobytes())
        record["offset"], record["length"] = flush.offset, flush.length
        return replace(flush, records=record.tobytes())


def _why_given_up(division: Division) -> str:
    if len(division.bad) > division.at_most:
        return f"more than {division.at_most} of its {division.items} items fail alone (--isolate_at_most)"
    return (
        f"after {division.calls} calls for parts of it, more fails together than bad items explain "
        "(memory that grows with the number of items, or failures by chance; --isolate_at_most)"
    )


def _not_last(records: np.ndarray) -> np.ndarray:
    """The same as tries that are not the last of their mini-batches."""
    found = records.copy()
    found["final"] = 0
    return found


def _joined_record(whole: np.void, good: list[np.void], *, bad: int) -> np.ndarray:
    """The record of a mini-batch of which some items are bad; its times are those of the good pieces."""
    record = np.zeros(1, RECORD)
    record[0] = whole
    record["returned"] = sum(int(one["returned"]) for one in good)
    for name in ("elapsed", "run", "cpu"):
        record[name] = sum(float(one[name]) for one in good)
    record["failed_items"], record["tries"] = bad, whole["tries"] + 1
    record["status"], record["reason"], record["final"] = TryStatus.SUCCEEDED, Reason.NONE, 1
    record["offset"] = record["length"] = 0
    return record
