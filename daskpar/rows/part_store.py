"""The base classes of a part store: the place where the rows of one step are, from the flush to the output.

Rows are appended to *parts*, each written by one processor alone. A store is a small frozen value that is
pickled on its way to the processors: they get writers from it, the driver opens parts by their names. A new
one is a module of its own and its line in `rows.registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol


class Written(NamedTuple):
    """What became of appended rows."""

    offset: int
    """Where they lie in the part."""
    crc: int
    """CRC-32 of the bytes, behind those that had `before`."""
    carried: bytes = b""
    """The rows themselves, where they are to travel to the driver with the commit (`PartStore.keep`)."""


class PartWriter(Protocol):
    """Appends to the part of one processor."""

    name: str
    """Of the part with the last rows; no two writers of a step ever have the same."""

    @property
    def place(self) -> str:
        """Where the part is, for messages."""

    def append(self, data: bytes | memoryview, before: int = 0) -> Written:
        """Put rows at the end of the part, or of a new one where something has happened to it. OSError when
        they can't be: the part is then as before.

        `before`: CRC-32 of rows that they follow.
        """

    def close(self) -> None:
        """Nothing more is appended by it."""


class StoredPart(ABC):
    """One part, opened for reading."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on; fewer are no sign of the end, none are."""

    @abstractmethod
    def close(self) -> None:
        """Called once, after the last reading."""


class PartStore(ABC):
    """Where the parts of one step lie."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """A text that no other step's store has, today and after a resume."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the place, where it is not there yet; called by the driver."""

    @abstractmethod
    def writer(self, processor: str) -> PartWriter:
        """A writer for a new part; `processor` may stand in its name. Called in processors."""

    def keep(self, part: str, offset: int, data: bytes) -> None:
        """Take rows that travelled with a commit (`Written.carried`); called by the driver before it commits.

        The same rows may come twice. Raises InfrastructureLost where they can't be kept.
        """
        raise TypeError(f"rows came with a commit that {type(self).__name__} does not keep")

    @abstractmethod
    def open(self, part: str) -> StoredPart:
        """A part for reading; FileNotFoundError where there is none."""

    @abstractmethod
    def size(self, part: str) -> int:
        """Length of a part in bytes; 0 where there is none."""

    @abstractmethod
    def place_of(self, part: str) -> str:
        """Where a part is, for messages."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether the place is there: made, and not yet removed."""

    @abstractmethod
    def remove(self) -> None:
        """Remove all parts, as the output is complete. Never raises: what is left only takes up space."""
