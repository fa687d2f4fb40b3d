"""Wide tables: the fields of one type as one column are what the columns are one by one."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.data.columns.kinds import BOOL, FLOAT, INT, STRING, ColumnKind
from daskpar.data.formats import arrow_csv, record_sample, wide_csv
from daskpar.data.formats.delimited import DelimitedParser, ParsedRecords, sample_rows
from daskpar.data.formats.dialect import Dialect
from daskpar.data.formats.record_sample import SampledColumns, sample_records

DATES = ColumnKind("datetime", formats=("%Y-%m-%d",), inferred=True)
FIELDS = ["", "1", "-7", "2.5", "1e3", "nan", "nan(1)", "0x1F", "true", "f", "x y", " 3 ", "2024-02-29", "é"]
FIELDS += [
    "9007199254740993",
    "99999999999999999999",
    "a\rb",
    '"q"',
    '"a\nb"',
    '"open',
    "\0",
    "\ufeff",
    "007",
]

kinds = st.lists(st.sampled_from([FLOAT, FLOAT, INT, STRING, BOOL, DATES]), min_size=1, max_size=5)
plain = st.sampled_from(["", "1", "-7", "2.5", "1e3", "12", "0.1", "true", "x"])
fields = st.one_of(plain, st.sampled_from(FIELDS))
records = st.lists(st.lists(fields, min_size=1, max_size=6).map(";".join), max_size=8)
texts = st.tuples(records, st.sampled_from(["\n", "\n", "\r\n"]), st.booleans()).map(
    lambda made: made[1].join(made[0]) + (made[1] if made[2] else "")
)
dialects = st.builds(Dialect, delimiter=st.just(";"), support_multi_line=st.booleans())


@pytest.fixture(autouse=True)
def all_tables_are_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide_csv, "MANY_COLUMNS", 2)
    monkeypatch.setattr(record_sample, "WIDE", 2)


def told(parsed: ParsedRecords) -> tuple[object, ...]:
    """All that a parser says, comparable (nan is nan)."""
    values = [repr(column.to_pylist()) for column in parsed.table.columns]
    return parsed.table.schema, values, parsed.failures, parsed.surplus, parsed.changed, parsed.doubts


@settings(max_examples=80)
@given(texts, kinds, dialects)
def test_a_wide_chunk_is_read_as_any_other(text: str, kinds: list[ColumnKind], dialect: Dialect) -> None:
    columns = [(f"c{number}", kind) for number, kind in enumerate(kinds)]
    wide, other = DelimitedParser(dialect, columns), DelimitedParser(dialect, columns)
    for _ in range(2):  # the second time it knows which columns need care
        got = told(wide.parse(text.encode()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wide_csv, "read_wide", lambda *_: None)
            assert got == told(other.parse(text.encode()))


@pytest.mark.parametrize(
    ("chunk", "is_read"),
    [
        (b"1;2.5;x\n;;\n3;-1e9;y z", True),
        (b";;\n", True),
        (b"1;2;x\n\n3;4;y\n", False),  # a blank line is no record
        (b"1;2;x\n3;4\n", False),
        (b"1;2;x;4\n", False),
        (b"1;2;x\r\n", False),
        (b'1;2;"x"\n', False),
        (b"1.5;2;x\n", False),  # no integer
        (b"\xef\xbb\xbf1;2;x\n", False),
        (b"", False),
    ],
)
def test_plain_records_alone_are_read_so(chunk: bytes, is_read: bool) -> None:
    types = arrow_csv.FieldTypes({0: pa.int64(), 1: pa.float64(), 2: pa.string()})
    dialect = Dialect(delimiter=";")
    found = wide_csv.read_wide(chunk, dialect, 3, types)
    assert (found is not None) == is_read
    if found is not None:
        expected = arrow_csv.read_fast(chunk, dialect, 3, types)
        assert expected is not None and found.rows == expected.rows
        assert dict(found.columns) == dict(expected.columns)


@settings(max_examples=60)
@given(texts, dialects, st.integers(1, 6), st.integers(0, 4))
def test_a_sample_has_the_same_records_as_columns(
    text: str, dialect: Dialect, limit: int, width: int
) -> None:
    data = text.encode()

    def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    expected = [list(row) for row in sample_rows(read, len(data), 0, dialect, limit)]
    found = sample_records(read, len(data), 0, dialect, limit, width)
    assert found.count == len(expected)
    assert found.width == max((len(row) for row in expected), default=0)
    for number in range(found.width + 1):
        column = found.texts(number)
        listed = column.to_pylist() if isinstance(column, pa.Array) else column
        assert listed == [row[number] if number < len(row) else None for row in expected]
    assert [list(row) for row in found.rows_beyond(1)] == [
        row for row in expected if any(value is not None for value in row[1:])
    ]


def test_a_wide_sample_is_read_as_columns_and_no_further() -> None:
    line = b";".join(b"%d" % number for number in range(200)) + b"\n"
    data = line * 500
    asked: list[int] = []

    def read(offset: int, length: int) -> bytes:
        asked.append(offset + length)
        return data[offset : offset + length]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_sample, "_READ_BYTES", 3 * len(line))
        found = sample_records(read, len(data), 0, Dialect(delimiter=";"), 10, 200)
    assert isinstance(found, SampledColumns)
    assert (found.count, found.width, max(asked)) == (10, 200, max(12 * len(line), 64 * 2))
