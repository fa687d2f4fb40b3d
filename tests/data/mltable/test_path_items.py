"""Files of the items of `paths`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daskpar.data.mltable.open import open_mltable

MakeTable = Callable[..., Path]


@pytest.mark.parametrize("pattern", ["./**/*.csv", "./*/**/*.csv"])
def test_patterns_follow_no_links_in_circles(pattern: str, make_table: MakeTable) -> None:
    folder = make_table({"x.csv": "v\n1\n", "sub/y.csv": "v\n2\n"}, paths=[{"pattern": pattern}])
    (folder / "loop").symlink_to(".")
    (folder / "sub" / "up").symlink_to("..")
    found = open_mltable(str(folder))
    assert [os.path.relpath(path, folder) for path in found.paths] == (
        ["sub/y.csv", "x.csv"] if pattern[2:4] == "**" else ["sub/y.csv"]
    )  # type: ignore[union-attr]
