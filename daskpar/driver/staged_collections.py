"""Collections for `map_mini_batches` as files in the run directory, cut so that mini-batches get their size.

Workers write and join the files: neither the driver nor its memory sees a row.
"""

from __future__ import annotations

import itertools
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daskpar import atomic
from daskpar.errors import UsageError
from daskpar.value_classes import frozen

ITEM, BATCH = "item", "mini_batch"
"""Columns of a table of pickled items: the item, and the mini-batch that it belongs to."""
Compute = Callable[[Sequence[Any]], Sequence[Any]]
"""Computes Dask collections by the scheduler in force."""
GROUP_BYTES = 16 << 20
"""Of a row group, about: what a processor decodes at once."""
FILE_BYTES = 64 << 20
"""Files are not joined beyond this, unless a mini-batch is larger."""


class Staged(ABC):
    """A collection that knows how it is written into a folder."""

    @abstractmethod
    def write_into(self, folder: Path, compute: Compute) -> None:
        """Write it, described by an MLTable, into an existing folder."""


@frozen
class PathList(Staged):
    """Absolute paths and URLs of files, in their order."""

    paths: Sequence[str]

    def write_into(self, folder: Path, compute: Compute) -> None:
        write_list(self.paths, folder)


@frozen
class WholeFrame(Staged):
    """A pandas DataFrame: one file."""

    frame: Any

    def write_into(self, folder: Path, compute: Compute) -> None:
        write_frame(self.frame, folder, 0)
        write_table(folder)


@frozen
class FrameParts(Staged):
    """A Dask DataFrame whose small partitions are joined, for a mini-batch does not cross a file."""

    frame: Any
    size_bytes: int
    """Of a mini-batch."""

    def write_into(self, folder: Path, compute: Compute) -> None:
        from dask.delayed import delayed

        write, join = delayed(write_frame, pure=False), delayed(_join, pure=False)
        parts = folder.with_name(f"{folder.name}.parts")
        parts.mkdir(exist_ok=True)
        sizes = compute([write(part, parts, number) for number, part in enumerate(self.frame.to_delayed())])
        most = max(self.size_bytes, FILE_BYTES)
        compute([join(parts, numbers, folder, to) for to, numbers in enumerate(runs_of(sizes, most))])
        shutil.rmtree(parts, ignore_errors=True)
        write_table(folder)


@frozen
class ItemBag(Staged):
    """The elements of a Dask bag, pickled: `per_batch` of them for each mini-batch."""

    bag: Any
    per_batch: int

    def write_into(self, folder: Path, compute: Compute) -> None:
        from dask.delayed import delayed

        write, number_rows = delayed(_write_items, pure=False), delayed(_with_mini_batch, pure=False)
        parts = folder.with_name(f"{folder.name}.parts")
        parts.mkdir(exist_ok=True)
        counts = compute([write(part, parts, number) for number, part in enumerate(self.bag.to_delayed())])
        starts = itertools.accumulate(counts, initial=0)
        compute(
            [
                number_rows(parts, number, folder, start, self.per_batch)
                for number, start in zip(range(len(counts)), starts, strict=False)
            ]
        )
        shutil.rmtree(parts, ignore_errors=True)
        write_table(folder)


def runs_of(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Consecutive positions whose sizes come to `most` at the most together; a larger one is alone."""
    run: list[int] = []
    total = 0
    for position, size in enumerate(sizes):
        if run and total + size > most:
            yield run
            run, total = [], 0
        run.append(position)
        total += size
    if run:
        yield run


def write_table(folder: Path) -> None:
    """The MLTable of the Parquet files in `folder`."""
    text = "type: mltable\npaths:\n  - pattern: ./*.parquet\ntransformations:\n  - read_parquet\n"
    atomic.replace_file(folder / "MLTable", text.encode())


def write_list(paths: Sequence[str], folder: Path) -> None:
    """The MLTable of a list of files."""
    # JSON text is YAML text: quoting done right, and quick for long lists.
    lines = "".join(f"  - file: {json.dumps(path)}\n" for path in paths)
    text = f"type: mltable\npaths:\n{lines}" if paths else "type: mltable\npaths: []\n"
    atomic.replace_file(folder / "MLTable", text.encode())


def part_path(folder: Path, number: int) -> Path:
    """The file of a partition; names sort as numbers do."""
    return folder / f"part-{number:06d}.parquet"


def write_frame(frame: Any, folder: Path, number: int) -> int:
    """Write one partition as Parquet, in row groups that are quick to decode; its bytes in memory, about.

    A repeat leaves the same file.
    """

    table = _with_nullable(_as_table(frame), frame)
    size = max(1, int(table.nbytes))
    rows = max(1, table.num_rows * GROUP_BYTES // size)
    with atomic.replacing(part_path(folder, number), durable=False, shared=True) as temporary:
        _write(table, temporary, rows)
    return size


def _as_table(frame: Any) -> Any:
    import pyarrow as pa

    with named_column(frame):
        return pa.Table.from_pandas(frame, preserve_index=False)


@contextmanager
def named_column(frame: Any, what: str = "data") -> Iterator[None]:
    """While a frame is turned into Arrow: UsageError names the column that Arrow has no type for.

    `what`: the frame, as its user calls it.
    """
    import pyarrow as pa

    refusals = (pa.ArrowException, TypeError, ValueError, OverflowError)
    try:
        yield
    except refusals:
        for at, name in enumerate(frame.columns):
            try:
                pa.Table.from_pandas(frame.iloc[:, [at]], preserve_index=False)
            except refusals as error:
                raise UsageError(
                    f"{what}: the column {name!r} ({frame.dtypes.iloc[at]}) can't be written for the "
                    f"processors ({_reason(error)}): make its values of one kind, such as "
                    f"frame[{name!r}].astype(str), or leave it out. To map_mini_batches a list or a Dask "
                    "bag may hold anything"
                ) from error
        raise


def _reason(error: Exception) -> str:
    # Arrow gives the sentence and where it was as two arguments.
    return str(error.args[0] if error.args else error).strip().rstrip(".")


def _with_nullable(table: Any, frame: Any) -> Any:
    """Mark integers that may have nulls beside them: as floats those beyond 2^53 would be others."""
    import numpy as np
    import pyarrow as pa

    from daskpar.data.columns.special_types import nullable_field

    fields = [
        nullable_field(field)
        if pa.types.is_integer(field.type) and not _is_plain_integer(dtype, np)
        else field
        for field, dtype in zip(table.schema, frame.dtypes, strict=True)
    ]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields, metadata=table.schema.metadata))


def _is_plain_integer(dtype: Any, np: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iu"


def _write(table: Any, place: Any, rows: int) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, place, row_group_size=rows)


def _join(parts: Path, numbers: Sequence[int], folder: Path, to: int) -> None:
    """One file of several, a row group at a time; types are those that hold the values of all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(part_path(parts, number)) for number in numbers]
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    with (
        atomic.replacing(part_path(folder, to), durable=False, shared=True) as temporary,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        for number in numbers:
            with pq.ParquetFile(part_path(parts, number)) as file:
                for group in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(group).select(schema.names).cast(schema))


def _write_items(items: Any, folder: Path, number: int) -> int:
    """Write the elements of one partition, pickled; how many there are."""
    import cloudpickle
    import pyarrow as pa

    table = pa.table({ITEM: pa.array([cloudpickle.dumps(item) for item in items], pa.large_binary())})
    with atomic.replacing(part_path(folder, number), durable=False, shared=True) as temporary:
        _write(table, temporary, max(1, table.num_rows * GROUP_BYTES // max(1, table.nbytes)))
    return int(table.num_rows)


def _with_mini_batch(parts: Path, number: int, folder: Path, start: int, per_batch: int) -> None:
    """Write the same items with the number of their mini-batch; `start` items come before them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(ITEM, pa.large_binary()), pa.field(BATCH, pa.int64())])
    with (
        pq.ParquetFile(part_path(parts, number)) as file,
        atomic.replacing(part_path(folder, number), durable=False, shared=True) as temporary,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        for group in range(file.num_row_groups):
            items = file.read_row_group(group).column(ITEM).cast(pa.large_binary())
            numbers = np.arange(start, start + len(items)) // per_batch
            writer.write_table(pa.Table.from_arrays([items, pa.array(numbers)], schema=schema))
            start += len(items)
