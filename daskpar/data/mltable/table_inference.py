"""What each `read_*` transformation makes of its files: a table, its kinds inferred once from the sample."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import pyarrow as pa

from daskpar.data.columns.kinds import INT, STRING, ColumnKind
from daskpar.data.columns.sample_kinds import infer_kinds, listed, with_leading_zeros
from daskpar.data.columns.special_types import stream_field
from daskpar.data.formats.byte_source import ByteSource
from daskpar.data.formats.delimited import column_names, read_head
from daskpar.data.formats.dialect import Dialect, mark_length, to_utf8
from daskpar.data.formats.headers import count_letter_cases
from daskpar.data.formats.json_lines import decode_line, infer_fields
from daskpar.data.formats.parquet import Footer, read_footer, unify
from daskpar.data.formats.record_bounds import read_records
from daskpar.data.formats.record_sample import SampledColumns, SampledRows, sample_records
from daskpar.data.mltable.option_checks import TransformationError
from daskpar.data.notices import LONG, ONE_COLUMN, ZEROS, LossCounter, LostValues, shortened
from daskpar.data.tables.table import DELIMITED, JSON_LINES, PARQUET, Table
from daskpar.datastores import carried
from daskpar.errors import InputError

JSON_SAMPLE = 200
"""Objects sampled from each file of JSON lines."""
JSON_FILES = 100
"""Files of JSON lines that are sampled."""
JSON_SAMPLE_BYTES = 64 * 1024
"""Bytes read for it from each."""

Records: TypeAlias = SampledRows | SampledColumns
Texts: TypeAlias = Sequence[str | None] | pa.Array

_OTHER_DELIMITER = re.compile(r"[,;|\t]")
_LEADING_ZERO = re.compile(r"[ \t]*[+-]?0[0-9]+[ \t]*")


def infer_delimited_table(
    origin: str, files: tuple[str, ...], sizes: tuple[int, ...], options: Mapping[str, Any]
) -> Table:
    """The table of delimited files: names by the header mode, kinds from the first `sample_size` records.

    The sample is taken over all files, as in Microsoft's reader.
    """
    dialect = Dialect(
        options["delimiter"], options["encoding"], options["support_multi_line"], options["empty_as_string"]
    )
    sample = _DelimitedSample(files, sizes, dialect, options["header"], options["sample_size"])
    layouts = [_declared_width(layout, options["columns"]) for layout in sample.layouts]
    names = list(dict.fromkeys(name for layout in layouts for name in layout))
    parts: dict[str, list[Texts]] = {name: [] for name in names}
    for layout, records in sample.records:
        for number, name in enumerate(layouts[layout]):
            parts[name].append(records.texts(number))
    values = {name: _joined(some) for name, some in parts.items()}
    fixed: dict[str, ColumnKind] = {}
    for declared, what in ((options["overrides"], "overridden"), (options["columns"], "declared")):
        for name, kind in declared.items():
            if name not in values and files:
                raise TransformationError(
                    f"the {what} column {name!r} is not in the data; its columns are {', '.join(names)}",
                    *options["places"][name],
                )
            fixed[name] = kind
    kinds = dict.fromkeys(names, STRING)
    if options["infer"]:
        free = [name for name in names if name not in fixed]
        kinds.update(zip(free, infer_kinds([values[name] for name in free]), strict=True))
    kinds.update(fixed)
    doubts = count_letter_cases(layouts) if len(layouts) > 1 else LossCounter()
    for name in _with_zeros([name for name in names if kinds[name] == INT and name not in fixed], values):
        doubts.add(name, ZEROS, _count_zeros(listed(values[name])))
    for number, records in sample.records:
        extra = f"Column{sample.named[number] + 1}"
        if extra not in options["columns"]:
            doubts.add(extra, LONG, _count_long(records, sample.named[number], dialect))
    if len(names) == 1 and sample.named == [1] and (mark := _OTHER_DELIMITER.search(names[0])):
        right = f"`delimiter: {json.dumps(mark[0])}`"
        example = f"{mark[0]!r}, and the delimiter is {dialect.delimiter!r}: write {right}"
        doubts.add(names[0], ONE_COLUMN, LostValues(1, example) if mark[0] != dialect.delimiter else None)
    return Table(
        origin=origin,
        format=DELIMITED,
        notices=doubts.take_notices(),
        files=files,
        sizes=sizes,
        base=(schema := _schema([_field(name, kinds[name]) for name in names])),
        schema=schema,
        needed=frozenset(names),
        dialect=dialect,
        kinds=kinds,
        header_files=sample.header_files,
        headers=tuple(tuple(layout) for layout in layouts),
        header_of=tuple(sample.layout_of),
        partition_size=options["partition_size"],
    )


def _joined(parts: Sequence[Texts]) -> Texts:
    """What the files have of a column, one after the other."""
    if len(parts) == 1:
        return parts[0]
    if parts and all(isinstance(part, pa.Array) for part in parts):
        return pa.concat_arrays(parts)
    return [text for part in parts for text in listed(part)]


def _with_zeros(names: Sequence[str], values: Mapping[str, Texts]) -> list[str]:
    """Columns in which a text may have zeros in front."""
    arrays = [name for name in names if isinstance(values[name], pa.Array)]
    without = {*arrays} - {arrays[place] for place in with_leading_zeros([values[name] for name in arrays])}
    return [name for name in names if name not in without]


def _count_zeros(texts: Sequence[str | None]) -> LostValues | None:
    """Texts that were taken for integers, and have zeros in front."""
    found = [text for text in texts if text is not None and _LEADING_ZERO.fullmatch(text)]
    return LostValues(len(found), repr(found[0])) if found else None


def _count_long(records: Records, named: int, dialect: Dialect) -> LostValues | None:
    """Records with values behind the fields that the header names."""
    found = records.rows_beyond(named) if named else []
    if not found:
        return None
    return LostValues(len(found), shortened(dialect.delimiter.join(value or "" for value in found[0])))


def _field(name: str, kind: ColumnKind) -> pa.Field:
    return stream_field(name) if kind.name == "stream_info" else pa.field(name, kind.arrow)


def _schema(fields: Sequence[pa.Field]) -> pa.Schema:
    return pa.schema(list(fields))


def _declared_width(names: list[str], declared: Mapping[str, ColumnKind]) -> list[str]:
    """The names, with the columns `Column<N>` that are declared for rows longer than those of the sample."""
    widths = [int(found[1]) for found in (re.fullmatch(r"Column(\d+)", name) for name in declared) if found]
    return list(column_names(names, max([len(names), *widths])))


class _DelimitedSample:
    """Headers and first records of delimited files."""

    def __init__(
        self, files: Sequence[str], sizes: Sequence[int], dialect: Dialect, mode: str, limit: int
    ) -> None:
        self._dialect, self._mode = dialect, mode
        self.layouts: list[list[str]] = []
        """The different lists of column names."""
        self.layout_of: list[int] = [0] * len(files)
        self.named: list[int] = []
        """How many columns the header of each list names; 0 without a header."""
        self.records: list[tuple[int, Records]] = []
        """Sampled records, each file's with its layout."""
        self.header_files = 0 if mode == "no_header" else len(files)
        heads: dict[tuple[str, ...], int] = {}
        raw: list[tuple[str, ...]] = []
        widths: list[int] = []
        found_first = mode == "no_header"
        for number, (path, size) in enumerate(zip(files, sizes, strict=True)):
            if limit <= 0 and mode != "all_files_different_headers":
                break
            with ByteSource(path) as source:
                # as Microsoft's reader: with `from_first_file` the first line of the other files is data
                with_header = mode not in ("no_header", "from_first_file") or (
                    mode == "from_first_file" and not found_first
                )
                head = read_head(source.read, size, dialect, with_header, path)
                width = len(head.names)
                records: Records = (
                    sample_records(source.read, size, head.body, dialect, limit, width, path)
                    if limit > 0
                    else SampledRows([])
                )
            limit -= records.count
            key = head.names if mode == "all_files_different_headers" else ()
            if key not in heads:
                heads[key] = len(raw)
                raw.append(head.names)
                widths.append(0)
            layout = heads[key]
            # as Microsoft's reader: the names come from the first file that has a record
            if not found_first and mode != "all_files_different_headers":
                raw[layout] = head.names or raw[layout]
            if records.count and not found_first:
                found_first = True
                if mode == "from_first_file":
                    self.header_files = number + 1
            widths[layout] = max(widths[layout], records.width)
            self.layout_of[number] = layout
            if records.count:
                self.records.append((layout, records))
        self.named = [len(names) for names in raw]
        self.layouts = [
            list(column_names(names, max(width, len(names))))
            for names, width in zip(raw, widths, strict=True)
        ] or [[]]


def infer_parquet_table(
    origin: str, files: tuple[str, ...], sizes: tuple[int, ...], options: Mapping[str, Any]
) -> Table:
    """The table of Parquet files: schema and row groups from their footers."""
    footers: list[Footer]
    if len(files) < 4:
        footers = [read_footer(path) for path in files]
    else:
        with ThreadPoolExecutor(8) as pool:
            footers = list(pool.map(carried(read_footer), files))
    schema = unify(zip(files, (footer.schema for footer in footers), strict=True))
    return Table(
        origin=origin,
        format=PARQUET,
        files=files,
        sizes=sizes,
        base=schema,
        schema=schema,
        needed=frozenset(schema.names),
        groups=tuple(footer.groups for footer in footers),
        notices=count_letter_cases([footer.schema.names for footer in footers]).take_notices(),
    )


def infer_json_lines_table(
    origin: str, files: tuple[str, ...], sizes: tuple[int, ...], options: Mapping[str, Any]
) -> Table:
    """The table of JSON lines: columns and kinds from the first objects of each file."""
    dialect = Dialect(encoding=options["encoding"])
    objects = []
    for path, size in list(zip(files, sizes, strict=True))[:JSON_FILES]:
        objects += _sampled_objects(path, size, dialect, options["invalid_lines"] == "drop")
    fields = {found.name: found for found in infer_fields(objects)}
    for name, kind in options["columns"].items():
        if kind.name in ("datetime", "stream_info"):
            what = (
                f"the column {name!r} can't be declared as {kind.name}: JSON has none; "
                "use convert_column_types behind the reader"
            )
            raise TransformationError(what, "read_json_lines", "columns", name)
        fields[name] = pa.field(name, kind.arrow)
    schema = _schema(list(fields.values()))
    return Table(
        origin=origin,
        format=JSON_LINES,
        files=files,
        sizes=sizes,
        base=schema,
        schema=schema,
        needed=frozenset(schema.names),
        dialect=dialect,
        kinds=options["columns"],
        drop_invalid=options["invalid_lines"] == "drop",
        partition_size=options["partition_size"],
    )


def _sampled_objects(path: str, size: int, dialect: Dialect, drop_invalid: bool) -> list[dict[str, Any]]:
    with ByteSource(path) as source:
        body = mark_length(source.read(0, 4), dialect, path)
        span = read_records(source.read, size, 0, JSON_SAMPLE_BYTES, dialect, body, path)
    found: list[dict[str, Any]] = []
    at = span.offset
    for line in to_utf8(span.data, dialect, span.offset, path).split(b"\n"):
        if len(found) == JSON_SAMPLE:
            break
        if line.strip(b"\r"):
            try:
                found.append(decode_line(line.decode()))
            except (ValueError, RecursionError) as error:
                if not drop_invalid:
                    raise InputError(
                        f"{path}: the line at byte {at} is invalid: {str(error).partition(': line')[0]}"
                    ) from None
        at += len(line) + 1
    return found


INFER_TABLE: Mapping[str, Callable[..., Table]] = {
    "read_delimited": infer_delimited_table,
    "read_parquet": infer_parquet_table,
    "read_delta_lake": infer_parquet_table,
    "read_json_lines": infer_json_lines_table,
}
