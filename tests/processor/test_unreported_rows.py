"""Rows that wait for their report: one range, as they lie in the part, whatever happens to the file meanwhile."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.processor.unreported_rows import NOTHING, UnreportedRows, WrittenRange
from daskpar.rows.shared_folder import PartFile

LENGTHS = st.lists(st.integers(0, 50), min_size=1, max_size=4)
PUTS = st.lists(LENGTHS, max_size=6)


def is_as_written(folder: Path, found: WrittenRange, text: bytes) -> bool:
    """Whether the range is where it says, with the checksum that it says."""
    data = (
        (folder / found.part).read_bytes()[found.offset : found.offset + found.length] if found.part else b""
    )
    return (data, found.crc) == (text, zlib.crc32(text))


@given(st.lists(PUTS, min_size=1, max_size=3))
def test_all_that_was_put_since_the_last_report_is_one_range(
    tmp_path_factory: pytest.TempPathFactory, reports: list[list[list[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    rows = UnreportedRows(PartFile(str(folder), "p"))
    for puts in reports:
        text, lengths = b"", []
        for each in puts:
            new = os.urandom(sum(each))
            assert rows.put(memoryview(new), each) is None
            text, lengths = text + new, lengths + each
            assert rows.length == len(text)
        found = rows.take()
        assert is_as_written(folder, found, text)
        assert (found.length, found.lengths, bool(found.part)) == (len(text), lengths, bool(text))
        assert rows.take() == NOTHING


@pytest.mark.parametrize("how", ["appended to", "removed", "cut short"])
def test_rows_that_do_not_follow_those_before_are_told_apart(tmp_path: Path, how: str) -> None:
    part = PartFile(str(tmp_path), "p")
    rows = UnreportedRows(part)
    rows.put(b"one", [0, 3])
    first = Path(part.place)
    if how == "appended to":
        with first.open("ab") as file:
            file.write(b"!")
    elif how == "removed":
        first.rename(tmp_path / "away")
    else:
        os.truncate(first, 1)
    apart = rows.put(b"two", [1, 2])
    assert apart == WrittenRange(first.name, 0, 3, zlib.crc32(b"one"), b"", [0, 3])
    assert rows.put(b"three", [5]) is None
    found = rows.take()
    assert is_as_written(tmp_path, found, b"twothree")
    assert (found.part == first.name) == (how == "appended to")
    assert (found.length, found.lengths) == (8, [1, 2, 5])


def test_a_part_that_takes_no_more_changes_nothing(tmp_path: Path) -> None:
    part = PartFile(str(tmp_path), "p")
    rows = UnreportedRows(part)
    rows.put(b"one", [3])
    name = part.name
    part._folder = str(tmp_path / "gone")  # a new file would have to be begun there
    os.unlink(tmp_path / name)
    with pytest.raises(OSError):
        rows.put(b"two", [3])
    assert rows.take() == WrittenRange(name, 0, 3, zlib.crc32(b"one"), b"", [3])
