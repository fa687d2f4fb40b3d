"""Makes one Parquet file of the rows of mini-batches, each an Arrow stream: all at once, or as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from daskpar.errors import JobFailed
from daskpar.rows.parquet_schema import file_schema
from daskpar.rows.row_format import Schema

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS, GROUP_BYTES = 1 << 18, 128 << 20
"""A row group is written when it has so many rows, or so many bytes in memory, whatever comes first. Readers
gain nothing by larger ones, and what waits for its group to be full is left for the end of the step.
"""
DICTIONARY_BYTES = 1 << 16
"""A column of a row group gets a dictionary of its values while that is no larger: names of classes do. Arrow
tries it with every column, up to 1 MB, which costs half of the time where nearly every value is a new one.
"""


class ParquetJoiner:
    """One file, a piece for each mini-batch that is added: as `RowJoiner`."""

    def __init__(self, schema: Schema | None) -> None:
        self._fitting = schema
        self._types = file_schema(schema)
        self._groups = _RowGroups(self._types)
        self._file = _File(self._types)

    def fits(self, schema: Schema | None) -> bool:
        """As `RowJoiner.fits`."""
        if schema != self._fitting:
            if not file_schema(schema).equals(self._types, check_metadata=True):
                return False
            self._fitting = schema
        return True

    def add(self, data: bytes) -> bytes:
        """As `RowJoiner.add`."""
        return b"".join(map(self._file.with_group, self._groups.add(data)))

    def end(self) -> bytes:
        """As `RowJoiner.end`."""
        return b"".join(map(self._file.with_group, self._groups.rest())) + self._file.ended()


def join_parquet(ranges: Iterable[bytes], schema: Schema | None) -> Iterator[bytes]:
    """The same file of all ranges, in pieces; the rows of one are decoded while those before are packed."""
    types = file_schema(schema)
    groups, file = _RowGroups(types), _File(types)

    def decoded() -> Iterator[pa.Table]:
        for data in ranges:
            yield from groups.add(data)
        yield from groups.rest()

    for group in _read_ahead(decoded()):
        yield file.with_group(group)
    yield file.ended()


class _RowGroups:
    """Rows in tables of the size of a row group; where they are cut depends on nothing but the rows."""

    def __init__(self, types: pa.Schema) -> None:
        self._types = types
        self._waiting: list[pa.Table] = []
        self._rows = self._size = 0

    def add(self, data: bytes) -> Iterator[pa.Table]:
        """Those that are full with the rows of this range."""
        for batch in _batches(data):
            table = _conformed(batch, self._types)
            while table.num_rows:
                taken = table.slice(0, GROUP_ROWS - self._rows)
                table = table.slice(taken.num_rows)
                self._waiting.append(taken)
                self._rows, self._size = self._rows + taken.num_rows, self._size + taken.nbytes
                if self._rows >= GROUP_ROWS or self._size >= GROUP_BYTES:
                    yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        """The last one, where rows are left."""
        import pyarrow as pa

        if self._waiting:
            group = pa.concat_tables(self._waiting)
            self._waiting, self._rows, self._size = [], 0, 0
            yield group


class _File:
    """The bytes of a file, row group by row group."""

    def __init__(self, types: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._sink = _Sink()
        self._writer = pq.ParquetWriter(
            self._sink, types, compression="zstd", dictionary_pagesize_limit=DICTIONARY_BYTES
        )

    def with_group(self, group: pa.Table) -> bytes:
        """What this row group adds."""
        self._writer.write_table(group, row_group_size=max(1, group.num_rows))
        return self._sink.taken()

    def ended(self) -> bytes:
        """The footer."""
        self._writer.close()
        return self._sink.taken()


def _read_ahead(groups: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same; the next one is made on another thread while this one is packed."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="daskpar-decode") as thread:
        following = thread.submit(next, groups, None)
        while (group := following.result()) is not None:
            following = thread.submit(next, groups, None)
            yield group


def _batches(data: bytes) -> Iterator[pa.RecordBatch]:
    """What a range holds: one Arrow stream, or one for each piece of a divided mini-batch."""
    import pyarrow as pa

    source = pa.BufferReader(data)
    while source.tell() < len(data):
        yield from pa.ipc.open_stream(source)


def _conformed(batch: pa.RecordBatch, types: pa.Schema) -> pa.Table:
    import pyarrow as pa

    arrays = []
    for field in types:
        at = batch.schema.get_field_index(field.name)
        if at < 0:
            arrays.append(pa.nulls(batch.num_rows, field.type))
            continue
        try:
            arrays.append(batch.column(at).cast(field.type))
        except pa.ArrowException as error:
            raise JobFailed(
                f"The column {field.name!r} can't be written: it is {batch.schema.field(at).type} in one "
                f"mini-batch and {field.type} in the output: {error}. Return one type from every run()."
            ) from error
    return pa.Table.from_arrays(arrays, schema=types)


class _Sink:
    """A file that gives what was written to it since it was asked last."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._size += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._size

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """What was written can still be taken."""

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
