"""The part file of one processor: rows are appended by plain writes, and nothing is buffered while user code
runs.
"""

from __future__ import annotations

import os
import secrets
import zlib


class PartFile:
    """Made at the first row. Its name carries a random token, so that no two processors ever share one."""

    def __init__(self, folder: str, processor: str) -> None:
        self._folder = folder
        self.name = f"{processor}-{secrets.token_hex(8)}.part"
        self.size = 0
        self._fd = -1

    def append(self, data: bytes) -> tuple[int, int]:
        """Write `data` at the end; where it lies, and its CRC-32. OSError when the disk refuses: the file is
        then as before.
        """
        if self._fd < 0:
            self._fd = os.open(
                os.path.join(self._folder, self.name),
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC,
                0o666,
            )
        view, offset = memoryview(data), self.size
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, offset)
            raise
        self.size += len(data)
        return offset, zlib.crc32(data)
