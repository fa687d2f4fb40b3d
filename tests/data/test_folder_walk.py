"""A folder's files come in the order of their names, however many they are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.data import folder_walk
from daskpar.data.folder_walk import FolderWalk

TREES = {
    "flat": [b"%03d" % number for number in range(60)],
    "names of all lengths": [b"n" * number for number in range(1, 60)],
    "one name is long": [*(b"%d" % number for number in range(50)), b"long" * 50],
    "text of many bytes": [f"{chr(0x00E9 + 97 * number)}{number}".encode() for number in range(50)],
    "above all planes": [*("\U0001f600", "\ufffd", "z"), *map(str, range(30))],
    "no text": [*(b"%d\xff" % number for number in range(50)), "\U0001f600".encode(), "\ufffd".encode()],
    "folders among files": [b"%d/%d" % (number % 4, number) for number in range(40)]
    + [b"%d-x" % number for number in range(40)],
    "a folder that is no text": [b"d\xff/%d" % number for number in range(30)]
    + ["d\U0001f600".encode(), b"e"],
    "folders alone": [b"%02d/f" % number for number in range(30)],
    "folders of folders": [b"%02d/%02d/f" % (number % 6, number) for number in range(60)],
    "folders, and one file": [*(b"%02d/f" % number for number in range(30)), b"15-file"],
    "nothing": [],
}


def in_order(folder: str) -> list[str]:
    """What is expected: the files below a folder."""
    found = []
    for name in sorted(os.listdir(folder)):
        path = f"{folder}/{name}"
        found += in_order(path) if os.path.isdir(path) else [path]
    return found


@pytest.mark.parametrize("at_once", [4, 1000])
@pytest.mark.parametrize("tree", TREES)
def test_the_order(tmp_path: Path, tree: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_walk, "NAMES_AT_ONCE", at_once)
    for name in TREES[tree]:
        path = os.path.join(os.fsencode(tmp_path), name if isinstance(name, bytes) else name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    assert list(FolderWalk(str(tmp_path)).run()) == in_order(str(tmp_path))


NAMES = st.text("aZ-.é\U0001f600", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))


@given(
    st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.booleans()), max_size=25),
    st.integers(1, 5),
)
@settings(max_examples=150, deadline=None)
def test_any_tree_of_files_folders_and_links(paths: list[tuple[list[str], bool]], at_once: int) -> None:
    with TemporaryDirectory() as beside, pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_walk, "NAMES_AT_ONCE", at_once)
        root, elsewhere = Path(beside, "root"), Path(beside, "linked")
        root.mkdir()
        elsewhere.touch()
        for parts, is_link in paths:
            path = root.joinpath(*parts)
            with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(elsewhere) if is_link else path.touch(exist_ok=False)
        assert list(FolderWalk(str(root)).run()) == in_order(str(root))
