"""The text format: a DataFrame's rows as `to_csv` writes them, one `str()` per line of anything else.

DataFrames become exactly what `frame.to_csv(sep=" ", header=False, index=False, lineterminator="\\n")` gives
for that frame alone. Everything that can fail (an element whose `str()` raises, text that is not UTF-8, other
columns than before) fails in `TextEncoder.add`, and so costs its own mini-batch and no neighbour.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from daskpar.data.notices import RETURNED_COLUMNS, LossCounter, LostValues, Notice
from daskpar.errors import JobFailed, UsageError
from daskpar.jobspec.row_formats import TEXT, wrong_ending
from daskpar.rows import odd_values
from daskpar.rows.odd_values import PLAIN_TYPES
from daskpar.rows.pandas_text import plain
from daskpar.rows.row_format import RowFormat, Schema
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.jobspec.model import ParallelStep
    from daskpar.rows.frame_text import Snapshot
    from daskpar.rows.item_columns import ItemColumns

JOIN_BELOW = 1000
"""Frames with fewer rows are formatted together with their neighbours; putting larger ones together costs
more than it saves.
"""

JOINED_ROWS = 50_000
"""Rows that wait to be formatted together; bounds the memory that snapshots take."""


@frozen
class TextFormat(RowFormat):
    """Lines of text, in UTF-8; what Azure ML's `append_row` writes."""

    name = TEXT
    header: bool = False
    """Whether the output begins with a line of the column names (`--append_row_dataframe_header`)."""
    item_columns: tuple[str, ...] = ()
    with_index: bool = False

    @classmethod
    def for_step(cls, step: ParallelStep) -> TextFormat:
        own = step.settings
        return cls(
            header=own.append_row_dataframe_header,
            item_columns=own.append_row_join,
            with_index=own.append_row_index,
        )

    def encoder(self) -> TextEncoder:
        return TextEncoder(header=self.header)

    @property
    def needs_schema(self) -> bool:
        return self.header

    def head(self, schema: Schema | None) -> bytes:
        if not self.header or schema is None or schema == NO_COLUMNS:
            return b""
        return header_line(names_known(schema) or schema)

    def agreed(self, known: Schema, found: Schema, returned_by: str) -> Schema:
        if found[:1] == NO_COLUMNS:
            return known if found == known else NO_COLUMNS
        if known[:1] == NO_COLUMNS:  # of an earlier process, to which nobody had said that there is a header
            known = names_known(known) or found
        if found != known:
            raise JobFailed(
                f"{returned_by} returned a DataFrame with the columns {list(found)}, "
                f"earlier ones had {list(known)}: "
                "one file with one header (--append_row_dataframe_header) can't hold both. "
                "Return the same columns in the same order from every run()."
            )
        return known

    def check_name(self, target: str) -> None:
        if ending := wrong_ending(self.name, target):
            raise UsageError(
                "What is exported is text, as in the output that the run aggregates (append_row_to), "
                f"and {target} says {ending}: name a text file, such as FILE.txt."
            )


PLAIN_TEXT = TextFormat()
"""Without a line of column names."""

HEADERLESS = "columns of text without a header"
"""First text of the schema of such rows, before the names of their columns; only readers need these."""
NO_COLUMNS: Schema = (HEADERLESS,)
"""Of rows that are not all those of DataFrames with the same columns."""


def names_known(schema: Schema | None) -> tuple[str, ...]:
    """The columns of text without a header, where all its rows have the same; else none."""
    return schema[1:] if schema is not None and schema[:1] == NO_COLUMNS else ()


def header_line(columns: Sequence[str]) -> bytes:
    """The first line of an output whose DataFrames have these columns: as pandas writes it, separated by
    spaces.
    """
    import csv  # only the driver needs them
    import io

    text = io.StringIO()
    csv.writer(text, delimiter=" ", lineterminator="\n").writerow(columns)
    return text.getvalue().encode()


class TextEncoder:
    """The text of returned values since the last `take`, in the order in which they were added.

    A small DataFrame is kept as a snapshot until `take`, so that many are formatted at once; what the script
    does to its frame after the return changes nothing. The text never depends on where `take` falls.
    """

    def __init__(self, header: bool = False, separator: str = " ") -> None:
        self._header = header
        self._separator = separator
        self._text: list[bytes | memoryview] = []
        self._lengths: list[int] = []
        self._frames: list[Snapshot] = []
        self._frame_rows = 0
        self._size = 0
        self._losses = LossCounter()
        self._columns: dict[tuple[Any, ...], int] = {}
        self._names: tuple[Any, ...] | None = None
        self._last: tuple[Any, tuple[Any, ...]] | None = None
        """Columns of the last DataFrame, and their names."""
        self.schema: Schema | None = None
        """Column names of the first DataFrame that had columns. Without a header: `HEADERLESS` and those that
        all have.
        """

    @property
    def size_estimate(self) -> int:
        """About how many bytes wait for `take`."""
        return self._size

    def add(self, returned: Any, index: int = 0, before: ItemColumns | None = None) -> int:
        """Take in one return (DataFrame, Series, array, list, any iterable) and give its number of elements;
        a DataFrame's are its rows.

        Whatever is wrong with the value raises here and leaves the buffer as it was. Elements of a Series or
        an array are written as those of a list: one `str()` per line, without quoting; an element whose text
        holds line breaks keeps them.
        """
        if before is not None:
            returned = _with_columns(returned, before)
        if type(returned) is not list:
            pandas = sys.modules.get("pandas")
            if pandas is not None and isinstance(returned, pandas.DataFrame):
                return self._add_frame(returned)
            returned = _elements(returned)
        joined = "\n".join(map(str, returned))
        text = (joined + "\n").encode("utf-8", "surrogateescape") if returned else b""
        self.add_text(text)
        if returned:
            if not self._header:
                self.schema = NO_COLUMNS
            if joined.count("\n") >= len(returned) or "\r" in joined:
                odd_values.count_breaks(joined, returned, self._losses)
            # Elements are of one kind as a rule, but for those that have failed.
            if type(returned[0]) not in PLAIN_TYPES or type(returned[-1]) not in PLAIN_TYPES:
                odd_values.count_odd_values(returned, self._losses)
        return len(returned)

    def add_text(self, text: bytes) -> None:
        """Take in a return whose text was made already."""
        if self._frames:
            self._format_frames()
        self._append(text)

    def take_notices(self) -> tuple[Notice, ...]:
        """What is doubtful of the returns added since the last call."""
        for names, frames in self._columns.items():
            self._losses.add(odd_values.names_text(names), RETURNED_COLUMNS, LostValues(frames, ""))
        self._columns.clear()
        return self._losses.take_notices() if self._losses.found else ()

    def take(self) -> tuple[bytes | memoryview, list[int]]:
        """All text since the last call, and the byte length of each added return, in order."""
        if self._frames:
            self._format_frames()
        lengths = self._lengths
        # One text, as large frames have it, is not copied.
        text = self._text[0] if len(self._text) == 1 else b"".join(self._text)
        self._text, self._lengths, self._size = [], [], 0
        return text, lengths

    def _append(self, text: bytes | memoryview) -> None:
        self._text.append(text)
        self._lengths.append(len(text))
        self._size += len(text)

    def _add_frame(self, frame: Any) -> int:
        columns = self._checked_columns(frame) if self._header else self.schema
        rows = len(frame)
        if rows and not self._header:
            names = self._names_of(frame)
            if not names:
                columns = NO_COLUMNS
            elif names != self._names:
                same = self._names is None and self.schema is None
                columns = (HEADERLESS, *map(str, names)) if same else NO_COLUMNS
                self._names = names
            if names:
                self._columns[names] = self._columns.get(names, 0) + 1
        small = rows < JOIN_BELOW
        # Brings pyarrow and pandas: only scripts that return frames pay for that.
        try:
            from daskpar.rows import frame_text
        except ModuleNotFoundError:  # a Python of the script's own has pandas, and may have no pyarrow
            snapshot = None
        else:
            snapshot = frame_text.snapshot(frame, copy=small)
        if snapshot is not None and small:
            if self._frames and (
                self._frames[0].kinds != snapshot.kinds or self._frame_rows + rows > JOINED_ROWS
            ):
                self._format_frames()
            self._frames.append(snapshot)
            self._frame_rows += rows
            self._size += snapshot.size
        else:
            text: bytes | memoryview
            if snapshot is None:
                text, quoted = plain(frame, self._separator), True
            else:
                text, _, quoted = frame_text.join([snapshot], self._separator)
            if self._frames:
                self._format_frames()
            self._append(text)
            if quoted:
                odd_values.count_breaks_of_rows(bytes(text), rows, self._losses)
            if snapshot is None:
                odd_values.count_odd_columns(frame, self._losses)
        self.schema = columns
        return rows

    def _names_of(self, frame: Any) -> tuple[Any, ...]:
        """Names of the columns."""
        columns, last = frame.columns, self._last
        # Texts of Arrow become objects of Python one by one. Equal texts are the same; 1 and True are not.
        texts = columns.dtype.kind == "O" and type(columns.dtype).__name__ == "StringDtype"
        if not (texts and last is not None and columns.dtype == last[0].dtype and columns.equals(last[0])):
            self._last = last = columns, tuple(columns.tolist())
        return last[1]

    def _checked_columns(self, frame: Any) -> tuple[str, ...] | None:
        columns = tuple(map(str, frame.columns))
        if not columns:
            return self.schema
        if self.schema is not None and columns != self.schema:
            raise ValueError(
                f"run() returned a DataFrame with the columns {list(columns)} "
                f"after one with the columns {list(self.schema)}; "
                "with --append_row_dataframe_header all must have the same columns in the same order"
            )
        return columns

    def _format_frames(self) -> None:
        from daskpar.rows import frame_text

        frames, rows = self._frames, self._frame_rows
        self._frames, self._frame_rows = [], 0
        text, lengths, quoted = frame_text.join(frames, self._separator)
        if quoted:
            odd_values.count_breaks_of_rows(bytes(text), rows, self._losses)
        self._size += len(text) - sum(frame.size for frame in frames)
        self._text.append(text)
        self._lengths.extend(lengths)


def _with_columns(returned: Any, before: ItemColumns) -> Any:
    """What was returned, with columns before each row or element."""
    from daskpar.rows.item_columns import line_starts

    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(returned, pandas.DataFrame):
        return before.frame(returned) if returned.shape[1] or len(returned) else returned
    elements = list(returned)
    starts = line_starts(before.cells((), len(elements)), " ")
    return [f"{start}{element}" for start, element in zip(starts, elements, strict=True)]


def _elements(returned: Iterable[Any]) -> Any:
    """`returned` itself where it is a sequence of elements, else a list of them."""
    if isinstance(returned, tuple):
        return returned
    return list(returned)
