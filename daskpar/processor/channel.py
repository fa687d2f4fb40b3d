"""Pickled values over a stream socket, each with its length in front. Both ends are ours; nothing of a user's travels here."""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct("<I")
_PIECE = 1 << 18


def send(sock: socket.socket, value: object) -> None:
    """Send one value, waiting until it is on its way."""
    data = pickle.dumps(value, protocol=5)
    sock.sendall(_LENGTH.pack(len(data)) + data)


def receive(sock: socket.socket) -> Any:
    """Wait for one value; EOFError when the other end has gone."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    return pickle.loads(_exactly(sock, length))


def _exactly(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


class Inbox:
    """Values from a socket that must not be waited for."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = bytearray()
        self.closed = False

    def read(self) -> Iterator[Any]:
        """What has arrived whole; sets `closed` at the other end's end."""
        while True:
            try:
                piece = self._sock.recv(_PIECE, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.closed = True
                break
            if not piece:
                self.closed = True
                break
            self._data += piece
        start = 0
        while len(self._data) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data, start)
            end = start + _LENGTH.size + length
            if end > len(self._data):
                break
            value = pickle.loads(memoryview(self._data)[start + _LENGTH.size : end])
            start = end
            yield value
        if start:
            del self._data[:start]
