"""Sends and receives pickled values over a stream socket, each with its length in front.

Both ends are daskpar's own; no data of a user's travels here. But a script may write to descriptors that it
did not open: each value has a mark, its length and a checksum in front, so that foreign bytes are noticed
where they begin and never wait for more.
"""

from __future__ import annotations

import socket
import struct
import zlib
from typing import Any

from daskpar.own_calls import OWN

_MARK = b"dkp1"
_HEAD = struct.Struct("<4sII")
"""Mark, length and CRC-32 of the pickled value that follows."""
_PIECE = 1 << 18


class ForeignBytes(ValueError):
    """What has arrived is no value of ours."""


def send(sock: socket.socket, value: object) -> None:
    """Send one value, waiting until it is on its way."""
    data = OWN.dumps(value, protocol=5)
    OWN.sendall(sock, _HEAD.pack(_MARK, len(data), zlib.crc32(data)) + data)


def receive(sock: socket.socket) -> Any:
    """Wait for one value; EOFError when the other end has gone, ForeignBytes for what is none of ours."""
    mark, length, crc = _HEAD.unpack(_exactly(sock, _HEAD.size))
    if mark != _MARK:
        raise ForeignBytes
    data = _exactly(sock, length)
    if zlib.crc32(data) != crc:
        raise ForeignBytes
    return OWN.loads(data)


def _exactly(sock: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = OWN.recv(sock, min(length - len(data), _PIECE))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


class Inbox:
    """Values from a socket, read without waiting."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = bytearray()
        self.closed = False
        """Whether nothing more will come: the other end has gone, or has sent what can't be read."""
        self.damaged = False
        """Whether bytes have arrived that are no value of ours: a script has written to our descriptor."""

    def read(self) -> list[Any]:
        """The values that have arrived whole since the last call."""
        while not self.closed:
            try:
                piece = self._sock.recv(_PIECE, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                piece = b""
            self._data += piece
            self.closed = not piece
        values: list[Any] = []
        start = 0
        try:
            while (end := self._end_of_value(start)) is not None:
                values.append(OWN.loads(self._data[start + _HEAD.size : end]))
                start = end
        except Exception:  # foreign bytes; and pickle may raise anything on bytes that it did not write
            self.damaged = self.closed = True
            start = len(self._data)
        del self._data[:start]
        return values

    def _end_of_value(self, start: int) -> int | None:
        """Where the value that begins at `start` ends; None while it has not arrived whole."""
        data = self._data
        if not _MARK.startswith(data[start : start + len(_MARK)]):
            raise ForeignBytes
        if len(data) - start < _HEAD.size:
            return None
        _, length, crc = _HEAD.unpack_from(data, start)
        end: int = start + _HEAD.size + length
        if end > len(data):
            return None
        with memoryview(data)[start + _HEAD.size : end] as value:
            if zlib.crc32(value) != crc:
                raise ForeignBytes
        return end
