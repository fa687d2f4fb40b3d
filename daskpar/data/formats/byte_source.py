"""A file read at any position, local or remote; the error of a file that can't be read names it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from daskpar.data.reach import unreadable
from daskpar.locations import filesystem, is_url, remote_errors


class ByteSource:
    """One open file; `read` gives bytes at an offset (fewer at its end)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._remote: tuple[Any, str] | None = None
        if is_url(path):
            self._remote = filesystem(path)
            return
        try:
            # A named pipe without a writer would be waited for without end.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise unreadable(path, error) from None

    @property
    def descriptor(self) -> int | None:
        """Of a local file."""
        return self._descriptor

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length) of the file."""
        if length <= 0:
            return b""
        try:
            if self._remote is not None:
                fs, inner = self._remote
                with remote_errors():
                    return bytes(fs.cat_file(inner, start=offset, end=offset + length))
            assert self._descriptor is not None
            data = os.pread(self._descriptor, length, offset)
            while len(data) < length and (
                more := os.pread(self._descriptor, length - len(data), offset + len(data))
            ):
                data += more
            return data
        except OSError as error:
            raise unreadable(self.path, error) from None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
