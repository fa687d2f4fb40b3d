"""A folder that nobody holds any more is removed by the next node; those that are held, or being made, stay."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from daskpar.processor.held_folders import LOCK, new_held_folder


def test_the_next_folder_takes_the_place_of_what_was_left(tmp_path: Path) -> None:
    left, lock = new_held_folder(str(tmp_path), "ours-", shutil.rmtree)
    held, other_lock = new_held_folder(str(tmp_path), "ours-", shutil.rmtree)
    assert Path(left).is_dir() and Path(held).is_dir(), "both are held"
    os.close(lock)
    (tmp_path / "ours-in-the-making").mkdir()
    (tmp_path / "another" / LOCK).parent.mkdir()
    (tmp_path / "another" / LOCK).touch()
    removed: list[str] = []
    fresh, third_lock = new_held_folder(str(tmp_path), "ours-", removed.append)
    assert removed == [left]
    assert Path(fresh, LOCK).exists() and fresh not in (left, held)
    os.close(other_lock)
    os.close(third_lock)
