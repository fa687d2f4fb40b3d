"""Values over a socket: whole or not at all, however they are cut up on the way."""

from __future__ import annotations

import pickle
import socket
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.processor import channel
from daskpar.processor.protocol import BlockOrder, LogMessage

VALUES = st.lists(
    st.one_of(
        st.integers(),
        st.binary(max_size=300),
        st.text(),
        st.builds(LogMessage, level=st.just("info"), text=st.text()),
    )
)


def wire(values):
    return b"".join(
        struct.pack("<4sII", b"dkp1", len(data), zlib.crc32(data)) + data
        for data in (pickle.dumps(value, protocol=5) for value in values)
    )


@given(VALUES, st.data())
def test_values_arrive_whole_and_in_order_however_they_are_cut(values, data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inbox, found, left = channel.Inbox(ours), [], wire(values)
        while left:
            size = data.draw(st.integers(1, len(left)))
            theirs.sendall(left[:size])
            left = left[size:]
            found += inbox.read()
        assert found == values
        assert not inbox.closed
        theirs.close()
        assert inbox.read() == []
        assert inbox.closed and not inbox.damaged


@given(VALUES.filter(bool), st.data())
def test_half_a_value_is_never_given(values, data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        whole = wire(values)
        cut = data.draw(st.integers(0, len(whole) - 1))
        theirs.sendall(whole[:cut])
        theirs.close()
        inbox = channel.Inbox(ours)
        found = inbox.read()
        assert found == values[: len(found)]
        assert len(found) < len(values)
        assert inbox.closed


def test_what_was_said_before_the_end_is_still_heard():
    ours, theirs = socket.socketpair()
    with ours:
        channel.send(theirs, "last words")
        theirs.close()
        inbox = channel.Inbox(ours)
        assert inbox.read() == ["last words"]
        assert inbox.closed
        assert inbox.read() == []


@pytest.mark.parametrize(
    "foreign",
    [
        struct.pack("<I", 5) + b"hello",
        b"g",  # shorter than any head: what follows shows it
        b"dkp",  # as ours begin
        b"\xff" * 4096,  # as a length: more than will ever come
        struct.pack("<4sII", b"dkp1", 5, 0) + b"hello",
        struct.pack("<4sII", b"dkp1", 5, zlib.crc32(b"hello")) + b"hello",
    ],
)
def test_foreign_bytes_end_the_talk_and_nothing_else(foreign):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel.send(theirs, 1)
        theirs.sendall(foreign)
        channel.send(theirs, 2)
        inbox = channel.Inbox(ours)
        assert inbox.read() == [1]
        assert inbox.damaged and inbox.closed
        assert inbox.read() == []


def test_whoever_waits_for_a_value_notices_foreign_bytes_too():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"garbage " * 2)
        with pytest.raises(channel.ForeignBytes):
            channel.receive(ours)


def test_a_large_value_passes_while_both_ends_work():
    import threading

    ours, theirs = socket.socketpair()
    with ours, theirs:
        value = b"x" * (5 << 20)
        sender = threading.Thread(target=channel.send, args=(theirs, value))
        sender.start()
        assert channel.receive(ours) == value
        sender.join()


def test_waiting_for_one_that_has_gone_ends():
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(wire([BlockOrder(block=1, token="", start=0, stop=1)])[:-1])
        theirs.close()
        with pytest.raises(EOFError):
            channel.receive(ours)
