"""A folder of part files: the rows of one file, cut where the rows say, and nothing beside them that readers mind."""

from __future__ import annotations

import errno
import fcntl
import io
import itertools
import threading
from pathlib import Path
from typing import Any

import dask.dataframe
import fsspec
import pandas as pd
import pyarrow.dataset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.errors import InfrastructureLost, RowsDamaged, UsageError
from daskpar.outputs import meter, row_folder
from daskpar.outputs.ledger import Ledger
from daskpar.outputs.row_folder import assemble_folder, in_files, part_files
from daskpar.rows.csv_format import CsvFormat
from daskpar.rows.json_lines_format import JsonLinesFormat
from daskpar.rows.parquet_format import ParquetFormat
from daskpar.rows.row_format import RowFormat

FORMATS = [CsvFormat(), CsvFormat("union"), JsonLinesFormat(), JsonLinesFormat("union"), ParquetFormat()]
COUNT = 12


def frame(index: int) -> pd.DataFrame:
    return pd.DataFrame({"n": [index] * (index % 3), "text": [f"é {index},\n"] * (index % 3)})


EXPECTED = pd.concat([frame(index) for index in range(COUNT) if index % 3], ignore_index=True)


@pytest.fixture(params=FORMATS, ids=lambda row_format: row_format.kind)
def ledger(request: Any, step: Path, processors: Any) -> Any:
    """Committed rows in each format, by two processors, backwards."""
    ledger = committed(step, processors, request.param)
    yield ledger
    ledger.close()


def committed(step: Path, processors: Any, row_format: RowFormat) -> Ledger:
    ledger = Ledger.open(step, COUNT, row_format=row_format)
    for number, indices in enumerate((range(6, 12), range(6))):
        encoder = row_format.encoder()
        for index in indices:
            encoder.add(frame(index), index)
        data, lengths = encoder.take()
        rows = {
            index: data[end - length : end]
            for index, end, length in zip(indices, itertools.accumulate(lengths), lengths, strict=True)
        }
        ledger.commit(processors.flush(rows, part=f"p{number}", schema=encoder.schema))
    return ledger


def put_together(ledger: Ledger, folder: str, **options: Any) -> Any:
    return assemble_folder(
        ledger.commits,
        ledger.store,
        folder,
        row_format=ledger.row_format,
        schema=ledger.schema,
        **{"part_bytes": 30, **options},
    )


def read(data: bytes, name: str) -> pd.DataFrame:
    if name.endswith(".csv"):
        return pd.read_csv(io.BytesIO(data))
    if name.endswith(".jsonl"):
        return pd.read_json(io.BytesIO(data), lines=True)
    return pd.read_parquet(io.BytesIO(data))


@pytest.mark.parametrize("place", ["out", "memory://bucket/{}"])
def test_the_files_hold_all_rows_in_the_order_of_their_names(step: Path, ledger: Any, place: str) -> None:
    folder = place.format(step.name) if "://" in place else str(step / place)
    done = put_together(ledger, folder)
    files = part_files(folder)
    assert len(files) > 2 and not done.notes
    assert [name.rpartition("/")[2].partition(".")[0] for name in files] == [
        f"part-{n:05}" for n in range(len(files))
    ]
    contents = [fsspec.open(name).open().read() for name in files]
    assert done.size_bytes == sum(map(len, contents))
    found = pd.concat([read(data, name) for data, name in zip(contents, files, strict=True)])
    pd.testing.assert_frame_equal(found.reset_index(drop=True), EXPECTED)
    put_together(ledger, folder)
    assert [fsspec.open(name).open().read() for name in part_files(folder)] == contents
    put_together(ledger, folder, part_bytes=1 << 30)
    assert len(part_files(folder)) == 1


def test_pandas_dask_and_arrow_read_the_whole_folder(step: Path, processors: Any) -> None:
    ledger = committed(step, processors, ParquetFormat())
    folder = step / "out"
    put_together(ledger, str(folder))
    ledger.close()
    for found in (
        pd.read_parquet(folder),
        dask.dataframe.read_parquet(folder).compute().reset_index(drop=True),
        pyarrow.dataset.dataset(folder).to_table().to_pandas(),
    ):
        pd.testing.assert_frame_equal(found, EXPECTED, check_dtype=False)


def test_part_files_of_an_earlier_run_go_and_what_else_is_there_is_told(step: Path, ledger: Any) -> None:
    folder = step / "out"
    folder.mkdir()
    for name in ("part-00077.csv", "part-00000.parquet", "part-100000.jsonl"):
        (folder / name).write_text("old")
    for name in ("part-1.csv", "notes.txt", "_SUCCESS", ".hidden"):
        (folder / name).write_text("somebody else's")
    done = put_together(ledger, str(folder))
    assert "notes.txt, part-1.csv" in done.notes[0]
    left = {path.name for path in folder.iterdir()} - {Path(name).name for name in part_files(str(folder))}
    assert left == {"part-1.csv", "notes.txt", "_SUCCESS", ".hidden"}
    assert all(path.read_text() == "somebody else's" for path in map(folder.joinpath, left))
    assert "old" not in {Path(name).read_bytes() for name in part_files(str(folder))}


def test_a_run_that_is_cut_off_leaves_what_was_there(
    step: Path, ledger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "PROGRESS_SECONDS", 0.0)
    folder = step / "out"
    put_together(ledger, str(folder), part_bytes=1 << 30)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_together(ledger, str(folder), progress=interrupted)
    for part in (step / "parts").iterdir():
        part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(RowsDamaged):
        put_together(ledger, str(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_a_killed_assembly_left_is_cleared_away(step: Path, ledger: Any) -> None:
    folder = step / "out"
    row_folder._staging(str(folder), ledger.store).mkdir(parents=True)
    (row_folder._staging(str(folder), ledger.store) / "part-00000.csv").write_text("half")
    put_together(ledger, str(folder))
    assert {path.name for path in folder.iterdir()} == {Path(name).name for name in part_files(str(folder))}


def test_a_full_disk_is_told_and_leaves_nothing(step: Path, ledger: Any, failing_disk: Any) -> None:
    failing_disk(50, 28)
    with pytest.raises(InfrastructureLost, match="the disk is full"):
        put_together(ledger, str(step / "out"))
    assert list((step / "out").iterdir()) == []


def test_a_file_in_the_way_is_told(step: Path, ledger: Any) -> None:
    (step / "out").write_text("a file")
    with pytest.raises(UsageError, match="folder of part files, and there is a file"):
        put_together(ledger, str(step / "out"))
    with pytest.raises(UsageError, match="one of the folders in its path is a file"):
        put_together(ledger, str(step / "out" / "deeper"))


def test_a_table_beside_the_files_is_ours_alone(step: Path, ledger: Any) -> None:
    from daskpar import read_mltable

    folder = step / "out"
    put_together(ledger, str(folder), with_mltable=True)
    found = read_mltable(folder).compute().reset_index(drop=True)
    assert (
        found["n"].tolist() == EXPECTED["n"].tolist() and found["text"].tolist() == EXPECTED["text"].tolist()
    )
    (folder / "MLTable").write_text("the user's")
    assert not put_together(ledger, str(folder), with_mltable=True).notes
    assert (folder / "MLTable").read_text() == "the user's"


@given(st.lists(st.integers(0, 9)), st.integers(1, 20))
def test_files_are_cut_by_size_at_the_ends_of_ranges(sizes: list[int], most: int) -> None:
    ranges = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    files = [list(found) for found in in_files(ranges, most)]
    assert [data for found in files for data in found] == ranges
    assert files[0] == [] if not ranges else all(files)
    for found in files[:-1]:
        assert sum(map(len, found[:-1])) < most <= sum(map(len, found))


def test_a_step_without_rows_has_one_file(step: Path) -> None:
    ledger = Ledger.open(step, 2, row_format=ParquetFormat())
    put_together(ledger, str(step / "out"))
    ledger.close()
    assert len(pd.read_parquet(step / "out")) == 0


@pytest.mark.parametrize("has_locks", [True, False])
def test_two_runs_into_one_folder_leave_the_files_of_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_locks: bool
) -> None:
    """One lists what is there, the other puts its five files there: two of those would stay beside its three."""
    folder = tmp_path / "out"
    names = [f"part-{number:05}.csv" for number in range(5)]
    for run, count in (("a", 3), ("b", 5)):
        staging = folder / f".parts.{run}.tmp"
        staging.mkdir(parents=True)
        for name in names[:count]:
            (staging / name).write_text(run)
    waits_or_ended = threading.Event()
    real_flock, real_listing = fcntl.flock, row_folder.part_files

    def put(run: str, count: int) -> None:
        row_folder._put_in_place(folder / f".parts.{run}.tmp", folder, names[:count])
        waits_or_ended.set()

    second = threading.Thread(target=put, args=("b", 5))

    def flock(fd: int, operation: int) -> None:
        if threading.current_thread() is second:
            waits_or_ended.set()
        if not has_locks:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real_flock(fd, operation)

    def listing(place: str) -> list[str]:
        found = real_listing(place)
        if threading.current_thread() is not second:
            second.start()
            assert waits_or_ended.wait(60)
        return found

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(row_folder, "part_files", listing)
    put("a", 3)
    second.join()
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(names, "b")
