"""Paths in a few bytes each are the same as a list of them."""

from __future__ import annotations

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
    for at in range(-len(names), len(names)):
        assert column[at] == as_list[at]
    with pytest.raises(IndexError):
        column[len(names)]


def test_urls_are_found() -> None:
    assert may_hold_urls(PathColumn.of(["/a", "s3://b/c"])) and may_hold_urls(["s3://b/c"])
    assert not may_hold_urls(PathColumn.of(["/a", "b:/c"])) and not may_hold_urls(["/a"])
