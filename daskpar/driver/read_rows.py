"""Reads the rows that a completed step has appended into pandas or Dask."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from daskpar.data.reach import unreadable
from daskpar.datastores import StorageOptions, options_for, options_of, own_options
from daskpar.errors import RunDirectoryError, UsageError
from daskpar.jobspec.row_formats import CSV, JSONL, PARQUET
from daskpar.locations import filesystem, is_url, remote_errors
from daskpar.named_places import know_configured
from daskpar.outputs.journal_reader import read_journal
from daskpar.outputs.row_folder import part_files
from daskpar.results import Status
from daskpar.rows.text_format import TextFormat, names_known
from daskpar.rundir.run_directory import RunDirectory
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import dask.bag
    import dask.dataframe
    import pandas

    from daskpar.rows.row_format import RowFormat, Schema
    from daskpar.rundir.step_folder import StepFolder

PARTITION_BYTES = 64 << 20
"""Of a Dask partition of rows that are no Parquet, about."""
BAG_ROWS = 100_000
"""Of a partition of a Dask bag of rows of CSV."""
LINE = "line"
"""The column of rows that have none."""


def read_pandas(run: Path, step: str | None) -> pandas.DataFrame:
    """The rows of `step`, which may be left out where only one has rows.

    Raises UsageError where there are none, or of several steps; RunDirectoryError where the file is gone.
    """
    rows = _rows_of(run, step)
    import pandas

    name = rows.row_format.name
    if name == PARQUET:
        files = [_opened(file) for file in rows.files]
        try:
            parts = [pandas.read_parquet(file) for file in files]
        finally:
            for file in files:
                file.close()
        # All files have one schema, whose nullable types are the same in each.
        return parts[0] if len(parts) == 1 else pandas.concat(parts, ignore_index=True)
    with closing(_in_one(rows)) as file:
        if name == CSV:
            # What is missing is an empty field. `NA` or `None` is a text that somebody has returned.
            return _from_csv(file, sep=",", keep_default_na=False, na_values=[""])
        if name == JSONL:
            return _from_objects(map(json.loads, file))
        if isinstance(rows.row_format, TextFormat) and rows.row_format.header:
            return _from_csv(file, sep=" ")
        if (names := names_known(rows.schema)) and (read := _headerless(file, names)) is not None:
            return read
        text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="\n")
        return pandas.DataFrame({LINE: [line.removesuffix("\n") for line in text]})


def read_dask(run: Path, step: str | None) -> dask.dataframe.DataFrame:
    """The same in partitions: Parquet is read as it is needed, a partition for some of its row groups; the
    other formats are read at once.
    """
    rows = _rows_of(run, step)
    import dask.dataframe

    if rows.row_format.name == PARQUET:
        for file in rows.files:
            _opened(file).close()
        lazy: dask.dataframe.DataFrame = dask.dataframe.read_parquet(
            list(rows.files), split_row_groups=True, storage_options=_storage(rows.files)
        )
        return lazy
    read = read_pandas(run, step)
    size = int(read.memory_usage(deep=True).sum())
    held: dask.dataframe.DataFrame = dask.dataframe.from_pandas(
        read, npartitions=max(1, size // PARTITION_BYTES)
    )
    return held


def read_bag(run: Path, step: str | None) -> dask.bag.Bag:
    """The same as mappings, or lines, in partitions that are read as they are needed; CSV is read at once."""
    found = _rows_of(run, step)
    row_format = found.row_format
    import dask.bag

    for place in found.files:
        _opened(place).close()
    bag: dask.bag.Bag
    if row_format.name == PARQUET:
        from dask.delayed import delayed

        groups, storage = delayed(_row_group), options_for(found.files)
        bag = dask.bag.from_delayed(
            [groups(place, number, storage) for place in found.files for number in range(_row_groups(place))]
        )
    elif row_format.name == JSONL:
        bag = _lines(found.files).map(json.loads)
    elif isinstance(row_format, TextFormat) and not row_format.header:
        bag = _lines(found.files).map(_without_break)
    else:
        rows = read_pandas(run, step).to_dict("records")
        bag = dask.bag.from_sequence(rows, npartitions=max(1, len(rows) // BAG_ROWS))
    return bag


def _row_groups(place: str) -> int:
    import pyarrow.parquet

    with closing(_opened(place)) as file:
        return max(1, int(pyarrow.parquet.ParquetFile(file).num_row_groups))


def _row_group(place: str, number: int, storage: StorageOptions) -> list[dict[str, Any]]:
    import pyarrow.parquet

    with own_options(storage), closing(_opened(place)) as file:
        parquet = pyarrow.parquet.ParquetFile(file)
        rows: list[dict[str, Any]] = []
        if number < parquet.num_row_groups:
            rows = parquet.read_row_group(number).to_pylist()
        return rows


def _lines(files: Sequence[str]) -> dask.bag.Bag:
    import dask.bag

    bag: dask.bag.Bag
    if not any(map(_has_bytes, files)):  # for Dask, these are no files at all
        bag = dask.bag.from_sequence([], npartitions=1)
        return bag
    bag = dask.bag.read_text(
        list(files),
        blocksize=PARTITION_BYTES,
        linedelimiter="\n",
        errors="surrogateescape",
        storage_options=_storage(files),
    )
    return bag


def _storage(files: Sequence[str]) -> dict[str, Any] | None:
    """For Dask's own readers: how it opens these files, which lie in one place."""
    return dict(options_of(files[0])) or None


def _has_bytes(place: str) -> bool:
    with closing(_opened(place)) as file:
        return bool(file.read(1))


def _without_break(line: str) -> str:
    return line.removesuffix("\n")


@frozen
class _Rows:
    """Where the rows of a step are."""

    files: tuple[str, ...]
    row_format: RowFormat
    schema: Schema | None
    """What is known of their columns."""
    head_bytes: int
    """What stands before the rows in each file."""


def _rows_of(run: Path, step: str | None) -> _Rows:
    folders = RunDirectory.open(run, lock=False).steps()
    if step is not None and step not in {folder.name for folder in folders}:
        raise UsageError(f"The run {run} has no step {step!r}: {_listed(folders)}.")
    found = [
        (folder, state.rows)
        for folder in folders
        if (state := folder.state()) is not None
        and state.rows
        and state.status in (Status.COMPLETED, Status.PARTIAL)
        and step in (None, folder.name)
    ]
    if not found:
        raise UsageError(
            f"{'The step ' + step if step else f'The run {run}'} has no rows to read: a step has them "
            "once it is completed, where it has append_row_to. "
            "`python -m daskpar export RUN --partial FILE` writes what is there of an unfinished one."
        )
    if len(found) > 1:
        names = ", ".join(folder.name for folder, _ in found)
        raise UsageError(
            f"Several steps of the run have rows: {names}. Say which one: step={found[0][0].name!r}."
        )
    ((folder, place),) = found
    if is_url(place):
        know_configured()
    contents = read_journal(folder.journal)
    row_format = contents.row_format
    files: tuple[str, ...] = (place,)
    if place.endswith("/"):
        files = tuple(_parts_in(place))
        if not files:
            raise RunDirectoryError(f"The rows are gone: there are no part files in {place} any more.")
    # Only part files are read without what stands before their rows; Parquet has no such thing.
    head = row_format.head(contents.schema) if len(files) > 1 else b""
    return _Rows(files, row_format, contents.schema, len(head))


def _parts_in(folder: str) -> list[str]:
    try:
        return part_files(folder)
    except OSError as error:
        raise unreadable(folder, error) from None


def _listed(folders: Iterable[StepFolder]) -> str:
    return "its steps are " + (", ".join(folder.name for folder in folders) or "none yet")


def _in_one(rows: _Rows) -> Any:
    """A file that holds the rows of all files, and the head of the first."""
    first, *others = rows.files
    if not others:
        return _opened(first)
    return io.BufferedReader(_Chained(rows), io.DEFAULT_BUFFER_SIZE * 8)


class _Chained(io.RawIOBase):
    """The files of some rows one after the other, without the heads of all but the first."""

    def __init__(self, rows: _Rows) -> None:
        super().__init__()
        self._head_bytes = rows.head_bytes
        self._file = _opened(rows.files[0])
        self._others = list(rows.files[:0:-1])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            data = self._file.read(len(buffer))
            if data or not self._others:
                buffer[: len(data)] = data
                return len(data)
            self._file.close()
            self._file = _opened(self._others.pop())
            self._file.seek(self._head_bytes)

    def close(self) -> None:
        self._file.close()
        super().close()


def _opened(place: str) -> Any:
    try:
        if is_url(place):
            files, path = filesystem(place)
            with remote_errors():
                return files.open(path, "rb")
        return open(place, "rb")
    except FileNotFoundError:
        raise RunDirectoryError(f"The rows are gone: there is no file {place} any more.") from None
    except OSError as error:
        raise unreadable(place, error) from None


def _from_csv(file: Any, sep: str, **options: Any) -> pandas.DataFrame:
    import pandas

    try:
        rows = pandas.read_csv(
            file, sep=sep, dtype_backend="numpy_nullable", encoding_errors="surrogateescape", **options
        )
    except pandas.errors.EmptyDataError:
        return pandas.DataFrame()
    return _usual(rows)


def _headerless(file: Any, names: Sequence[str]) -> pandas.DataFrame | None:
    """Text that DataFrames with the columns `names` became; None, with the file at its start, where it turns
    out to be something else.
    """
    import pandas

    try:
        rows = _from_csv(file, " ", header=None, skip_blank_lines=False)
    except pandas.errors.ParserError:  # lines with more fields than others
        rows = pandas.DataFrame()
    if rows.shape[1] == len(names):
        rows.columns = pandas.Index(names)
        return rows
    file.seek(0)
    return None


def _from_objects(rows: Iterable[dict[str, Any]]) -> pandas.DataFrame:
    import pandas

    found = list(rows)
    names = list(dict.fromkeys(name for row in found for name in row))
    return pandas.DataFrame({name: _series([row.get(name) for row in found]) for name in names})


def _series(values: list[Any]) -> pandas.Series[Any]:
    """One column; whole numbers with nulls among them stay whole."""
    import pandas

    kinds = {type(value) for value in values if value is not None}
    if None in values and kinds in ({int}, {bool}):
        try:
            return pandas.Series(values, dtype="Int64" if kinds == {int} else "boolean")
        except OverflowError:
            return pandas.Series(values, dtype=object)
    if len(kinds - {int, float}) == 0 or len(kinds) == 1:
        return pandas.Series(values)
    return pandas.Series(values, dtype=object)


def _usual(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The types that pandas would have chosen, but for whole numbers and truth values with nulls."""
    import pandas

    columns = {}
    for at, name in enumerate(rows.columns):
        series = rows.iloc[:, at]
        if str(series.dtype).startswith("Float") or (series.dtype.kind in "iub" and not series.hasnans):
            series = series.astype(cast(Any, series.dtype).numpy_dtype)
        elif isinstance(series.dtype, pandas.StringDtype):
            series = series.astype(str if pandas.__version__ >= "3" else object)
        columns[name] = series
    return pandas.DataFrame(columns, index=rows.index)
