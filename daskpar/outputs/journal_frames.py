"""The journal's bytes: frames that carry their own length and checksum, so that each whole one is found.

    frame    [marker 4][length 4][CRC-32 of the payload 4][payload]
    payload  [kind 1][body]

    HEADER   JSON: format, step, mini_batches, row_format, boot, created
    SESSION  JSON: boot, time; a later driver process goes on from here
    PART     [number 4][name]: a part, before its first flush
    FLUSH    [part 4][offset 8][length 8][CRC-32 4][records 4][texts 4][RECORD ...][failures as JSON]
    REVOKED  [start 8][stop 8] ...: mini-batches whose rows turned out to be gone
    PIECE    JSON: how a piece of a divided mini-batch has ended (`outputs.pieces`)
    SCHEMA   JSON: texts that say what the rows do not, such as the names of columns (`rows.row_format`)

Numbers are little-endian. The marker has bytes that no JSON here holds, and a frame counts only if its
checksum fits.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from enum import IntEnum

import numpy as np

from daskpar.value_classes import frozen

FORMAT = 1
MARKER = b"\xdf\x9a\xb7\xfe"
HEAD = struct.Struct("<4sII")

FLUSH = np.dtype(
    [
        ("kind", "u1"),
        ("part", "<u4"),
        ("offset", "<i8"),
        ("length", "<i8"),
        ("crc", "<u4"),
        ("records", "<u4"),
        ("texts", "<u4"),
    ]
)
"""The fixed start of a FLUSH payload, kind included."""
FLUSH_PACK = struct.Struct("<BIqqIII")
PART_PACK = struct.Struct("<BI")

assert FLUSH_PACK.size == FLUSH.itemsize


class FrameKind(IntEnum):
    """The first byte of a payload."""

    HEADER = 1
    SESSION = 2
    PART = 3
    FLUSH = 4
    REVOKED = 5
    SCHEMA = 6
    PIECE = 7


def frame(payload: bytes) -> bytes:
    """`payload` with its head before it."""
    return HEAD.pack(MARKER, len(payload), zlib.crc32(payload)) + payload


@frozen(kw_only=True)
class Frames:
    """Where the whole frames of a journal lie."""

    starts: np.ndarray
    """Position of each payload, in file order."""
    lengths: np.ndarray
    stop: int
    """End of the last whole frame; what follows is a torn tail."""
    damaged: tuple[tuple[int, int], ...]
    """Ranges of bytes between whole frames that are none."""


def find_frames(data: mmap.mmap | bytes) -> Frames:
    """All whole frames of `data`, past damage too; any bytes are fine."""
    view = memoryview(data)
    size = len(view)
    starts: list[int] = []
    lengths: list[int] = []
    damaged: list[tuple[int, int]] = []
    position = stop = 0
    unpack, crc32, head = HEAD.unpack_from, zlib.crc32, HEAD.size  # a million frames pass here
    while position + head <= size:
        marker, length, crc = unpack(view, position)
        start = position + head
        end = start + length
        if marker == MARKER and length > 0 and end <= size and crc32(view[start:end]) == crc:
            if position > stop:
                damaged.append((stop, position))
            starts.append(start)
            lengths.append(length)
            position = stop = end
        else:
            # Damage, or a torn tail: the next whole frame, if there is one, begins with a marker.
            position = data.find(MARKER, position + 1)
            if position < 0:
                break
    return Frames(
        starts=np.array(starts, np.int64),
        lengths=np.array(lengths, np.int64),
        stop=stop,
        damaged=tuple(damaged),
    )
