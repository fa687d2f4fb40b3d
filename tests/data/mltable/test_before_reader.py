"""Transformations before the reader: names of files that are no text."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskpar.data.dask_collections import read_mltable
from daskpar.data.files import FileList
from daskpar.data.mltable.open import open_mltable
from daskpar.errors import InputError

MakeTable = Callable[..., Path]


def odd_name(folder: Path) -> str:
    """A file whose name is no text."""
    path = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.csv")
    Path(path).write_text("v\n5\n6\n")
    return path


def test_a_name_that_is_no_text_is_one_of_a_file_still(make_table: MakeTable) -> None:
    path = odd_name(make_table({}, {"take": 5}, {"drop_columns": "x"}, paths=[{"pattern": "*.csv"}]))
    found = open_mltable(os.path.dirname(path))
    assert isinstance(found, FileList) and found.paths == [path]
    make_table({}, "read_delimited", paths=[{"pattern": "*.csv"}])
    assert read_mltable(os.path.dirname(path)).compute()["v"].tolist() == [5, 6]


@pytest.mark.parametrize(
    "step", [{"filter": 'not startswith(Path, "x")'}, {"read_delimited": {"include_path_column": True}}]
)
def test_a_name_that_is_no_text_is_no_value(step: Any, make_table: MakeTable) -> None:
    path = odd_name(make_table({}, step, paths=[{"pattern": "*.csv"}]))
    with pytest.raises(InputError, match=r"MLTable:4: the name of the file .*caf.udce9\.csv' is not UTF-8"):
        open_mltable(os.path.dirname(path))
