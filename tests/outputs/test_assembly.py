"""The one ordered output: the right bytes under its name, or nothing new there at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from daskpar.batches.records import RECORD
from daskpar.errors import InfrastructureLost, UsageError
from daskpar.outputs import meter, part_reader
from daskpar.outputs.assembly import CopiedStart, assemble, check_space, space_warning
from daskpar.outputs.commits import Commits
from daskpar.outputs.early_copy import begin
from daskpar.rows.shared_folder import SharedFolder
from daskpar.rows.text_format import TextFormat, header_line


def scattered(step: Path, sizes: list[int], parts: int = 3) -> tuple[Commits, bytes]:
    """Mini-batches of these sizes committed backwards into several part files, and the bytes that the output must have."""
    commits, expected = Commits(len(sizes)), []
    (step / "parts").mkdir(exist_ok=True)
    for index in reversed(range(len(sizes))):
        name = f"p{index % parts}"
        with open(step / "parts" / name, "ab") as file:
            record = np.zeros(1, RECORD)
            record["index"], record["status"], record["final"] = index, 1, 1
            offset = file.tell()
            record["offset"], record["length"] = offset, sizes[index]
            data = bytes([65 + index % 26]) * sizes[index]
            file.write(data)
        commits.apply(record, name, offset, len(data), zlib.crc32(data))
        expected.append(data)
    return commits, b"".join(reversed(expected))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "sizes", [[], [0, 0], [1], [3, 0, 5, 1, 1, 0, 7], [300_000, 2, 700_000, 1, 1], [5_000_000, 10, 9_000_000]]
)
def test_rows_come_in_order(step: Path, sizes: list[int]) -> None:
    commits, expected = scattered(step, sizes)
    done = assemble(commits, SharedFolder(step / "parts"), str(step / "deep" / "er" / "out.csv"))
    assert (step / "deep" / "er" / "out.csv").read_bytes() == expected
    assert done.size_bytes == len(expected) and names(step / "deep" / "er") == ["out.csv"]


def test_more_part_files_than_may_be_open(step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_reader, "_OPEN_PARTS", 4)
    commits, expected = scattered(step, [3] * 50, parts=20)
    assemble(commits, SharedFolder(step / "parts"), str(step / "out"))
    assert (step / "out").read_bytes() == expected


def test_a_header_comes_first_and_is_quoted_as_pandas_does(step: Path) -> None:
    import pandas as pd

    columns = ["a", "b c", 'say "x"', "", "é"]
    commits, expected = scattered(step, [4, 4])
    assemble(
        commits,
        SharedFolder(step / "parts"),
        str(step / "out"),
        row_format=TextFormat(header=True),
        schema=tuple(columns),
    )
    header = pd.DataFrame(columns=columns).to_csv(sep=" ", index=False).encode()
    assert (step / "out").read_bytes() == header + expected
    assert header_line(columns) == header


def test_an_existing_target_is_replaced_and_a_link_stays_a_link(step: Path) -> None:
    commits, expected = scattered(step, [4])
    (step / "real").write_text("old")
    (step / "link").symlink_to(step / "real")
    assemble(commits, SharedFolder(step / "parts"), str(step / "link"))
    assert (step / "link").is_symlink() and (step / "real").read_bytes() == expected


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o664])
def test_the_rights_of_a_target_that_is_replaced_stay(step: Path, ahead: bool, mode: int) -> None:
    commits, expected = scattered(step, [4])
    (step / "out").write_text("old")
    (step / "out").chmod(mode)
    with suppress(OSError):  # only root may, and not in a container that knows few users
        os.chown(step / "out", 4321, 8765)
    before = (step / "out").stat()
    assemble(
        commits,
        SharedFolder(step / "parts"),
        str(step / "out"),
        start=begin(step / "begun", b"") if ahead else None,
    )
    now = (step / "out").stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert now.st_ino != before.st_ino and (step / "out").read_bytes() == expected


def test_progress_is_told_and_may_stop_it(step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "PROGRESS_SECONDS", 0.0)
    commits, _ = scattered(step, [5_000_000, 5_000_000])
    seen: list[tuple[int, int]] = []
    assemble(
        commits,
        SharedFolder(step / "parts"),
        str(step / "out"),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (10_000_000, 10_000_000) and seen == sorted(seen)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    (step / "out").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        assemble(commits, SharedFolder(step / "parts"), str(step / "out"), progress=stop)
    assert (step / "out").read_text() == "old" and names(step) == ["out", "parts"]


def copied_start(step: Path, rows: bytes, mini_batches: int) -> CopiedStart:
    """A file that a copy while the step ran has left: the rows of the first mini-batches."""
    start = begin(step / "begun", b"")
    os.write(start.fd, rows)
    start.mini_batches, start.taken_bytes = mini_batches, len(rows)
    start.written()
    return start


@pytest.mark.parametrize("touched", [False, True])
def test_progress_and_size_count_what_was_copied_ahead_once(
    step: Path, monkeypatch: pytest.MonkeyPatch, touched: bool
) -> None:
    """Also where somebody else has written to that copy, so that it is thrown away and all begins anew."""
    monkeypatch.setattr(meter, "PROGRESS_SECONDS", 0.0)
    commits, expected = scattered(step, [4, 6, 10])
    start = copied_start(step, expected[:4], 1)
    if touched:
        os.write(start.fd, b"x")
    seen: list[tuple[int, int]] = []
    done = assemble(
        commits,
        SharedFolder(step / "parts"),
        str(step / "out"),
        start=start,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (done.size_bytes, (step / "out").read_bytes()) == (20, expected)
    assert seen[0] == (4, 20) and seen[-2:] == [(20, 20), (20, 20)]
    assert {total for _, total in seen} == {20} and (0 in {done for done, _ in seen}) is touched
    assert names(step) == ["out", "parts"], "what was copied ahead is no file of its own any more"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(start.fd)


@pytest.mark.parametrize("ahead", [False, True])
def test_the_disk_has_the_rows_before_they_get_their_name(
    step: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    commits, expected = scattered(step, [4, 6])
    start = copied_start(step, expected[:4], 1) if ahead else None
    said: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def told(*given: Any, real: Any = real, name: str = name) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(given[0]).st_mode)
            said.append("folder" if is_folder else name)
            return real(*given)

        monkeypatch.setattr(os, name, told)
    assemble(commits, SharedFolder(step / "parts"), str(step / "out"), start=start)
    assert said == ["fsync", "replace", "folder"]


def test_a_format_that_joins_gets_the_ranges_and_its_bytes_are_the_output(
    step: Path, memory: MemoryFileSystem
) -> None:
    class Joining(TextFormat):
        concatenated = False

        def join(self, ranges: Any, schema: Any) -> Iterator[bytes]:
            yield b"["
            for rows in ranges:
                yield bytes(rows)
            yield b"]"

    commits, expected = scattered(step, [4, 6])
    for target in (str(step / "out"), "memory://bucket/out"):
        done = assemble(commits, SharedFolder(step / "parts"), target, row_format=Joining(header=False))
        assert done.size_bytes == len(expected) + 2
    assert (step / "out").read_bytes() == memory.cat("/bucket/out") == b"[" + expected + b"]"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("room", [0, 1, 300_000])
def test_a_disk_that_says_no_leaves_the_old_target(
    step: Path, failing_disk: Callable[[int, int], None], number: int, room: int
) -> None:
    commits, _ = scattered(step, [300_000, 2, 400_000])
    (step / "out").write_text("old")
    failing_disk(room, number)
    with pytest.raises(InfrastructureLost, match="resume"):
        assemble(commits, SharedFolder(step / "parts"), str(step / "out"))
    assert (step / "out").read_text() == "old" and names(step) == ["out", "parts"]


def test_a_file_size_limit_leaves_nothing(step: Path) -> None:
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_assembly as t
commits, _ = t.scattered(Path({str(step)!r}), [300_000] * 5)
resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
try:
    t.assemble(commits, t.SharedFolder(Path({str(step / "parts")!r})), {str(step / "out")!r})
except t.InfrastructureLost as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "file-size limit" in said and names(step) == ["parts"]


@pytest.mark.parametrize("moment", ["write", "replace"])
def test_killed_at_any_moment_nothing_is_under_the_name_and_the_next_try_cleans_up(
    step: Path, moment: str
) -> None:
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_assembly as t
from daskpar import atomic
commits, _ = t.scattered(Path({str(step)!r}), [300_000] * 5)
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
atomic.write_all, os.replace = {{"write": (die, os.replace), "replace": (atomic.write_all, die)}}[{moment!r}]
t.assemble(commits, t.SharedFolder(Path({str(step / "parts")!r})), {str(step / "out")!r})
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False)
    assert ended.returncode == -9
    left = [name for name in names(step) if name != "parts"]
    assert len(left) == 1 and left[0].endswith(".tmp")
    for part in (step / "parts").iterdir():
        part.unlink()
    commits, expected = scattered(step, [300_000] * 5)
    assemble(commits, SharedFolder(step / "parts"), str(step / "out"))
    assert names(step) == ["out", "parts"] and (step / "out").read_bytes() == expected


@pytest.mark.parametrize("size", [3, 600_000])
def test_rows_that_are_gone_are_told(step: Path, size: int) -> None:
    commits, _ = scattered(step, [size], parts=1)
    os.truncate(step / "parts" / "p0", size - 1)
    with pytest.raises(InfrastructureLost, match="shorter than the journal says"):
        assemble(commits, SharedFolder(step / "parts"), str(step / "out"))
    (step / "parts" / "p0").unlink()
    with pytest.raises(InfrastructureLost, match="or gone"):
        assemble(commits, SharedFolder(step / "parts"), str(step / "out"))
    assert names(step) == ["parts"]


def test_what_is_no_place_for_a_file_is_told_before(step: Path) -> None:
    (step / "folder").mkdir()
    (step / "file").write_text("x")
    with pytest.raises(UsageError, match="a folder at that path"):
        check_space(SharedFolder(step / "parts"), str(step / "folder"), 0)
    with pytest.raises(UsageError, match="no regular file"):
        check_space(SharedFolder(step / "parts"), "/dev/null", 0)
    with pytest.raises(UsageError, match="is a file"):
        check_space(SharedFolder(step / "parts"), str(step / "file" / "out"), 0)
    assert names(step) == ["file", "folder"]


def test_too_little_disk_is_said_early(step: Path) -> None:
    check_space(SharedFolder(step / "parts"), str(step / "new" / "out"), 1000)
    assert names(step / "new") == []
    with pytest.raises(InfrastructureLost, match=r"needs .* MB beside its parts"):
        check_space(SharedFolder(step / "parts"), str(step / "out"), 1 << 60)
    assert space_warning(str(step / "not" / "there"), 10) == ""
    assert "free" in space_warning(str(step / "not" / "there"), 1 << 60)
    assert space_warning("memory://x/y", 1 << 60) == ""


@pytest.mark.parametrize(("free", "enough"), [(16, True), (15, False)])
def test_only_the_rest_of_what_was_copied_ahead_needs_room(
    step: Path, monkeypatch: pytest.MonkeyPatch, free: int, enough: bool
) -> None:
    commits, expected = scattered(step, [4, 6, 10])
    start = copied_start(step, expected[:4], 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    if enough:
        assemble(commits, SharedFolder(step / "parts"), str(step / "out"), start=start)
        assert (step / "out").read_bytes() == expected
        return
    with pytest.raises(InfrastructureLost, match="needs"):
        assemble(commits, SharedFolder(step / "parts"), str(step / "out"), start=start)


def test_parts_are_removed_and_missing_ones_are_no_matter(step: Path) -> None:
    scattered(step, [1])
    SharedFolder(step / "parts").remove()
    SharedFolder(step / "parts").remove()
    assert names(step) == []


# ---- URLs ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


class ObjectStore(MemoryFileSystem):  # type: ignore[misc]
    """As S3: a file appears when its upload is committed, and not at all when it is discarded."""

    protocol = "s3"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    abandoned: list[str] = []  # noqa: RUF012
    """Uploads that were told to leave nothing."""

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **options: Any) -> Any:
        if mode != "wb":
            return super()._open(path, mode, **options)
        file = MemoryFile(self, self._strip_protocol(path))
        file.close = lambda: file.commit() if autocommit else None
        file.discard = lambda: self.abandoned.append(path)
        return file


@pytest.fixture
def object_store() -> Iterator[ObjectStore]:
    from fsspec.registry import _registry

    before = _registry.get("s3")
    fsspec.register_implementation("s3", ObjectStore, clobber=True)
    ObjectStore.store.clear()
    ObjectStore.abandoned.clear()
    yield ObjectStore()
    _registry.pop("s3")
    if before is not None:
        _registry["s3"] = before


def test_an_output_at_a_url_appears_whole(
    step: Path, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(step)
    commits, expected = scattered(step, [5_000_000, 3, 1])
    assemble(
        commits,
        SharedFolder(step / "parts"),
        "memory://bucket/a/out.csv",
        row_format=TextFormat(header=True),
        schema=("x",),
    )
    assert memory.cat("/bucket/a/out.csv") == b"x\n" + expected
    assert memory.find("/bucket") == ["/bucket/a/out.csv"]
    assert names(step) == ["parts"], "a URL makes no folder here"


def test_an_object_appears_whole(step: Path, object_store: ObjectStore) -> None:
    commits, expected = scattered(step, [3, 1])
    done = assemble(commits, SharedFolder(step / "parts"), "s3://bucket/out.csv")
    assert done.size_bytes == len(expected)
    assert [file.getvalue() for file in ObjectStore.store.values()] == [expected]


@pytest.mark.parametrize("target", ["memory://bucket/out.csv", "s3://bucket/out.csv"])
def test_a_failing_upload_leaves_nothing(
    step: Path, memory: MemoryFileSystem, object_store: ObjectStore, target: str
) -> None:
    commits, _ = scattered(step, [5_000_000, 5_000_000], parts=2)
    os.truncate(step / "parts" / "p1", 10)
    with pytest.raises(InfrastructureLost, match="shorter"):
        assemble(commits, SharedFolder(step / "parts"), target)
    assert memory.find("/") == [] and not ObjectStore.store
    assert ObjectStore.abandoned == (["s3://bucket/out.csv"] if target.startswith("s3") else [])


def test_a_store_that_says_no_is_told(
    step: Path, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Forbidden")

    monkeypatch.setattr(MemoryFileSystem, "mv", no)
    commits, _ = scattered(step, [3])
    with pytest.raises(InfrastructureLost, match="Forbidden"):
        assemble(commits, SharedFolder(step / "parts"), "memory://bucket/out.csv")
    assert not memory.exists("/bucket/out.csv")
