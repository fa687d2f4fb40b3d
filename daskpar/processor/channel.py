"""Sends and receives pickled values over a stream socket, each with its length in front.

Both ends are daskpar's own; no data of a user's travels here.
"""

from __future__ import annotations

import pickle
import socket
import struct
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
    data = bytearray()
    while len(data) < length:
        piece = sock.recv(min(length - len(data), _PIECE))
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
        while len(self._data) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data, start)
            end = start + _LENGTH.size + length
            if end > len(self._data):
                break
            try:
                values.append(pickle.loads(self._data[start + _LENGTH.size : end]))
            except Exception:  # pickle may raise anything on bytes that it did not write
                self.damaged = self.closed = True
                end = len(self._data)
            start = end
        del self._data[:start]
        return values
