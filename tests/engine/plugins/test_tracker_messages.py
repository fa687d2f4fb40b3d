"""What the tracker sends reaches the driver as it was, over msgpack."""

from __future__ import annotations

import msgpack
import pytest

from daskpar.engine.plugins.tracker_messages import (
    MessagesArrived,
    VerdictReached,
    WorkerJoined,
    WorkerLost,
    from_wire,
    to_wire,
)


@pytest.mark.parametrize(
    "message",
    [
        MessagesArrived("tcp://a:1", b"\x80\x05\x00"),
        VerdictReached("2 items failed"),
        WorkerJoined("tcp://a:1"),
        WorkerLost("tcp://a:1"),
    ],
)
def test_a_message_is_the_same_at_the_other_end(message):
    sent = msgpack.packb(to_wire(message))
    assert from_wire(msgpack.unpackb(sent, use_list=False)) == message
