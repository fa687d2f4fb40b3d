from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.data.columns.kinds import BOOL, FLOAT, INT, STRING, ColumnKind
from daskpar.data.columns.text_values import LostValues
from daskpar.data.formats import arrow_csv
from daskpar.data.formats.delimited import (
    DelimitedParser,
    FileHead,
    ParsedRecords,
    column_names,
    read_head,
    sample_rows,
)
from daskpar.data.formats.dialect import Dialect
from daskpar.data.formats.record_bounds import find_starts, read_records, row_ends
from daskpar.errors import InputError

LINES = Dialect()
MULTI = Dialect(support_multi_line=True)
DAY = ColumnKind("datetime", formats=("%Y-%m-%d",), inferred=True)

PIECES = [
    "a",
    "5",
    "12",
    ",",
    ",",
    ",",
    ",",
    '"',
    '"',
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "0x1",
    "0X",
    "1.5",
    "true",
    "T",
]
texts = st.lists(
    st.sampled_from([*PIECES, "2020-01-31", "nan(", "nan", "é", "-", "+7", '""', "x", ";"]), max_size=40
).map("".join)
kinds = st.lists(st.sampled_from([STRING, INT, FLOAT, BOOL, DAY]), min_size=1, max_size=3)
dialects = st.builds(
    Dialect,
    support_multi_line=st.booleans(),
    empty_as_string=st.booleans(),
    encoding=st.sampled_from(["utf8", "utf16"]),
)


def encoded(text: str, dialect: Dialect) -> bytes:
    return text.encode("utf-16-le" if dialect.wide else "utf-8")


def parse(
    chunk: bytes, dialect: Dialect, columns: list[tuple[str, ColumnKind]], **where: Any
) -> ParsedRecords:
    """One chunk read by a parser of its own."""
    offset = where.pop("offset", 0)
    return DelimitedParser(dialect, columns, **where).parse(chunk, offset)


def columns_of(kinds: list[ColumnKind]) -> list[tuple[str, ColumnKind]]:
    return [(f"c{number}", kind) for number, kind in enumerate(kinds)]


def carefully(chunk: bytes, dialect: Dialect, columns: list[tuple[str, ColumnKind]]) -> ParsedRecords:
    """The table by the careful reader alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow_csv, "read_fast", lambda *_: None)
        return parse(chunk, dialect, columns)


def content(table: pa.Table) -> tuple[pa.Schema, list[str]]:
    return table.schema, [repr(column.to_pylist()) for column in table.columns]


def counts(parsed: ParsedRecords) -> dict[str, int]:
    found = {name: lost.count for name, lost in parsed.failures.items()}
    return {**found, **{f"#{number}": lost.count for number, lost in parsed.surplus.items()}}


@settings(max_examples=400)
@given(texts, kinds, dialects)
def test_the_fast_reader_reads_as_the_careful_one(
    text: str, kinds: list[ColumnKind], dialect: Dialect
) -> None:
    columns, chunk = columns_of(kinds), encoded(text, dialect)
    parser = DelimitedParser(dialect, columns)
    expected = carefully(chunk, dialect, columns)
    for _ in range(2):  # the second time it knows which columns need care
        got = parser.parse(chunk)
        assert content(got.table) == content(expected.table)
        assert counts(got) == counts(expected)


@settings(max_examples=400)
@given(texts, kinds, dialects, st.lists(st.integers(0, 80), max_size=6), st.integers(1, 9))
def test_any_cut_gives_the_same_table(
    text: str, kinds: list[ColumnKind], dialect: Dialect, cuts: list[int], step: int
) -> None:
    columns, data = columns_of(kinds), encoded(text, dialect)
    bounds = sorted({0, *cuts})
    if dialect.support_multi_line:
        chunks = [data[at : at + step] for at in range(0, len(data), step)]
        bounds = [int(found) for found in find_starts(chunks, bounds, dialect)]
    parser = DelimitedParser(dialect, columns)
    tables = []
    for start, stop in zip(bounds, [*bounds[1:], max(len(data), bounds[-1])], strict=True):
        span = read_records(
            lambda offset, length: data[offset : offset + length], len(data), start, stop, dialect
        )
        tables.append(parser.parse(span.data, span.offset).table)
        assert row_ends(span.data, span.offset, [start, stop], dialect).tolist() == [0, tables[-1].num_rows]
    assert content(pa.concat_tables(tables)) == content(carefully(data, dialect, columns).table)


@pytest.fixture
def fast_reads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the fast reader took the bytes, for each time that it was asked."""
    found: list[bool] = []
    real = arrow_csv.read_fast

    def read(*arguments: Any) -> arrow_csv.FastColumns | None:
        quick = real(*arguments)
        found.append(quick is not None)
        return quick

    monkeypatch.setattr(arrow_csv, "read_fast", read)
    return found


@pytest.mark.parametrize(
    ("chunk", "dialect"),
    [
        (b"5,x\n6,y\n", LINES),
        (b"5,x\r\n\r\n6,y\r\n", LINES),
        (b'5,"x,y"\n6,"a""b"\n', LINES),
        (b'5,5" pipe\n6,"a"b\n', LINES),
        (b'5,"x\ny"\n6,y\n', MULTI),
        (b'5,"x\n\ny"\n6,y', MULTI),
        (b"5,x\n6\n7,y,z\n8,w\n", LINES),
        (b"5\n6\n7\n", LINES),
    ],
)
def test_regular_bytes_are_read_fast(chunk: bytes, dialect: Dialect, fast_reads: list[bool]) -> None:
    parse(chunk, dialect, [("a", INT), ("b", STRING)])
    assert fast_reads
    assert all(fast_reads)


@pytest.mark.parametrize(
    ("chunk", "dialect"),
    [
        (b"5,x\r6,y\n", LINES),
        (b'5,"x\ny"\n', LINES),
        (b'5,x\n6,"y', LINES),
        (b'5,"x\n', MULTI),
        (b'5,"\n\n', LINES),
        (b"5,x\n\n6,y\n", MULTI),
        (b"\xef\xbb\xbf\n6,y\n", LINES),
        (b"", LINES),
    ],
)
def test_bytes_that_pyarrow_reads_otherwise_are_read_with_care(
    chunk: bytes, dialect: Dialect, fast_reads: list[bool]
) -> None:
    parse(chunk, dialect, [("a", INT), ("b", STRING)])
    assert fast_reads[:1] in ([], [False])


def test_values_that_do_not_convert_are_null_and_counted() -> None:
    parsed = parse(b"5,true\nx,2\n,\n2.9,no\n1e2,\n", LINES, [("i", INT), ("b", BOOL)])
    assert parsed.table.to_pydict() == {"i": [5, None, None, 2, 100], "b": [True, None, None, None, None]}
    assert parsed.failures == {"i": LostValues(1, "x"), "b": LostValues(2, "2")}


def test_rows_that_are_too_long_are_counted() -> None:
    parsed = parse(b"5,6\n7,8,9,10\n11\n12,13,,14\n", LINES, [("a", INT), ("b", INT)])
    assert parsed.table.to_pydict() == {"a": [5, 7, 11, 12], "b": [6, 8, None, 13]}
    assert parsed.surplus == {3: LostValues(1, "9"), 4: LostValues(2, "10")}


@pytest.mark.parametrize("rows", [3, 300])
def test_fields_too_many_in_most_rows_are_counted_by_column(rows: int) -> None:
    parsed = parse(b"5,6,,7,8\n" * rows + b"1,2,,\n", LINES, [("a", INT), ("b", INT)])
    assert parsed.surplus == {4: LostValues(rows, "7"), 5: LostValues(rows, "8")}


def test_only_the_kept_columns_are_delivered() -> None:
    parsed = parse(b"5,x,6\n7,y\n", LINES, [("a", INT), ("b", STRING), ("c", INT)], keep=["c", "a"])
    assert parsed.table.to_pydict() == {"a": [5, 7], "c": [6, None]}


def test_missing_and_empty_texts_differ() -> None:
    columns = [("a", STRING), ("b", STRING)]
    assert parse(b'"",\n5,""\n', LINES, columns).table.to_pydict() == {"a": ["", "5"], "b": [None, ""]}
    assert parse(b"\n,\n5\n", Dialect(empty_as_string=True), columns).table.to_pydict() == {
        "a": ["", "5"],
        "b": ["", None],
    }


def test_undecodable_bytes_are_named_by_their_place() -> None:
    with pytest.raises(InputError, match=r"d\.csv: byte 1002"):
        parse(b"5,\xff\n", LINES, [("a", INT)], offset=1000, source="d.csv")


def test_columns_without_a_resolved_order_of_day_and_month_are_null() -> None:
    parsed = parse(b"1/2/2020\n", LINES, [("a", ColumnKind("datetime", inferred=True))])
    assert parsed.table.schema.field("a").type == pa.null()
    assert parsed.failures["a"].count == 1


@pytest.mark.parametrize(
    ("header", "width", "names"),
    [
        (["a", "b"], 2, ("a", "b")),
        ([" a ", "", "b", ""], 4, ("a", "Column2", "b", "Column4")),
        (["a", "a", "b", "a"], 4, ("a", "a_1", "b", "a_2")),
        (["a", "a_1", "a"], 3, ("a", "a_1", "a_1_2")),
        (["A", "a"], 3, ("A", "a", "Column3")),
        ([], 2, ("Column1", "Column2")),
    ],
)
def test_column_names(header: list[str], width: int, names: tuple[str, ...]) -> None:
    assert column_names(header, width) == names


def head(data: bytes, dialect: Dialect = LINES, header: bool = True) -> FileHead:
    return read_head(lambda offset, length: data[offset : offset + length], len(data), dialect, header)


def test_the_head_of_a_file() -> None:
    assert head(b"\xef\xbb\xbf\n\r\na,\r\n5,6\n") == FileHead(("a", ""), 10)
    assert head(b'"a\nb",c\n5,6\n', MULTI) == FileHead(("a\nb", "c"), 8)
    assert head(b"\xef\xbb\xbf5,6\n", header=False) == FileHead((), 3)
    assert head(b"a,b") == FileHead(("a", "b"), 3)
    assert head(b"") == FileHead((), 0)
    assert head("\ufeffä\n5\n".encode("utf-16-le"), Dialect(encoding="utf16")) == FileHead(("ä",), 6)


def test_a_header_longer_than_the_first_read() -> None:
    names = [f"column_{number}" for number in range(20_000)]
    line = ",".join(names).encode() + b"\n"
    assert head(line + b"5\n") == FileHead(tuple(names), len(line))


@pytest.mark.parametrize("dialect", [LINES, MULTI])
def test_samples_hold_whole_records(dialect: Dialect) -> None:
    rng = np.random.default_rng(5)
    lines = [f'{number},"{"x" * int(size)}"' for number, size in enumerate(rng.integers(0, 3000, 300))]
    data = ("head,er\n" + "\n".join(lines)).encode()
    sample = sample_rows(lambda offset, length: data[offset : offset + length], len(data), 8, dialect, 200)
    assert [int(row[0] or -1) for row in sample] == list(range(200))
    assert [len(row[1] or "") for row in sample] == [len(line.split(",")[1]) - 2 for line in lines[:200]]
    assert (
        len(sample_rows(lambda offset, length: data[offset : offset + length], len(data), 8, dialect, 1000))
        == 300
    )
