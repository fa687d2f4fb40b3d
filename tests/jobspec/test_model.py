"""What the values of a job say of themselves."""

from __future__ import annotations

import pytest

from daskpar.jobspec.model import BySize, Input


@pytest.mark.parametrize(
    ("kind", "mode", "is_list"),
    [
        ("uri_folder", "ro_mount", True),
        ("uri_file", "direct", True),
        ("mltable", "direct", False),
        ("mltable", "", False),
        *(("mltable", mode, True) for mode in ("ro_mount", "download", "eval_mount", "eval_download")),
        ("literal", "", False),
    ],
)
def test_what_is_a_list_of_files(kind: str, mode: str, is_list: bool) -> None:
    assert Input(name="i", type=kind, mode=mode).is_file_list is is_list


@pytest.mark.parametrize(
    ("size", "written", "size_bytes"),
    [
        (BySize(number=10, unit=1), "10", 10),
        (BySize(number=10, unit=1024), "10kb", 10240),
        (BySize(number=0, unit=1), "0", 1024**2),
    ],
)
def test_a_size_is_written_as_it_was_given(size: BySize, written: str, size_bytes: int) -> None:
    assert (size.written, size.size_bytes) == (written, size_bytes)
