"""What the end of a processor gives back, and as what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from daskpar.processor.exit_reasons import ExitReason, KillReason
from daskpar.processor.lost_blocks import charge_and_requeue
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.protocol import BlockEnded, BlockOrder, Flushed, Released
from daskpar.processor.shared_page import Announcement, Phase
from daskpar.results import Reason

WHY = ExitReason(Reason.DIED, "it died")


@pytest.mark.parametrize(
    ("reported", "killed_for", "last", "expected"),
    [
        (10, "", Announcement(-1, Phase.IDLE, 0.0), [(10, 20, "unbegun")]),
        (10, "memory", Announcement(-1, Phase.IDLE, 0.0), [(10, 20, "unbegun")]),
        (10, "stopped", Announcement(-1, Phase.IDLE, 0.0), [(10, 20, "died")]),
        (20, "", Announcement(-1, Phase.IDLE, 0.0), []),
        (12, "", Announcement(11, Phase.FLUSH, 0.0), [(12, 20, "died")]),
        (10, "", Announcement(13, Phase.FLUSH, 0.0), [(10, 14, "unwritten"), (14, 20, "died")]),
        (10, "stopped", Announcement(13, Phase.RUN, 0.0), [(10, 14, "unflushed"), (14, 20, "died")]),
        (10, "timeout", Announcement(13, Phase.FLUSH, 0.0), [(10, 14, "unwritten"), (14, 20, "died")]),
        (10, "damaged", Announcement(13, Phase.RUN, 0.0), [(10, 14, "unwritten"), (14, 20, "died")]),
        (10, "damaged", Announcement(19, Phase.FLUSH, 0.0), [(10, 20, "unwritten")]),
        # At its end before its node had read that, and waiting since before it was given the block.
        (10, "damaged", Announcement(-1, Phase.IDLE, 7.0), [(10, 20, "unwritten")]),
        (15, "damaged", Announcement(-1, Phase.IDLE, 7.0), [(15, 20, "unwritten")]),
        (10, "damaged", Announcement(-1, Phase.IDLE, 6.0), [(10, 20, "unbegun")]),
    ],
)
def test_what_a_death_gives_back(reported, killed_for, last, expected):
    order = BlockOrder(block=1, token="t", start=10, stop=20)
    processor = ProcessorHandle(1, *cast(Any, [None, None, SimpleNamespace(announced=lambda: last)]), key=1)
    processor.order, processor.given_at, processor.limit = order, 6.5, 20
    processor.reported, processor.killed_for = reported, KillReason(killed_for)
    *found, final = charge_and_requeue(processor, last, WHY, SimpleNamespace(max_retries=0))
    assert [(m.start, m.stop, m.reason) for m in found if isinstance(m, Released)] == expected
    assert isinstance(final, BlockEnded)
    assert processor.order is None


@pytest.mark.parametrize("server_died", [False, True])
def test_a_processor_that_died_with_its_fork_server_says_so(server_died):
    last = Announcement(13, Phase.FLUSH, 0.0)
    processor = ProcessorHandle(1, *cast(Any, [None, None, SimpleNamespace(announced=lambda: last)]), key=1)
    processor.order, processor.limit = BlockOrder(block=1, token="t", start=10, stop=20), 20
    processor.reported, processor.server_died = 10, server_died
    found = charge_and_requeue(processor, last, WHY, SimpleNamespace(max_retries=0))
    assert [m.server_died for m in found if isinstance(m, Released)] == [server_died] * 2


@pytest.mark.parametrize("phase", [Phase.LOAD, Phase.RUN])
def test_a_mini_batch_whose_files_do_not_answer_is_handed_back_and_not_charged(phase):
    order = BlockOrder(block=1, token="t", start=10, stop=20)
    processor = SimpleNamespace(
        order=order,
        limit=20,
        reported=11,
        killed_for="timeout",
        server_died=False,
        unreached="/data/a.csv does not answer",
        page=SimpleNamespace(together=lambda: 0),
    )
    why = ExitReason(Reason.LOAD_TIMEOUT, "loading took longer than 5 s")
    found = charge_and_requeue(processor, Announcement(13, phase, 0.0), why, SimpleNamespace(max_retries=0))
    assert [(m.start, m.stop, m.reason, m.trouble) for m in found[:-1]] == [
        (11, 13, "unflushed", ""),
        (13, 14, "unreached", "/data/a.csv does not answer (loading took longer than 5 s)"),
        (14, 20, "died", ""),
    ]
    assert isinstance(found[-1], BlockEnded)


@pytest.mark.parametrize(
    ("together", "stop", "killed_for", "phase", "expected"),
    [
        (7, 20, "timeout", Phase.LOAD, [(11, 13, "unflushed"), (13, 20, "died")]),
        (7, 20, "", Phase.LOAD, [(11, 13, "unflushed"), (13, 20, "died")]),
        (7, 20, "stopped", Phase.LOAD, [(11, 14, "unflushed"), (14, 20, "died")]),
        (7, 20, "damaged", Phase.LOAD, [(11, 14, "unwritten"), (14, 20, "died")]),
        (1, 20, "timeout", Phase.LOAD, "charged"),
        (0, 20, "timeout", Phase.LOAD, "charged"),
        (7, 20, "timeout", Phase.RUN, "charged"),
        (7, 12, "timeout", Phase.LOAD, "charged"),
    ],
)
def test_of_files_that_were_read_together_none_is_charged(together, stop, killed_for, phase, expected):
    """But where all are of one mini-batch."""
    last = Announcement(13 if stop == 20 else 11, phase, 0.0)
    page = SimpleNamespace(announced=lambda: last, together=lambda: together, items=lambda: 1)
    processor = ProcessorHandle(1, *cast(Any, [None, None, page]), key=1)
    processor.order = BlockOrder(block=1, token="t", start=min(11, stop - 1), stop=stop)
    processor.reported, processor.limit, processor.killed_for = 11, stop, KillReason(killed_for)
    logs = SimpleNamespace(trace=lambda *_: "", stacks=lambda *_: "")
    settings = SimpleNamespace(max_retries=0, plan="/none", tabular=False, node=0, log_paths=logs)
    found = charge_and_requeue(processor, last, WHY, cast(Any, settings))[:-1]
    assert any(isinstance(m, Flushed) for m in found) == (expected == "charged")
    if expected != "charged":
        assert [(m.start, m.stop, m.reason) for m in found if isinstance(m, Released)] == expected
