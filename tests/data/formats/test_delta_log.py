"""The log of a delta table at a URL: what of it is needed, and that it says what it says on the disk."""

from __future__ import annotations

from pathlib import Path

import deltalake
import fsspec
import pandas as pd
import pytest

from daskpar.data.formats.delta import delta_files
from daskpar.data.formats.delta_log import needed
from daskpar.errors import DataUnreached, InputError


def commit(version: int) -> str:
    return f"{version:020}.json"


def checkpoint(version: int, part: str = "") -> str:
    return f"{version:020}.checkpoint{part}.parquet"


def part(version: int, number: int, of: int) -> str:
    return checkpoint(version, f".{number:010}.{of:010}")


UUID = ".3a0d65cd-4056-49b8-937b-95f9e3ee90e5"
COMMITS = [commit(version) for version in range(8)]
OTHERS = ["_last_checkpoint", f"{3:020}.crc", f"{0:020}.{4:020}.compacted.json", ".s3-optimization-0"]


@pytest.mark.parametrize(
    ("names", "version", "expected"),
    [
        (COMMITS, None, COMMITS),
        (COMMITS, 3, COMMITS[:4]),
        ([*COMMITS, checkpoint(5)], None, [checkpoint(5), *COMMITS[5:]]),
        ([*COMMITS, checkpoint(5)], 5, [checkpoint(5), commit(5)]),
        ([*COMMITS, checkpoint(5)], 4, COMMITS[:5]),
        ([*COMMITS, checkpoint(2), checkpoint(5)], 4, [checkpoint(2), *COMMITS[2:5]]),
        # One whose parts are not all there does not count.
        ([*COMMITS, checkpoint(2), part(5, 1, 2)], None, [checkpoint(2), *COMMITS[2:]]),
        (
            [*COMMITS, part(5, 1, 2), part(5, 2, 2)],
            None,
            [part(5, 1, 2), part(5, 2, 2), *COMMITS[5:]],
        ),
        (
            [*COMMITS, checkpoint(5, UUID), "_sidecars/a.parquet"],
            None,
            [checkpoint(5, UUID), *COMMITS[5:], "_sidecars/a.parquet"],
        ),
        ([*COMMITS[5:], checkpoint(5)], 9, [checkpoint(5), *COMMITS[5:]]),
        ([*COMMITS[5:], checkpoint(5)], 2, [*COMMITS[5:], checkpoint(5)]),  # cleaned up: all, to say so
        ([*COMMITS, *OTHERS], None, COMMITS),
    ],
)
def test_what_of_a_log_tells_a_version(names: list[str], version: int | None, expected: list[str]) -> None:
    assert needed(names, version) == expected


def test_a_table_at_a_url_has_the_files_that_it_has_on_the_disk(tmp_path: Path) -> None:
    """With whatever fsspec opens: not only the stores that the package `deltalake` knows."""
    for number in range(4):
        frame = pd.DataFrame({"v": [number], "k": ["a b%"]})
        deltalake.write_deltalake(str(tmp_path), frame, mode="append", partition_by=["k"])
        if number == 2:
            deltalake.DeltaTable(str(tmp_path)).create_checkpoint()
    url = "memory://daskpar-delta/a table"
    fsspec.filesystem("memory").put(f"{tmp_path}/", f"{url}/", recursive=True)
    for version, moment in ((None, None), (0, None), (2, None), (3, None), (None, "2099-01-01T00:00:00Z")):
        there, values = delta_files(url, version, moment)
        here, expected = delta_files(str(tmp_path), version, moment)
        assert [path.removeprefix(url) for path in there] == [
            path.removeprefix(str(tmp_path)) for path in here
        ]
        assert values is not None and expected is not None and values.equals(expected)
    with pytest.raises(InputError, match="can't be read as a delta table"):
        delta_files(url, 9, None)
    with pytest.raises(InputError, match=r"it has no _delta_log"):
        delta_files("memory://daskpar-delta/other", None, None)


def test_a_store_that_is_down_is_not_a_table_that_is_missing() -> None:
    with pytest.raises(DataUnreached):
        delta_files("ftp://127.0.0.1:9/table", None, None)
