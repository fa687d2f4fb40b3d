"""The base classes of a row format: turns returned values into bytes, and joins these into the one output.

A format is a small frozen value that is pickled on its way to the processors. A new one is a module of its
own and its line in `rows.registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from typing import Self

    from daskpar.data.notices import Notice
    from daskpar.jobspec.model import ParallelStep
    from daskpar.rows.item_columns import ItemColumns

Schema = tuple[str, ...]
"""What a reader has to know of all rows of a step and their bytes do not say, as texts: the names of columns,
a serialized schema. It travels with the rows and is kept in the journal.
"""


REFUSED = "refused"
"""The first text of a schema that says why the rows of a step can't be written at all: the second."""


class RowEncoder(Protocol):
    """Makes bytes of what `run()` returns, in one processor; called once or twice for each mini-batch."""

    schema: Schema | None
    """Of what was added so far; None where nothing was, or the output needs none."""

    @property
    def size_estimate(self) -> int:
        """About how many bytes wait for `take`."""

    def add(self, returned: Any, index: int, before: ItemColumns | None = None) -> int:
        """Take in the return of mini-batch `index` and give its number of elements; a DataFrame's are its
        rows. `before`: columns that stand before the returned ones.

        Whatever is wrong with the value raises here and leaves the encoder as it was.
        """

    def take(self) -> tuple[bytes | memoryview, list[int]]:
        """All bytes since the last call, and the length of each added return's range, in their order.

        A range must make sense without its neighbours: the output has the ranges in mini-batch order, without
        those of repeated mini-batches.
        """

    def take_notices(self) -> tuple[Notice, ...]:
        """What is doubtful of the returns added since the last call: text that a user may take otherwise."""


class RowJoiner(Protocol):
    """Makes the one file of ranges as they come, in mini-batch order; it begins with the format's `head`."""

    def fits(self, schema: Schema | None) -> bool:
        """Whether what it has made so far is also the start of the file of rows with this schema."""

    def add(self, data: bytes) -> bytes:
        """Take in the next range; gives what can be written now. It may hold rows back, but not many."""

    def end(self) -> bytes:
        """What is left to be written after the last range."""


class RowFormat(ABC):
    """One format, with its options as fields."""

    name: ClassVar[str]
    """Its name in the registry and in the journal."""
    concatenated: ClassVar[bool] = True
    """Whether the output is `head` and then all ranges as they are: these are then copied without being read,
    and most of them while the step runs. A format of which this is not true has a `join` of its own, and
    better a `joiner` too.
    """

    item_columns: tuple[str, ...] = ()
    """Columns of the items, or keys, that stand before the returned ones (`--append_row_join`)."""
    with_index: bool = False
    """Whether the mini-batch's index stands there (`--append_row_index`)."""

    @property
    def before(self) -> str:
        """In words what stands before the returned columns, for `kind`; empty where nothing does."""
        names = [*(["the index"] if self.with_index else []), *self.item_columns]
        return f" after {', '.join(names)}" if names else ""

    @property
    def kind(self) -> str:
        """What its ranges look like: those of a format of another kind can't be in one output with them."""
        return self.name + self.before

    @classmethod
    @abstractmethod
    def for_step(cls, step: ParallelStep) -> Self:
        """The format with the options that the step's settings ask for."""

    @abstractmethod
    def encoder(self) -> RowEncoder:
        """A new encoder, for one processor."""

    @property
    def needs_schema(self) -> bool:
        """Whether nothing can be written to the output before the schema of its rows is known."""
        return False

    def head(self, schema: Schema | None) -> bytes:
        """What stands before the first range."""
        return b""

    def one_range(self, pieces: Sequence[bytes]) -> bytes:
        """One range of several ones that follow each other: those of the pieces of a divided mini-batch."""
        return b"".join(pieces)

    def join(self, ranges: Iterator[bytes], schema: Schema | None) -> Iterator[bytes]:
        """One file, in pieces, made of the ranges of some mini-batches in their order.

        Called for a folder of files, and where `concatenated` is false; else the bytes are copied into the
        one file without being read. No more than a few ranges should be held in memory.
        """
        yield self.head(schema)
        yield from ranges

    def joiner(self, schema: Schema | None) -> RowJoiner | None:
        """Makes the same file as `join` while its step runs; None where it has to be made at the end.

        Called where `concatenated` is false.
        """
        return None

    @abstractmethod
    def agreed(self, known: Schema, found: Schema, returned_by: str) -> Schema:
        """One schema for the rows of both; JobFailed where there is none, with `returned_by` in its text.

        Called for the first schema of a step too, which is then both.
        """

    @abstractmethod
    def check_name(self, target: str) -> None:
        """UsageError where the name of the file `target` promises another format."""

    def to_json(self) -> Mapping[str, object]:
        """Its name and options; `registry.format_from_json` makes a format of it."""
        options: dict[str, object] = asdict(self) if is_dataclass(self) else {}
        for name in ("item_columns", "with_index"):  # earlier versions know neither
            if not options.get(name):
                options.pop(name, None)
        return {"name": self.name, **options}
