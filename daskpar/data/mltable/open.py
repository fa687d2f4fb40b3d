"""An MLTable folder opened: its files listed, its kinds inferred once from the sample, its steps resolved
into a table or a file list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.files import FileList, size_of
from daskpar.data.formats.byte_source import unreadable
from daskpar.data.mltable import readers
from daskpar.data.mltable.document import Document, Step, read_document
from daskpar.data.mltable.globbing import files_of_item
from daskpar.data.mltable.narrowing import select_partitions, skip, take
from daskpar.data.mltable.partition_format import extract, parse_format
from daskpar.data.mltable.step_options import Wrong
from daskpar.data.tables.filter_mask import mask
from daskpar.data.tables.filter_parser import BadExpression, parse
from daskpar.data.tables.table import PIECE, Table
from daskpar.data.tables.table_reader import TableReader
from daskpar.data.tables.transformations import Part, apply, convert_field, converted_field, uniform
from daskpar.errors import DaskparError, InputError
from daskpar.locations import resolve

SAMPLE_BYTES = 64 * 1024
SAMPLE_ROWS = 200
SMALL_PARQUET = 4 * 1024 * 1024


def open_mltable(
    folder: str, datastores: Mapping[str, str] | None = None, *, files: bool = False
) -> Table | FileList:
    """The table that the MLTable in a folder describes, or its list of files where it has no reader (or where
    only `files` are wanted).

    Reads the MLTable, lists its files, and reads no more of them than metadata and the inference sample, and
    what `take` and `skip` need. InputError names the MLTable's line, and the file and byte or row where it
    can.
    """
    return _Opening(read_document(folder), datastores or {}).run(files)


@dataclass
class _Files:
    """The list of files on its way through the steps before the reader."""

    paths: list[str]
    lines: list[int]
    values: pa.Table | None = None
    has_path: bool = True

    def select(self, rows: Sequence[int] | np.ndarray) -> None:
        self.paths = [self.paths[row] for row in rows]
        self.lines = [self.lines[row] for row in rows]
        if self.values is not None:
            self.values = self.values.take(pa.array(rows, pa.int64()))

    @property
    def names(self) -> list[str]:
        own = [] if self.values is None else self.values.column_names
        return ["Path"] * self.has_path + own

    def as_table(self) -> pa.Table:
        columns = {"Path": _texts(self.paths)} if self.has_path else {}
        own = (
            {}
            if self.values is None
            else dict(zip(self.values.column_names, self.values.columns, strict=True))
        )
        return pa.table({**columns, **own})


class _Opening:
    """One MLTable being opened: goes through its steps in order."""

    def __init__(self, document: Document, datastores: Mapping[str, str]) -> None:
        self.document = document
        self.datastores = datastores
        self.files = _Files(*self._list())
        self.first = next(iter(document.steps), None)
        self.reader: Step | None = None

    def run(self, files: bool) -> Table | FileList:
        table: Table | None = None
        for step in self.document.steps:
            if files and step.name.startswith("read_"):
                break
            try:
                if table is not None:
                    table = self._behind_reader(table, step)
                elif step.name.startswith("read_"):
                    self.reader = step
                    table = self._read(step)
                else:
                    self._before_reader(step)
            except Wrong as wrong:
                raise self.document.wrong(step.number, wrong) from None
            except DaskparError as error:
                raise self._located(step.line, error) from None
            except ValueError as error:
                raise self.document.error(step.line, str(error)) from None
        if table is None:
            if not self.files.names:
                raise self.document.error(self._last_choice(), "no column is left of the list of files")
            return FileList(
                paths=self.files.paths,
                columns=self.files.values,
                has_path=self.files.has_path,
                origin=self.document.file,
            )
        return self._finish(table)

    def _located(self, line: int | None, error: DaskparError) -> DaskparError:
        text = str(error)
        return error if text.startswith(self.document.file + ":") else self.document.error(line, text)

    def _last_choice(self) -> int | None:
        """The line of the last step that left columns out."""
        return next(
            (
                step.line
                for step in reversed(self.document.steps)
                if step.name in ("keep_columns", "drop_columns")
            ),
            None,
        )

    def _list(self) -> tuple[list[str], list[int]]:
        paths: list[str] = []
        lines: list[int] = []
        known: dict[
            tuple[str, str], list[str]
        ] = {}  # an item may be given twice: its files are read twice, but listed once
        for item in self.document.items:
            text = item.text.replace("\\", "/") if item.text.startswith(".\\") else item.text
            try:
                location = resolve(text, self.document.folder, self.datastores)
                if item.how == "file" and text.endswith("/"):
                    location += "/"
                found = known.get((item.how, location)) or files_of_item(item.how, location)
                known[item.how, location] = found
            except (DaskparError, ValueError) as error:
                raise self.document.error(item.line, str(error)) from None
            paths += found
            lines += [item.line] * len(found)
        return paths, lines

    # before the reader: records are files

    def _before_reader(self, step: Step) -> None:
        files, value = self.files, step.options.get("value")
        if step.name == "take":
            files.select(range(min(value or 0, len(files.paths))))
        elif step.name == "skip":
            files.select(range(min(value or 0, len(files.paths)), len(files.paths)))
        elif step.name == "filter":
            kept = mask(_parsed(value), files.as_table())
            files.select(np.flatnonzero(kept.to_numpy(zero_copy_only=False)))
        elif step.name in ("take_random_sample", "sample"):
            drawn = uniform(step.options["seed"], 0, np.arange(len(files.paths)))
            files.select(
                np.flatnonzero(
                    (drawn >= step.options["low"])
                    & ((drawn < step.options["high"]) | (step.options["high"] == 1.0))
                )
            )
        elif step.name == "select_partitions":
            if value and value[-1] > 0:
                raise InputError(
                    f"there is no partition {value[-1]}: before the reader all files are partition 0"
                )
            files.select(range(len(files.paths) if value else 0))
        elif step.name in ("keep_columns", "drop_columns"):
            self._keep_of_files(_chosen(value, files.names, step.name))
        elif step.name == "convert_column_types":
            self._convert_of_files(value or [])
        else:
            self._extract_of_files(parse_format(value or ""))

    def _keep_of_files(self, names: list[str]) -> None:
        self.files.has_path = self.files.has_path and "Path" in names
        if self.files.values is not None:
            self.files.values = self.files.values.select(
                [name for name in self.files.values.column_names if name in names]
            )

    def _convert_of_files(self, entries: list[dict[str, Any]]) -> None:
        values = self.files.values
        for name, kind in _conversions(entries, [] if values is None else values.column_names):
            assert values is not None
            number = values.column_names.index(name)
            array, _ = convert_field(values.column(number), values.schema.field(number), kind)
            values = values.set_column(number, converted_field(name, kind, array.type), array)
        self.files.values = values

    def _extract_of_files(self, form: Any) -> None:
        known = self.files.names
        twice = next((name for name in form.columns if name in known), None)
        if twice is not None:
            raise InputError(f"there is a column {twice!r} already")
        found = extract(form, self.files.paths)
        values = self.files.values
        if values is not None:
            for name in values.column_names:
                found = found.append_column(name, values.column(name))
            found = found.select([*values.column_names, *form.columns])
        self.files.values = found

    # the reader

    def _read(self, step: Step) -> Table:
        if not self.files.has_path:
            raise InputError(
                f"{step.name} reads the files of the column 'Path', which an earlier step has left out"
            )
        if step.name == "read_delta_lake":
            self._open_delta(step)
        sizes = self._sizes()
        full = [number for number, size in enumerate(sizes) if size > 0]
        self.files.select(full)
        sizes = [sizes[number] for number in full]
        make: Callable[..., Table] = readers.READERS[step.name]
        table = make(self.document.file, tuple(self.files.paths), tuple(sizes), step.options)
        steps: list[dict[str, Any]] = []
        before = 0
        if step.options["include_path_column"]:
            _texts(self.files.paths)
            steps.append({"op": "path"})
            before = 1
        if self.files.values is not None and self.files.values.num_columns:
            table = replace(table, values=self.files.values)
            steps.append({"op": "files", "names": self.files.values.column_names, "first": 0, "at": before})
        new = ["Path"][:before] + [name for found in steps for name in found.get("names", ())]
        twice = next(
            (name for number, name in enumerate(new) if name in table.base.names or name in new[:number]),
            None,
        )
        if twice is not None:
            raise InputError(
                f"there are two columns {twice!r}: one in the data, one from the path of the files"
            )
        for found in steps:
            table = _with_step(table, found)
        return table

    def _open_delta(self, step: Step) -> None:
        from daskpar.data.formats.delta import delta_files

        if self.first is not None and self.first is not step:
            line, name = self.first.line, self.first.name
            raise self.document.error(
                line,
                f"`read_delta_lake` must be the first step: its log names its files, so `{name}` has none to act on",
            )
        folders = [item for item in self.document.items if item.how == "folder"]
        if len(folders) != 1 or len(self.document.items) != 1:
            raise InputError("read_delta_lake reads one table: give `paths` exactly one `folder`")
        folder = resolve(folders[0].text, self.document.folder, self.datastores)
        paths, values = delta_files(folder, step.options["version_as_of"], step.options["timestamp_as_of"])
        self.files = _Files(paths, [folders[0].line] * len(paths), values)

    def _sizes(self) -> list[int]:
        files = self.files

        def one(number: int) -> int:
            path = files.paths[number]
            try:
                return size_of(path)
            except OSError as error:
                raise self.document.error(files.lines[number], str(unreadable(path, error))) from None
            except ValueError as error:  # a null character
                raise self.document.error(files.lines[number], f"{path!r} is no path: {error}") from None

        if len(files.paths) < 16:
            return [one(number) for number in range(len(files.paths))]
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(one, range(len(files.paths)), chunksize=256))

    # behind the reader: records are rows

    def _behind_reader(self, table: Table, step: Step) -> Table:
        value = step.options.get("value")
        names = table.schema.names
        if step.name.startswith("read_"):
            raise InputError(
                f"{step.name} needs files, but the files have been read already: a table has one reader"
            )
        if step.name in ("keep_columns", "drop_columns"):
            return _with_step(table, {"op": "keep", "names": _chosen(value, names, step.name)})
        if step.name == "convert_column_types":
            for name, kind in _conversions(value or [], names):
                table = _with_step(table, {"op": "convert", "column": name, "kind": kind.to_json()})
            return table
        if step.name == "filter":
            _parsed(value)
            table = _with_step(
                table, {"op": "filter", "text": value, "where": f"{self.document.file}:{step.line}"}
            )
            finer = [
                found.name
                for found in table.schema
                if pa.types.is_timestamp(found.type) and not found.type.tz and found.type.unit != "ns"
            ]
            return _with_step(table, {"op": "nanoseconds", "names": finer}) if finer else table
        if step.name in ("take_random_sample", "sample"):
            return _with_step(
                table, {"op": "sample", **{key: step.options[key] for key in ("low", "high", "seed")}}
            )
        if step.name == "extract_columns_from_partition_format":
            return self._extract_behind(table, value or "")
        narrow: dict[str, Callable[[Table, Any], Table]] = {
            "take": take,
            "skip": skip,
            "select_partitions": select_partitions,
        }
        return narrow[step.name](table, value)

    def _extract_behind(self, table: Table, text: str) -> Table:
        form = parse_format(text)
        twice = next((name for name in form.columns if name in table.schema.names), None)
        if twice is not None:
            raise InputError(f"there is a column {twice!r} already")
        if "Path" not in table.schema.names or not any(step["op"] == "path" for step in table.steps):
            return _with_step(table, {"op": "nulls", "names": list(form.columns)})
        found = extract(form, table.files)
        values, first = found, 0
        if table.values is not None:  # a column that was dropped may come again, under the same name
            values, first = table.values, table.values.num_columns
            for name in found.column_names:
                values = values.append_column(name, found.column(name))
        at = table.schema.names.index("Path") + 1
        return _with_step(
            replace(table, values=values),
            {"op": "files", "names": found.column_names, "first": first, "at": at},
        )

    def _finish(self, table: Table) -> Table:
        table = table.pruned()
        try:
            sample, whole = _sample(table)
        except InputError as error:
            raise self._located(self.reader.line if self.reader else None, error) from None
        if not table.schema.names and not (whole and not sample.num_rows and not _has_rows(table)):
            line = self._last_choice() or (self.reader.line if self.reader else None)
            raise self.document.error(line, "no column is left: the steps keep none of the table's")
        return replace(table, sample=sample, whole=whole)


def _texts(paths: Sequence[str]) -> pa.Array:
    """Paths as a column; InputError where the bytes of one are no text."""
    try:
        return pa.array(paths, pa.string())
    except UnicodeEncodeError:
        odd = next(
            path for path in paths if not path.isascii() and path != path.encode(errors="ignore").decode()
        )
        raise InputError(
            f"the name of the file {odd!r} is not UTF-8, so it can't be a value of the column 'Path': rename the file"
        ) from None


def _has_rows(table: Table) -> bool:
    reader = TableReader(table, table.files_pieces())
    return any(len(reader.part(i).positions) for i in range(len(reader.pieces)))


def _with_step(table: Table, step: dict[str, Any]) -> Table:
    """The table with one more step, and the schema that it leads to."""
    part = Part(
        table.base.empty_table(),
        0,
        np.zeros(0, np.int64),
        "",
        None if table.values is None else table.values.slice(0, 1),
    )
    if table.values is not None and not table.files:
        part.values = pa.table(
            [pa.nulls(1, field.type) for field in table.values.schema], schema=table.values.schema
        )
    steps = (*table.steps, step)
    return replace(table, steps=steps, schema=apply(steps, part).table.schema)


def _chosen(columns: Any, names: Sequence[str], step: str) -> list[str]:
    """The names that keep_columns or drop_columns leaves."""
    picked = _matching(columns, names)
    keep = step == "keep_columns"
    return [name for name in names if (name in picked) == keep]


def _matching(columns: Any, names: Sequence[str]) -> set[str]:
    if isinstance(columns, dict):
        fits = pc.match_substring_regex(pa.array(names, pa.string()), columns["pattern"]).to_pylist()
        return {name for name, found in zip(names, fits, strict=True) if found != columns["invert"]}
    return set(columns)


def _conversions(entries: list[dict[str, Any]], names: Sequence[str]) -> list[tuple[str, Any]]:
    """Columns and kinds, in table order; of two entries for a column the first counts."""
    found: dict[str, Any] = {}
    for entry in entries:
        picked = _matching(entry["columns"], names)
        for name in names:
            if name in picked:
                found.setdefault(name, entry["kind"])
    return list(found.items())


def _parsed(text: Any) -> Any:
    try:
        return parse(text)
    except BadExpression as error:
        raise InputError(str(error)) from None


def _sample(table: Table) -> tuple[pa.Table, bool]:
    """The first rows of a table, and whether these are all of them. Parquet is only sampled where it is
    small: its schema says it all.
    """
    spans = [span for span in table.spans() if span[2] > span[1]]
    if table.by_rows:
        small = table.size_bytes <= SMALL_PARQUET
        spans = spans if small else []
    parts: list[pa.Table] = []
    read = rows = 0
    whole = not table.by_rows or table.size_bytes <= SMALL_PARQUET
    for number, start, stop in spans:
        if (rows >= SAMPLE_ROWS and not table.by_rows) or (read >= 4 * SAMPLE_BYTES and not table.by_rows):
            whole = False
            break
        end = stop
        if (
            not table.by_rows
            and stop - start > SAMPLE_BYTES
            and not (table.dialect and table.dialect.support_multi_line)
        ):
            end, whole = start + SAMPLE_BYTES, False
        elif not table.by_rows and stop - start > 16 * SAMPLE_BYTES:
            whole = False  # records that span lines can only be cut where they end
            break
        part = TableReader(table, np.array([(number, start, end)], PIECE)).arrow(0)
        parts.append(part)
        rows += part.num_rows
        read += 0 if table.by_rows else end - start
        if not whole:
            break
    return (pa.concat_tables(parts) if parts else table.schema.empty_table()), whole
