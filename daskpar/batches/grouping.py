"""Brings the rows of each group of a table together: one pass over small tables, two over larger ones.

The passes are entry scripts of our own, run by the engine like a user's (`init()`, `run(numbers)`; arguments:
working folder, name of the pass), over plans of kind `numbers`:

    split     number = span of the table: read it, divide its rows among partitions by a hash of their keys,
              and write one Arrow file with one record batch for each partition
    gather    number = partition: take its batch from every span, order the rows by group, write them and
              an index of the groups
    together  the only number = the whole of a small table: both passes in memory

All files appear under their names complete, and a repeat writes the same bytes, so a pass may be killed,
retried or run twice anywhere. Neither the table nor its groups need fit in memory: a processor holds one span
or one partition.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from daskpar import atomic
from daskpar.batches.key_partition import partition_of_rows
from daskpar.batches.plan import GROUPED, PlanSummary
from daskpar.batches.plan_writer import write_plan
from daskpar.data.columns.buffers import integers, numbers
from daskpar.data.columns.row_keys import GroupedRows, check_keys, group_rows, stable_order
from daskpar.data.notices import LossCounter, LostValues
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.data.tables.piece import PIECE
from daskpar.data.tables.table import Table
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.data.tables.table_reader import TableReader

Execute = Callable[[str, Sequence[str], int], None]
"""Runs the pass named so, with those arguments, over the numbers 0 .. count - 1, and returns when all are
done; raises when one failed.
"""

SMALL_BYTES = 128 * 1024**2
"""A table up to this size is grouped in memory, in one pass."""
SPAN_BYTES = 16 * 1024**2
"""What `split` reads at a time."""
SMALL_SPAN_BYTES = 8 * 1024**2
"""Spans and partitions of a small table: what fits a processor's caches is ordered faster."""
PARTITION_BYTES = 32 * 1024**2
"""What `gather` holds in memory."""
MOST_PARTITIONS = 1024
"""Each is a record batch in the file of each span."""
LEAST_SHARE = 64 * 1024
"""Bytes of a partition in a span, below which reading the batches one by one would cost more than their rows.
"""
BATCH_ROWS = 1 << 16
"""Rows of a record batch of the grouped rows."""
MERGED_GROUPS = 1 << 19
"""Groups that are merged into the plan at once; where there are more, the plan grows in mapped files."""
ROW_BITS = 32
"""A row's place in the table: the number of its span above these bits, its row in the span below them."""

WORK = "grouping"
RECIPE = "recipe.json"
INDEX_COLUMNS = ("first", "stop")


@frozen(kw_only=True)
class Recipe:
    """What the passes need to know, kept in the working folder."""

    table: str
    """`Table.to_json()`."""
    keys: tuple[str, ...]
    spans: int
    partitions: int


def group_table(
    table: Table,
    keys: Sequence[str],
    folder: str | Path,
    execute: Execute,
    *,
    small_bytes: int = SMALL_BYTES,
    span_bytes: int = SPAN_BYTES,
    partition_bytes: int = PARTITION_BYTES,
) -> PlanSummary:
    """Write the plan in `folder` whose mini-batches are the groups of `table` by `keys`.

    Groups come in order of first appearance, their rows in table order. Sizes choose how the work is cut; the
    plan's groups, their order and their rows do not depend on them.
    """
    check_keys(keys, table.schema.names, table.origin)
    target = Path(folder)
    work = target / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    size = table.size_bytes
    if size <= small_bytes:
        span_bytes, partition_bytes = (
            min(span_bytes, SMALL_SPAN_BYTES),
            min(partition_bytes, SMALL_SPAN_BYTES),
        )
    partitions = max(1, min(-(-size // partition_bytes), MOST_PARTITIONS))
    pieces = cut_into_pieces(table, max(span_bytes, partitions * LEAST_SHARE))
    np.save(work / "spans.npy", pieces)
    recipe = Recipe(table=table.to_json(), keys=tuple(keys), spans=len(pieces), partitions=partitions)
    (work / RECIPE).write_text(json.dumps(vars(recipe)), encoding="utf-8")
    if size <= small_bytes:
        execute("together", [str(work), "together"], 1)
    else:
        execute("split", [str(work), "split"], len(pieces))
        execute("gather", [str(work), "gather"], partitions)
    summary = _write_plan(table, recipe, target)
    shutil.rmtree(work, ignore_errors=True)
    return summary


_pass: _Pass | None = None


def init() -> None:
    """Open the pass that the arguments name."""
    global _pass
    _pass = _Pass(Path(sys.argv[1]), sys.argv[2])


def run(mini_batch: Sequence[int]) -> list[int]:
    """Do the numbers of one mini-batch."""
    assert _pass is not None
    for number in mini_batch:
        _pass.do(number)
    return list(mini_batch)


def execute_here(name: str, argv: Sequence[str], count: int) -> None:
    """Run a whole pass in this process: for `daskpar plan`, which starts no cluster."""
    one = _Pass(Path(argv[0]), name)
    for number in range(count):
        one.do(number)


class _Pass:
    """One of the passes, over the recipe in a working folder."""

    def __init__(self, work: Path, name: str) -> None:
        self._work = work
        found = json.loads((work / RECIPE).read_text(encoding="utf-8"))
        self._recipe = Recipe(**{**found, "keys": tuple(found["keys"])})
        self._reader: TableReader | None = None
        self.do: Callable[[int], None] = {
            "split": self._split,
            "gather": self._gather,
            "together": self._together,
        }[name]

    def _split(self, span: int) -> None:
        rows, batches = self._divided(span)
        _write(self._work / _span_name(span), rows.schema, batches)

    def _divided(self, span: int) -> tuple[pa.Table, Iterator[pa.RecordBatch]]:
        """The rows of a span by partition, each with its row number before its columns.

        And a record batch for each partition.
        """
        table = self._span(span)
        partitions = self._recipe.partitions
        numbers = partition_of_rows(table, self._recipe.keys, partitions)
        order = stable_order(numbers, partitions)
        ends = np.cumsum(np.bincount(numbers, minlength=partitions)).tolist()
        rows = table.take(pa.array(order)).add_column(0, "", pa.array(order.astype(np.uint32)))
        return rows, (_one(rows, start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True))

    def _gather(self, partition: int) -> None:
        spans = (
            pa.ipc.open_file(pa.memory_map(str(self._work / _span_name(span))))
            for span in range(self._recipe.spans)
        )
        self._finish(partition, [span.get_batch(partition) for span in spans])

    def _together(self, _: int) -> None:
        # divided in memory first: ordering rows by group is several times faster where a partition fits the
        # processor's caches
        divided = [list(self._divided(span)[1]) for span in range(self._recipe.spans)]
        for partition in range(self._recipe.partitions):
            self._finish(partition, [batches[partition] for batches in divided])

    def _span(self, span: int) -> pa.Table:
        from daskpar.data.tables.table_reader import TableReader  # only processors read tables

        if self._reader is None:
            self._reader = TableReader(
                Table.from_json(self._recipe.table), np.load(self._work / "spans.npy").astype(PIECE)
            )
        table = _whole(self._reader.arrow(span))
        losses, self._reader.losses = self._reader.losses, LossCounter()
        if losses.found:
            _write_text(
                self._work / f"losses-{span:06d}.json",
                json.dumps([(*key, vars(lost)) for key, lost in losses.found.items()]),
            )
        return table

    def _finish(self, partition: int, batches: list[pa.RecordBatch]) -> None:
        """Write the rows of a partition (a batch from each span) by group, and the index of its groups.

        The index holds the place of each group's first row, where its rows end, and its keys.
        """
        places = np.concatenate(
            [np.zeros(0, np.int64)]
            + [
                batch.column(0).to_numpy().astype(np.int64) + (span << ROW_BITS)
                for span, batch in enumerate(batches)
            ]
        )
        parts = [pa.Table.from_batches([batch]).remove_column(0) for batch in batches if batch.num_rows]
        if parts:
            table = pa.concat_tables(parts, promote_options="permissive")
        else:
            table = Table.from_json(self._recipe.table).schema.empty_table()
        table = _whole(table)
        grouped = group_rows(table, self._recipe.keys)
        _write(self._work.parent / _partition_name(partition), table.schema, _in_order(table, grouped))
        keys = table.select(list(self._recipe.keys)).take(pa.array(grouped.first))
        index = pa.Table.from_arrays(
            [pa.array(places[grouped.first]), pa.array(grouped.starts[1:]), *keys.columns],
            schema=pa.schema([*(pa.field(name, pa.int64()) for name in INDEX_COLUMNS), *keys.schema]),
        )
        _write(self._work / f"index-{partition:05d}.arrow", index.schema, index.combine_chunks().to_batches())


def _write_plan(table: Table, recipe: Recipe, target: Path) -> PlanSummary:
    """Merge the indices of all partitions into the plan: groups in the order of their first rows.

    Goes through the table window by window, and keeps what it has merged in mapped files: there may be more
    groups than fit in memory.
    """
    indices = [
        _Index(target / WORK / f"index-{partition:05d}.arrow", partition)
        for partition in range(recipe.partitions)
    ]
    count = sum(len(index.first) for index in indices)
    pieces = _mapped(target / WORK / "pieces", count, PIECE)
    offsets = _mapped(target / WORK / "offsets", count + 1, np.dtype(np.int64))
    schema = pa.unify_schemas([index.keys.schema for index in indices], promote_options="permissive")
    keys_path = target / WORK / "keys.arrow"
    done = items = 0
    with pa.OSFile(str(keys_path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for bound in _windows(indices):
            parts = [index.until(bound) for index in indices]
            order = np.argsort(np.concatenate([first for first, _, _ in parts]), kind="stable")
            window = slice(done, done + len(order))
            pieces[window] = np.concatenate([found for _, found, _ in parts])[order]
            offsets[done + 1 : done + len(order) + 1] = np.arange(done + 1, done + len(order) + 1)
            items += int((pieces["stop"][window] - pieces["start"][window]).sum())
            writer.write_table(
                pa.concat_tables([keys.cast(schema) for _, _, keys in parts])
                .combine_chunks()
                .take(integers(order))
            )
            done += len(order)
    files = [str(target / _partition_name(partition)) for partition in range(recipe.partitions)]
    losses = _all_losses(target / WORK)
    return write_plan(
        target,
        kind=GROUPED,
        table=Table.of_arrow_files(files, origin=table.origin),
        pieces=pieces,
        offsets=offsets,
        keys=pa.ipc.open_file(pa.memory_map(str(keys_path))).read_all(),
        items=items,
        size_bytes=table.size_bytes,
        warnings=[*table.planning_warnings, *losses.take_totals(table.origin)],
    )


class _Index:
    """The groups of one partition, in the order of their first rows, taken from the front."""

    def __init__(self, path: Path, partition: int) -> None:
        found = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self.first = numbers(found.column(0))
        self.keys = found.select(range(2, found.num_columns))
        self._stops = numbers(found.column(1))
        self._partition = partition
        self._taken = 0

    def until(self, bound: int) -> tuple[np.ndarray, np.ndarray, pa.Table]:
        """First rows, pieces and keys of the groups not taken yet whose first rows lie before `bound`."""
        start, stop = self._taken, int(np.searchsorted(self.first, bound))
        self._taken = stop
        pieces = np.zeros(stop - start, PIECE)
        pieces["file"] = self._partition
        pieces["stop"] = self._stops[start:stop]
        pieces["start"][1:] = pieces["stop"][:-1]
        if start and stop > start:
            pieces["start"][0] = self._stops[start - 1]
        return self.first[start:stop], pieces, self.keys.slice(start, stop - start)


def _windows(indices: Sequence[_Index]) -> Iterator[int]:
    """Places in the table between which about as many groups begin as are merged at once.

    The last one lies behind all groups.
    """
    spacing = max(1, MERGED_GROUPS // len(indices))
    samples = np.sort(np.concatenate([index.first[spacing::spacing] for index in indices]))
    yield from samples[len(indices) - 1 :: len(indices)].tolist()
    yield np.iinfo(np.int64).max


def _mapped(path: Path, count: int, kind: np.dtype) -> np.ndarray:
    """Zeros, in a file where there are many."""
    if count <= MERGED_GROUPS:
        return np.zeros(count, kind)
    return np.memmap(path, kind, "w+", shape=(count,))


def _all_losses(work: Path) -> LossCounter:
    """What reading the spans lost, together."""
    losses = LossCounter()
    for path in sorted(work.glob("losses-*.json")):
        for column, cause, lost in json.loads(path.read_text(encoding="utf-8")):
            losses.add(column, cause, LostValues(**lost))
    return losses


def _in_order(table: pa.Table, grouped: GroupedRows) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(grouped.order), BATCH_ROWS):
        yield _one(table.take(pa.array(grouped.order[start : start + BATCH_ROWS])))


def _whole(table: pa.Table) -> pa.Table:
    """The table with one chunk in each column."""
    table = table.combine_chunks()
    if any(column.num_chunks > 1 for column in table.columns):  # more text than 32-bit offsets can say
        large = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
        table = table.cast(
            pa.schema([field.with_type(large.get(field.type, field.type)) for field in table.schema])
        ).combine_chunks()
    return table


def _one(table: pa.Table, start: int = 0, stop: int | None = None) -> pa.RecordBatch:
    """The rows [start, stop) of a table as one record batch, also where there are none."""
    part = table.slice(start, None if stop is None else stop - start)
    columns = [
        column.chunk(0) if column.num_chunks == 1 else column.combine_chunks() for column in part.columns
    ]
    columns = [
        pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        for column in columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _write(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch] | list[pa.RecordBatch]) -> None:
    """Write an Arrow file that appears under its name only when complete."""
    # shared, as the same pass may run twice at once; not durable, as a plan of another boot is made anew
    with (
        atomic.replacing(path, durable=False, shared=True) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def _write_text(path: Path, text: str) -> None:
    with atomic.replacing(path, durable=False, shared=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _span_name(span: int) -> str:
    return f"span-{span:06d}.arrow"


def _partition_name(partition: int) -> str:
    return f"groups-{partition:05d}.arrow"
