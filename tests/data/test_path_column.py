"""Paths in a few bytes each are the same as a list of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.data.path_column import PathColumn, PathColumnBuilder, may_hold_urls

NAMES = st.lists(st.binary(min_size=1, max_size=6).filter(lambda name: b"\0" not in name), max_size=30)


@given(NAMES, st.sampled_from([b"", b"/data/", b"/d\xff/"]), st.integers(-35, 35), st.integers(-35, 35))
def test_a_column_is_a_sequence(names: list[bytes], prefix: bytes, start: int, stop: int) -> None:
    builder = PathColumnBuilder()
    builder.add(names[:7])
    builder.add(names[7:])
    column = builder.column(prefix)
    as_list = [(prefix + name).decode("utf-8", "surrogateescape") for name in names]
    # The prefix and the name are decoded apart, as names and folders are.
    as_list = [
        prefix.decode("utf-8", "surrogateescape") + n.decode("utf-8", "surrogateescape") for n in names
    ]
    assert list(column) == as_list == column
    assert column == as_list
    assert column[start:stop] == as_list[start:stop]
    assert column[::-1] == as_list[::-1]
    assert PathColumn.of(as_list) == column
    assert column != [*as_list, "more"]
    if names:
        ends = (min(as_list), max(as_list))
        assert column.least_and_greatest() == PathColumn.of(as_list).least_and_greatest() == ends
    for at in range(-len(names), len(names)):
        assert column[at] == as_list[at]
    for at in (len(names), -len(names) - 1):
        with pytest.raises(IndexError, match=f"path {at} of {len(names)}"):
            column[at]


@given(NAMES, NAMES)
def test_names_from_an_array_are_the_same(first: list[bytes], names: list[bytes]) -> None:
    one, other = PathColumnBuilder(), PathColumnBuilder()
    for builder in (one, other):
        builder.add(first, b"in/")
    one.add(names)
    if names:
        other.add_array(np.array(names, "S6"))
    assert one.column(b"/") == other.column(b"/")


def test_a_column_of_a_column_is_itself_and_is_shown_in_short() -> None:
    column = PathColumn.of(f"/{number}" for number in range(4))
    assert PathColumn.of(column) is column
    assert repr(column) == "PathColumn(['/0', '/1', '/2'], ..., 4 paths)"
    assert repr(PathColumn.of(["/a", "/b", "/c"])) == "PathColumn(['/a', '/b', '/c'], 3 paths)"


def test_a_long_column_is_read_in_pieces_that_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskpar.data.path_column.AT_ONCE", 3)
    paths = [f"/{number:03d}" for number in range(20)]
    column = PathColumn.of(paths)
    assert list(column) == paths == [column[number] for number in range(20)]
    assert [column[number] for number in (19, 0, 7, 6, -1)] == [paths[at] for at in (19, 0, 7, 6, -1)]
    assert column.least_and_greatest() == (paths[0], paths[-1])


@pytest.mark.parametrize("at", range(8))
def test_a_url_is_found_wherever_it_is_looked_for_in_pieces(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr("daskpar.data.path_column.SEARCHED", 5)
    assert may_hold_urls(PathColumn.of(["x" * at + "s3://b"]))
    assert not may_hold_urls(PathColumn.of(["x" * at + "s3:/b"]))


def test_urls_are_found() -> None:
    assert may_hold_urls(PathColumn.of(["/a", "s3://b/c"])) and may_hold_urls(["s3://b/c"])
    assert not may_hold_urls(PathColumn.of(["/a", "b:/c"])) and not may_hold_urls(["/a"])
