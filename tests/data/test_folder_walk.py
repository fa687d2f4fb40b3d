"""A folder's files come in the order of their names, however many they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
}


@pytest.mark.parametrize("at_once", [4, 1000])
@pytest.mark.parametrize("tree", TREES)
def test_the_order(tmp_path: Path, tree: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_walk, "NAMES_AT_ONCE", at_once)
    for name in TREES[tree]:
        path = os.path.join(os.fsencode(tmp_path), name if isinstance(name, bytes) else name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))

    def expected(folder: str) -> list[str]:
        found = []
        for name in sorted(os.listdir(folder)):
            path = f"{folder}/{name}"
            found += expected(path) if os.path.isdir(path) else [path]
        return found

    assert list(FolderWalk(str(tmp_path)).run()) == expected(str(tmp_path))
