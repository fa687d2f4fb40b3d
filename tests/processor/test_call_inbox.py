"""Calls to the thread of a pool: in order, and none is lost when it ends."""

from __future__ import annotations

import select
import threading

from daskpar.processor.call_inbox import CallInbox


def readable(inbox: CallInbox) -> bool:
    return bool(select.select([inbox], [], [], 0)[0])


def test_calls_wake_their_owner_and_run_in_order() -> None:
    inbox, ran = CallInbox(), list[int]()
    assert not readable(inbox)
    for number in range(3):
        inbox.put(lambda number=number: ran.append(number))
    assert readable(inbox) and ran == []
    inbox.clear_wakeups()
    assert not readable(inbox)
    inbox.run()
    assert ran == [0, 1, 2]
    inbox.close(lambda: None)


def test_more_calls_than_the_pipe_holds_are_kept() -> None:
    inbox, ran = CallInbox(), list[int]()
    for number in range(100_000):
        inbox.put(lambda number=number: ran.append(number))
    inbox.run()
    assert len(ran) == 100_000
    inbox.close(lambda: None)


def test_calls_that_come_late_run_at_once_and_one_that_fails_hurts_nobody() -> None:
    inbox, ran = CallInbox(), list[str]()
    inbox.put(lambda: ran.append("waiting"))
    inbox.put(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    inbox.close(lambda: ran.append("sent"))
    assert ran == ["waiting", "sent"]
    late = threading.Thread(target=inbox.put, args=[lambda: ran.append("late")])
    late.start()
    late.join(60)
    assert ran == ["waiting", "sent", "late", "sent"]
