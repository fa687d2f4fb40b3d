import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.data.formats import record_bounds
from daskpar.data.formats.delimited import read_head, sample_rows
from daskpar.data.formats.dialect import Dialect
from daskpar.data.formats.record_bounds import (
    RecordBytes,
    count_lines,
    find_starts,
    read_records,
    record_end,
    row_ends,
    row_starts,
)
from daskpar.errors import InputError

LINES = Dialect()
MULTI = Dialect(support_multi_line=True)
WIDE = Dialect(encoding="utf16")


class File:
    """The bytes of a file, and how much of them was asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = 0

    def __call__(self, offset: int, length: int) -> bytes:
        self.asked += length
        return self.data[offset : offset + length]


def cut(data: bytes, start: int, stop: int, dialect: Dialect = LINES, body: int = 0) -> RecordBytes:
    found = read_records(File(data), len(data), start, stop, dialect, body)
    near = read_records(File(data), len(data), start, stop, dialect, body, "", True)
    assert near.data == found.data and (near.offset == found.offset or not found.data)
    return found


def test_a_record_belongs_to_the_range_of_its_first_byte() -> None:
    data = b"aa\nbb\ncc\n"
    assert cut(data, 0, 3).data == b"aa\n"
    assert cut(data, 0, 4).data == b"aa\nbb\n"
    assert cut(data, 3, 6) == RecordBytes(3, b"bb\n")
    assert cut(data, 4, 6).data == b""
    assert cut(data, 4, 100) == RecordBytes(6, b"cc\n")


def test_the_last_record_needs_no_line_break() -> None:
    assert cut(b"aa\nbb", 1, 9) == RecordBytes(3, b"bb")
    assert cut(b"aa\nbb", 4, 9).data == b""


def test_the_header_is_no_record() -> None:
    assert cut(b"head\n5\n6\n", 0, 6, body=5) == RecordBytes(5, b"5\n")
    assert cut(b"head\n5\n6\n", 0, 3, body=5).data == b""


def test_a_record_longer_than_what_is_read_at_once_is_found_whole() -> None:
    data = b"a\n" + b"b" * 50_000 + b"\nc\n"
    assert cut(data, 2, 3) == RecordBytes(2, b"b" * 50_000 + b"\n")
    assert cut(data, 100, 200).data == b""
    assert cut(data, 100, len(data)).data == b"c\n"


@pytest.mark.parametrize("near", [False, True])
def test_little_more_than_the_range_is_read(near: bool) -> None:
    file = File(b"123456789\n" * 1_000_000)
    assert len(read_records(file, len(file.data), 5_000_000, 5_010_000, LINES, 0, "", near).data) == 10_000
    assert file.asked < 20_000


@pytest.mark.parametrize("near", [False, True])
def test_a_file_that_became_shorter_ends_where_it_ends(near: bool) -> None:
    for stop in (100, 50):
        assert read_records(File(b"aa\nbb"), 100, 0, stop, LINES, 0, "", near).data == b"aa\nbb"
    assert read_records(File(b"aa\nbb"), 100, 20, 50, LINES, 0, "", near).data == b""


def test_line_breaks_of_utf16_are_whole_characters() -> None:
    text = "aĊb\nc\n਀d\n"  # two characters that hold the byte of a line break
    data = text.encode("utf-16-le")
    assert cut(data, 0, 1, WIDE).data.decode("utf-16-le") == "aĊb\n"
    assert cut(data, 2, 9, WIDE).data.decode("utf-16-le") == "c\n"
    assert cut(data, 9, 99, WIDE).data.decode("utf-16-le") == "਀d\n"
    assert cut(data, 8, 12, WIDE).data.decode("utf-16-le") == "c\n"  # from one start of a line to the next
    assert cut(data, 0, 8, WIDE).data.decode("utf-16-le") == "aĊb\n"
    data = "x\u0a00\u0100y\nz\n".encode("utf-16-le")  # the bytes of a line break, astride of two characters
    assert cut(data, 2, 12, WIDE).data.decode("utf-16-le") == "z\n"


@pytest.mark.parametrize(
    ("data", "starts"),
    [
        (b'5,"x\ny"\n6,z\n', [0, 8]),
        (b'"x""\n",5\n6\n', [0, 9]),
        (b'5" pipe,"a\nb"\n6\n', [0, 14]),
        (b'a"b\n"c\nd"\n', [0, 4]),
        (b'"a"b"\n6\n', [0, 6]),
        (b'\xff"a\n6"\n', [0, 4]),
        (b'a""b\n6\n', [0, 5]),
        (b'"x,5\n6,7\n', [0]),
        (b"5\n\n6\n", [0, 2]),
        (b"5\r\n\r\n6\n", [0, 5]),
        (b'5\n"x\n', [0, 2]),
    ],
)
def test_records_with_line_breaks_in_quotes(data: bytes, starts: list[int]) -> None:
    assert row_starts(data, 0, MULTI).tolist() == starts
    for step in range(1, len(data) + 1):
        chunks = [data[at : at + step] for at in range(0, len(data), step)]
        found = find_starts(chunks, range(len(data) + 1), MULTI)
        real = {*starts, *(start - 2 for start in starts if data.startswith(b"\r\n", start - 2)), len(data)}
        assert found.tolist() == [
            min(start for start in real if start >= position) for position in range(len(data) + 1)
        ]


@pytest.mark.parametrize("position", range(1, 7))
@pytest.mark.parametrize("data", [b"a\nb\nc\n", b'a\n"\n"\nc\n', b'a""\nb\n'])
def test_one_position_is_found_wherever_chunks_end(data: bytes, position: int) -> None:
    starts = [*row_starts(data, 0, MULTI).tolist(), len(data)]
    expected = min(start for start in starts if start >= position)
    for end in range(len(data) + 1):
        assert find_starts([data[:end], data[end:]], [position], MULTI).tolist() == [expected]


def test_positions_in_the_header_mean_the_first_record() -> None:
    assert find_starts([b"5\n6\n"], [0, 3, 6, 50], MULTI, body=5).tolist() == [5, 5, 7, 9]


def test_record_ends() -> None:
    assert record_end(b"ab\ncd\n", 0, LINES) == 3
    assert record_end(b"ab\ncd\n", 3, LINES) == 6
    assert record_end(b"ab", 0, LINES) is None
    assert record_end(b'x"a\nb"\n', 1, MULTI) == 7
    assert record_end(b'"a\nb', 0, MULTI) is None
    assert record_end("a\nb\n".encode("utf-16-le"), 4, WIDE) == 8


@given(
    st.text("a\n\r,", max_size=30),
    st.lists(st.integers(0, 40), max_size=5),
    st.sampled_from([LINES, MULTI, WIDE]),
)
def test_rows_are_counted_as_they_start(text: str, stops: list[int], dialect: Dialect) -> None:
    data = text.encode("utf-16-le" if dialect.wide else "utf-8")
    starts = row_starts(data, 100, dialect)
    limits = sorted(stop + 100 for stop in stops)
    expected = [int(np.sum(starts < limit)) for limit in limits]
    assert row_ends(data, 100, limits, dialect).tolist() == expected
    assert row_ends(data, 100, limits, dialect, rows=len(starts)).tolist() == expected


@pytest.mark.parametrize(
    ("data", "count"),
    [(b"", 0), (b"\n", 0), (b"a", 1), (b"a\n\n\r\nb", 2), (b"\r\na\r\n", 1), (b"a\rb\n", 1)],
)
def test_lines_with_content_are_counted(data: bytes, count: int) -> None:
    assert count_lines(data) == count


@pytest.mark.parametrize(
    ("data", "glued"),
    [
        (b"a\nb\n", False),
        (b"", False),
        (b"\na\n", True),
        (b"a\n\nb\n", True),
        (b'"a\n\nb"\nc\n', False),  # inside quotes
        (b'"a\n\nb"\nc\n\nd\n', True),
        (b'"\n\n"\n\n', True),
    ],
)
def test_breaks_that_stand_alone_between_records(data: bytes, glued: bool) -> None:
    assert record_bounds.has_glued_breaks(data, MULTI) is glued


class Endless:
    """A file of any size that holds no line end behind its first line; counts what was read of it."""

    def __init__(self, first: bytes, size: int) -> None:
        self.first, self.size, self.most = first, size, 0

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        self.most = max(self.most, length)
        return self.first[offset : offset + length].ljust(length, b"x")


@pytest.mark.parametrize("support_multi_line", [True, False])
def test_a_record_without_end_is_told_and_not_held_in_memory(
    monkeypatch: pytest.MonkeyPatch, support_multi_line: bool
) -> None:
    monkeypatch.setattr(record_bounds, "MOST_RECORD_BYTES", 1 << 20)
    dialect = Dialect(support_multi_line=support_multi_line)
    for first, look in [
        (b"", lambda file: read_head(file.read, file.size, dialect, True, "a.csv")),
        (b"a,b\n1,2\n", lambda file: sample_rows(file.read, file.size, 4, dialect, 100, "a.csv")),
        (b"a\n1\n", lambda file: read_records(file.read, file.size, 0, 1000, LINES, 0, "a.csv")),
        (b"a\n1\n", lambda file: read_records(file.read, file.size, 0, 1000, LINES, 0, "a.csv", True)),
    ]:
        file = Endless(first, 1 << 40)
        with pytest.raises(
            InputError, match=r"a\.csv: [\d,]+ bytes from about byte \d+ on hold no end of a record"
        ):
            look(file)
        assert file.most <= 8 << 20


def test_a_piece_within_one_long_record_is_empty_and_read_once() -> None:
    file = Endless(b"a\n1\n", 1 << 40)
    assert read_records(file.read, file.size, 10_000, 20_000, LINES).data == b""
    assert read_records(file.read, file.size, 10_000, 20_000, LINES, 0, "", True).data == b""
    assert file.most < 20_000


@pytest.mark.parametrize(
    ("data", "lines"),
    [(b"", 0), (b"\n\n", 0), (b"a\r\n\r\nb\n", 2), (b"a\n\nb", 2), (b"a\n \nb\n", 3), (b"\r\n\r\n", 0)],
)
def test_lines_that_are_not_empty(data: bytes, lines: int) -> None:
    assert record_bounds.count_lines(data) == lines


@pytest.mark.parametrize(
    ("data", "inside"),
    [(b'a,"b', True), (b'a,"b"\n', False), (b'a,"b""', True), (b'"a\nb"\n"c', True), (b"", False)],
)
def test_whether_a_quote_is_never_closed(data: bytes, inside: bool) -> None:
    assert record_bounds.ends_inside_quotes(data, Dialect(support_multi_line=True)) is inside
