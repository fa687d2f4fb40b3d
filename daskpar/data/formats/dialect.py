"""How a delimited text is written: delimiter, encoding, quoted line breaks, and what an empty field means."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from daskpar.errors import InputError
from daskpar.value_classes import frozen

ENCODINGS: Mapping[str, str] = {
    "utf8": "utf8",
    "utf-8": "utf8",
    "ascii": "utf8",
    "latin1": "latin1",
    "latin-1": "latin1",
    "iso88591": "latin1",
    "iso-8859-1": "latin1",
    "windows1252": "latin1",
    "windows-1252": "latin1",
    "utf16": "utf16",
    "utf-16": "utf16",
}
"""As Microsoft's reader: the accepted spellings of encodings, and what they mean (`latin1`: Windows-1252)."""


@frozen
class Dialect:
    """The options of `read_delimited` that decide how bytes become fields.

    Of a longer `delimiter` only the first character counts; it must be ASCII. `encoding` is any key of
    ENCODINGS.
    """

    delimiter: str = ","
    encoding: str = "utf8"
    support_multi_line: bool = False
    empty_as_string: bool = False

    def __post_init__(self) -> None:
        first = self.delimiter[:1]
        if not first or not first.isascii() or first in '"\r\n\0':
            raise InputError(
                f"The delimiter {self.delimiter!r} can't be used: "
                "give one ASCII character other than a quote or line break."
            )
        if self.encoding not in ENCODINGS:
            known = ", ".join(ENCODINGS)
            raise InputError(f"The encoding {self.encoding!r} is not supported; use one of {known}.")
        object.__setattr__(self, "delimiter", first)
        object.__setattr__(self, "encoding", ENCODINGS[self.encoding])

    @property
    def wide(self) -> bool:
        """Whether every character takes two bytes in the file."""
        return self.encoding == "utf16"

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` understands."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Dialect:
        """The dialect that `to_json` described."""
        return cls(**value)


def mark_length(head: bytes, dialect: Dialect, source: str = "") -> int:
    """Length of the byte order mark that `head`, the start of a file, begins with.

    Raises InputError for big-endian UTF-16, which is not supported.
    """
    if dialect.encoding == "utf8":
        return 3 if head.startswith(b"\xef\xbb\xbf") else 0
    if dialect.encoding == "utf16":
        if head.startswith(b"\xfe\xff"):
            raise InputError(
                f"{source or 'The file'} is big-endian UTF-16, which is not supported: "
                "store it as UTF-8 or little-endian UTF-16."
            )
        return 2 if head.startswith(b"\xff\xfe") else 0
    return 0


def to_utf8(chunk: bytes, dialect: Dialect, offset: int = 0, source: str = "") -> bytes:
    """The bytes as UTF-8, checked; InputError names the first byte that can't be decoded.

    `offset` is where they lie in their file, `source` the file's name: both for the error.
    """
    if dialect.encoding != "utf16" and chunk.isascii():
        return chunk
    if dialect.encoding == "latin1":
        return _windows_1252(chunk).encode()
    codec = "utf-16-le" if dialect.wide else "utf-8"
    try:
        text = chunk.decode(codec)
        return text.encode() if dialect.wide else chunk
    except UnicodeError as error:
        at = error.start if isinstance(error, UnicodeDecodeError) else 0
        seen = chunk[at : at + 4].hex(" ")
        raise InputError(
            f"{source or 'The file'}: byte {offset + at} ({seen}) is not {codec.upper()}; "
            "set `encoding` of the reader to the file's own."
        ) from None


def _windows_1252(chunk: bytes) -> str:
    """Windows-1252 text; its five undefined bytes become the C1 control characters of the same number."""
    return codecs.charmap_decode(chunk, "strict", _WINDOWS_1252)[0]


_WINDOWS_1252 = "".join(bytes([code]).decode("cp1252", errors="ignore") or chr(code) for code in range(256))
