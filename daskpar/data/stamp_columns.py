"""Stamps of many files in two arrays, 16 bytes for each file."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, overload

from daskpar.data.stamps import Stamp


class StampColumns(Sequence[Stamp]):
    """Stamps of many files: 64-bit integers for their `sizes`, and others for their `marks`."""

    def __init__(self, sizes: Any, marks: Any) -> None:
        self.sizes = memoryview(sizes).cast("B").cast("q")
        self.marks = memoryview(marks).cast("B").cast("q")

    @classmethod
    def of(cls, stamps: Sequence[Stamp]) -> StampColumns:
        """The same stamps in this form."""
        if isinstance(stamps, StampColumns):
            return stamps
        return cls(array("q", [stamp[0] for stamp in stamps]), array("q", [stamp[1] for stamp in stamps]))

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, at: int) -> Stamp: ...
    @overload
    def __getitem__(self, at: slice) -> StampColumns: ...
    def __getitem__(self, at: int | slice) -> Stamp | StampColumns:
        if isinstance(at, slice):
            return StampColumns(array("q", self.sizes[at].tolist()), array("q", self.marks[at].tolist()))
        return Stamp(self.sizes[at], self.marks[at])

    def __iter__(self) -> Iterator[Stamp]:
        return map(Stamp, self.sizes, self.marks)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StampColumns):
            return self.sizes == other.sizes and self.marks == other.marks
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
