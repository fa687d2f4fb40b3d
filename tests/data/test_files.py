"""Lists of files and patterns."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daskpar.data.files import ListingNotes, list_files
from daskpar.data.mltable.path_items import files_of_item
from daskpar.data.stamps import planned_stamp
from daskpar.errors import InputError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files whose order and hiddenness matter."""
    for name in (
        "b.csv",
        "a/z.csv",
        "a/.h/q.csv",
        "a-b/m.csv",
        "a.csv",
        "B.csv",
        "é.csv",
        "x[1].csv",
        "a/deep/er/w.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def below(folder: Path, paths: object) -> list[str]:
    return [os.path.relpath(path, folder) for path in paths]  # type: ignore[attr-defined]


def test_files_are_listed_depth_first_by_the_bytes_of_their_names(tree: Path) -> None:
    found = below(tree, list_files(str(tree)).paths)
    assert found == [
        "B.csv",
        "a/.h/q.csv",
        "a/deep/er/w.txt",
        "a/z.csv",
        "a-b/m.csv",
        "a.csv",
        "b.csv",
        "x[1].csv",
        "é.csv",
    ]
    assert list_files(str(tree / "b.csv")).paths == [str(tree / "b.csv")]


def test_links_are_followed_but_not_in_circles(tree: Path) -> None:
    (tree / "a" / "up").symlink_to(tree, target_is_directory=True)
    (tree / "c").symlink_to(tree / "a-b", target_is_directory=True)
    found = below(tree, list_files(str(tree)).paths)
    assert "c/m.csv" in found and not any(name.startswith("a/up") for name in found)


@pytest.fixture
def odd(tree: Path) -> Iterator[Path]:
    """A folder with one of each that is no plain file, beside two files."""
    folder = tree / "a"
    (folder / "me").symlink_to("me")  # a circle
    (folder / "nowhere").symlink_to("gone")
    os.mkfifo(folder / "pipe")
    (folder / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(folder)  # the names of sockets are short
        listening.bind("socket")
        os.chdir(before)
        yield folder


def test_what_is_no_plain_file_is_left_out_counted_and_named(odd: Path, tree: Path) -> None:
    found = list_files(str(odd))
    assert below(tree, found.paths) == ["a/.h/q.csv", "a/deep/er/w.txt", "a/z.csv"]
    (warning,) = found.warnings
    for words in (
        "they are no plain file",
        "2 × a link to nothing",
        "1 × a named pipe",
        "1 × a socket",
        "1 × a device",
    ):
        assert words in warning
    assert f"{odd}/me" in warning and "and 2 more" in warning


def test_a_pattern_leaves_them_out_too(odd: Path, tree: Path) -> None:
    notes = ListingNotes()
    assert below(tree, files_of_item("pattern", str(odd / "*"), notes)) == ["a/z.csv"]
    assert {os.path.basename(path) for path in notes.left_out} == {"me", "nowhere", "pipe", "null", "socket"}


def test_a_pattern_that_they_alone_match_matches_no_file(odd: Path) -> None:
    with pytest.raises(InputError, match="no file matches"):
        files_of_item("pattern", str(odd / "p*"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("me", "is a link to nothing"),
        ("nowhere", "is a link to nothing"),
        ("pipe", "is a named pipe, not a file"),
        ("null", "is a device, not a file"),
        ("socket", "is a socket, not a file"),
    ],
)
def test_one_that_is_named_is_an_error(odd: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list_files(str(odd / name))
    with pytest.raises(InputError, match=words):
        planned_stamp(str(odd / name))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        list_files(str(tmp_path / "nope"))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["B.csv", "a.csv", "b.csv", "x[1].csv", "é.csv"]),
        ("**/*.csv", ["B.csv", "a/.h/q.csv", "a/z.csv", "a-b/m.csv", "a.csv", "b.csv", "x[1].csv", "é.csv"]),
        ("*/**/*.csv", ["a/.h/q.csv", "a/z.csv", "a-b/m.csv"]),
        ("[a-b].csv", ["a.csv", "b.csv"]),
        ("[!a].csv", ["B.csv", "b.csv", "é.csv"]),
        ("?.csv", ["B.csv", "a.csv", "b.csv", "é.csv"]),
        ("x[1].csv", ["x[1].csv"]),
        ("b.csv", ["b.csv"]),
        ("a", ["a/.h/q.csv", "a/deep/er/w.txt", "a/z.csv"]),
        ("a/**/w.txt", ["a/deep/er/w.txt"]),
    ],
)
def test_patterns(tree: Path, pattern: str, found: list[str]) -> None:
    assert below(tree, files_of_item("pattern", str(tree / pattern))) == found


@pytest.mark.parametrize(
    ("how", "text", "why"),
    [
        ("pattern", "nope*.csv", "no file matches"),
        ("pattern", "**", "no file matches"),
        ("pattern", "{a,b}.csv", "no file matches"),
        ("pattern", "**.csv", "whole part of the path"),
        ("file", "*.csv", "use `pattern`"),
        ("folder", "a*", "use `pattern`"),
        ("folder", "nope", "does not exist"),
    ],
)
def test_items_that_give_no_file(tree: Path, how: str, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        files_of_item(how, str(tree / text))


def test_a_folder_that_may_be_listed_but_not_entered(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Path("a/deep")
    real = os.stat

    def stat(path: str, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path) == str(tree / refused):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr("os.stat", stat)
    with pytest.raises(InputError, match="a/deep can't be listed: Permission denied"):
        files_of_item("pattern", str(tree / "**/*.csv"))


def test_files_on_another_filesystem() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("/listed/b.csv", "/listed/a/z.csv", "/listed/a-b/m.csv"):
        memory.pipe_file(name, b"x")
    assert list_files("memory://listed").paths == [
        "memory:///listed/a/z.csv",
        "memory:///listed/a-b/m.csv",
        "memory:///listed/b.csv",
    ]
    assert files_of_item("pattern", "memory://listed/**/[mz].csv") == [
        "memory:///listed/a/z.csv",
        "memory:///listed/a-b/m.csv",
    ]
    with pytest.raises(InputError, match="no file"):
        list_files("memory://nothing-here")
