"""Local names of what is fetched from URLs, and what can have none."""

from __future__ import annotations

import pytest

from daskpar.errors import InputError
from daskpar.fetched_names import base_name, check_names, name_below, name_of_any


@pytest.mark.parametrize(
    ("url", "folder", "name"),
    [
        ("s3://box/scans/a/x.jpg", "s3://box/scans", "a/x.jpg"),
        ("s3://box/scans/a/x.jpg", "s3://box/scans/", "a/x.jpg"),
        ("s3://box/a?b#c%20d", "s3://box", "a?b#c%20d"),
        ("s3://box/scans2/x", "s3://box/scans", None),
        ("https://h/d/a%20b/c.txt?sig=1/2", "https://h/d", "a b/c.txt"),
        ("https://h/d/a%2Fb", "https://h/d", "a%2Fb"),
        ("abfs://c@a.dfs.core.windows.net/x/y", "abfs://c@a.dfs.core.windows.net/x", "y"),
    ],
)
def test_a_file_keeps_its_place_below_its_input(url: str, folder: str, name: str | None) -> None:
    assert name_below(url, folder) == name


def test_names_of_files_without_a_folder() -> None:
    assert base_name("https://h/m/model.pkl?sv=1&sig=x") == "model.pkl"
    assert base_name("s3://box/m/a b") == "a b"
    assert name_of_any("s3://box/a/b.txt") == "s3/box/a/b.txt"


@pytest.mark.parametrize("key", ["a//b", "a/../b", "../b", "a/./b", "a\0b", "x" * 256, "ü" * 128])
def test_what_can_be_no_local_file_is_refused(key: str) -> None:
    with pytest.raises(InputError, match="can't be fetched to a local file"):
        name_below(f"s3://box/{key}", "s3://box")


@pytest.mark.parametrize(
    ("urls", "why"),
    [
        (["s3://b/a", "s3://b/a/b"], "s3://b/a is a file, and a folder of s3://b/a/b too"),
        (["s3://b/a/b/c/d", "s3://b/a/b"], "s3://b/a/b is a file, and a folder of s3://b/a/b/c/d too"),
        (["https://b/a%20b", "https://b/a b"], "have one local name"),
        (["s3://c/a", "s3://c/a/b"], "is a file, and a folder of"),
    ],
)
def test_two_that_can_not_be_there_together(urls: list[str], why: str) -> None:
    folder = f"{urls[0].partition('://')[0]}://b"
    with pytest.raises(InputError, match=why):
        check_names(urls, folder)


def test_the_same_file_twice_and_files_side_by_side_are_fine() -> None:
    check_names(["s3://b/a", "s3://b/a", "s3://b/ab/c", "/local/x", "s3://c/a"], "s3://b/")
