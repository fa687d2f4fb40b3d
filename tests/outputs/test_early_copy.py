"""The output that is copied while its step runs: the same bytes whenever it looks, and on any trouble as if it had never been."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.errors import InfrastructureLost
from daskpar.outputs import early_copy as module
from daskpar.outputs import part_reader
from daskpar.outputs.assembly import assemble
from daskpar.outputs.early_copy import NAME, EarlyCopy, may_be_moved
from daskpar.outputs.ledger import Ledger
from daskpar.rows.shared_folder import SharedFolder
from daskpar.rows.text_format import TextFormat, header_line
from own_descriptors import opened_since, own_descriptors


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests look themselves."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)


def text(index: int, size: int) -> bytes:
    return bytes([65 + index % 26]) * size


def left(step: Path) -> list[str]:
    return sorted(path.name for path in step.iterdir() if path.name not in ("parts", "journal"))


SIZES = st.lists(st.sampled_from([0, 1, 40, 300_000]), min_size=8, max_size=8)
COMMIT = st.tuples(st.permutations(range(8)), st.lists(st.integers(0, 7), max_size=6), SIZES)


@given(COMMIT, st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_bytes_are_the_same_whenever_it_looks(
    tmp_path_factory: pytest.TempPathFactory,
    processors_in: Any,
    how: tuple[list[int], list[int], list[int]],
    parts: int,
) -> None:
    order, looks, sizes = how
    step = tmp_path_factory.mktemp("step")
    processors, ledger = processors_in(step), Ledger.open(step, 8)
    out = step / "out"
    with EarlyCopy(ledger, step, str(out)) as early_copy:
        for place, index in enumerate(order):
            ledger.commit(processors.flush({index: text(index, sizes[index])}, part=f"p{index % parts}"))
            for _ in range(looks.count(place)):
                early_copy.advance()
        assemble(ledger.commits, SharedFolder(step / "parts"), str(out), start=early_copy.take())
    ledger.close()
    assert out.read_bytes() == b"".join(text(index, size) for index, size in enumerate(sizes))
    assert left(step) == ["out"]


def test_its_own_thread_copies_what_is_complete(
    step: Path, processors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    copied, advance = threading.Event(), EarlyCopy.advance

    def told(self: EarlyCopy) -> bool:
        found = advance(self)
        if found:
            copied.set()
        return found

    monkeypatch.setattr(EarlyCopy, "advance", told)
    ledger = Ledger.open(step, 3)
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        ledger.commit(processors.flush({0: b"0\n", 2: b"2\n"}))
        assert copied.wait(60)
        start = early_copy.take()
        assert start is not None and (start.mini_batches, start.taken_bytes) == (1, 2)
        ledger.commit(processors.flush({1: b"1\n"}))
        assemble(ledger.commits, SharedFolder(step / "parts"), str(step / "out"), start=start)
    assert (step / "out").read_bytes() == b"0\n1\n2\n"


def test_nothing_is_copied_before_the_names_of_the_columns_are_known(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 2, row_format=TextFormat(header=True))
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        ledger.commit(processors.flush({0: b""}))
        early_copy.advance()
        assert left(step) == []
        ledger.commit(processors.flush({1: b"1 2\n"}, schema=("a", "b c")))
        early_copy.advance()
        assert (step / NAME).read_bytes() == b'a "b c"\n1 2\n'
        assemble(
            ledger.commits,
            SharedFolder(step / "parts"),
            str(step / "out"),
            row_format=ledger.row_format,
            schema=ledger.schema,
            start=early_copy.take(),
        )
    assert (step / "out").read_bytes() == b'a "b c"\n1 2\n'


def test_a_step_that_does_not_complete_leaves_nothing(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 2)
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        assert left(step) == []
        ledger.commit(processors.flush({0: b"0\n"}))
        early_copy.advance()
        assert left(step) == [NAME]
    assert left(step) == []


def run_through(early_copy: EarlyCopy) -> None:
    """As its thread does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOOK_SECONDS", 0.0)
        early_copy._copy_until_the_end()


def test_on_trouble_it_is_given_up_and_the_output_written_at_the_end(
    step: Path, processors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(step, 2)
    early_copy = EarlyCopy(ledger, step, str(step / "out"))
    ledger.commit(processors.flush({0: b"0\n"}))
    early_copy.advance()
    ledger.commit(processors.flush({1: b"1\n"}, part="gone"))
    (step / "parts" / "gone").rename(step / "parts" / "kept")
    run_through(early_copy)
    assert early_copy.take() is None and left(step) == []
    (step / "parts" / "kept").rename(step / "parts" / "gone")
    assemble(ledger.commits, SharedFolder(step / "parts"), str(step / "out"), start=None)
    assert (step / "out").read_bytes() == b"0\n1\n"


@pytest.mark.parametrize(
    ("expected", "free", "total", "room"),
    [
        (10 << 30, 36 << 30, 252 << 30, True),  # twice what is expected, and 16 GiB
        (10 << 30, (36 << 30) - 1, 252 << 30, False),
        (10 << 30, 25 << 30, 50 << 30, True),  # a tenth of a smaller disk
        (10 << 30, (25 << 30) - 1, 50 << 30, False),
        (1 << 30, 3 << 30, 5 << 30, True),  # a GiB of a small one
        (1 << 30, (3 << 30) - 1, 5 << 30, False),
        (10 << 20, 1000 << 20, 252 << 30, True),  # a small output on a disk that is nearly full
        ((10 << 20) + 1, 1000 << 20, 252 << 30, False),
        (1, 99, 252 << 30, False),
        (0, 0, 252 << 30, True),
    ],
)
def test_the_disk_keeps_room_for_the_rows_and_for_the_script(
    expected: int, free: int, total: int, room: bool
) -> None:
    assert module.leaves_room(expected, free, total) is room


def test_a_small_disk_keeps_its_room_for_the_rows(
    step: Path, processors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(step, 4)
    early_copy = EarlyCopy(ledger, step, str(step / "out"))
    ledger.commit(processors.flush({0: b"0" * 1000}))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module, "SMALL_SHARE", 0)
    needed = 2 * 7000 + module.SPARE_LEAST  # three more of 1000 in the parts, four in the output
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed))
    assert early_copy.advance()
    ledger.commit(processors.flush({1: b"1" * 1000}))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(50 << 30, 0, needed))
    run_through(early_copy)
    assert early_copy.take() is None and left(step) == []


def test_it_waits_for_no_output_at_a_url(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 1)
    with EarlyCopy(ledger, step, "memory://bucket/out") as early_copy:
        assert early_copy.take() is None


@pytest.mark.parametrize("before", [b"", b"0\n"])
def test_the_end_of_a_step_waits_for_no_more_than_a_piece(
    step: Path, processors: Any, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    """A very large mini-batch under way is forgotten, and those before it are kept."""
    monkeypatch.setattr(module, "COPY_BYTES", 3)
    monkeypatch.setattr(part_reader, "READ_BYTES", 100_000)
    first = 1 if before else 0
    ledger = Ledger.open(step, first + 2)
    early_copy = EarlyCopy(ledger, step, str(step / "out"))
    if before:
        ledger.commit(processors.flush({0: before}))
    ledger.commit(processors.flush({first: b"1" * 300_000, first + 1: b"2\n"}))
    copied = part_reader.PartReader.copy_to

    def ends(self: Any, fd: int) -> Any:
        for size in copied(self, fd):
            if size == 100_000:
                early_copy._ending.set()
            yield size

    monkeypatch.setattr(part_reader.PartReader, "copy_to", ends)
    run_through(early_copy)
    monkeypatch.undo()
    start = early_copy.take()
    assert start is not None and (start.mini_batches, start.taken_bytes) == (first, len(before))
    seen: list[tuple[int, int]] = []
    assemble(
        ledger.commits,
        SharedFolder(step / "parts"),
        str(step / "out"),
        start=start,
        progress=lambda *told: seen.append(told),
    )
    assert (step / "out").read_bytes() == before + b"1" * 300_000 + b"2\n"
    assert seen[-1] == (300_002 + len(before),) * 2


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSPC])
def test_where_it_cannot_have_its_name_the_output_is_written_anew(
    step: Path, processors: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    ledger = Ledger.open(step, 1)
    early_copy = EarlyCopy(ledger, step, str(step / "out"))
    ledger.commit(processors.flush({0: b"0\n"}))
    early_copy.advance()
    replace = os.replace

    def refuse(source: Any, target: Any) -> None:
        if Path(source).name == NAME:
            raise OSError(number, os.strerror(number))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    assemble(ledger.commits, SharedFolder(step / "parts"), str(step / "out"), start=early_copy.take())
    assert (step / "out").read_bytes() == b"0\n" and left(step) == ["out"]


def test_rows_that_are_gone_at_the_end_are_said(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 2)
    early_copy = EarlyCopy(ledger, step, str(step / "out"))
    ledger.commit(processors.flush({0: b"0\n"}))
    early_copy.advance()
    ledger.commit(processors.flush({1: b"1\n"}, part="gone"))
    (step / "parts" / "gone").unlink()
    with pytest.raises(InfrastructureLost, match="Committed rows are missing"):
        assemble(ledger.commits, SharedFolder(step / "parts"), str(step / "out"), start=early_copy.take())
    assert left(step) == []


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_folder_that_hands_its_group_on_gets_a_file_of_its_own(tmp_path: Path, which: str) -> None:
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    assert may_be_moved(tmp_path / "source", tmp_path / "target" / "out", SharedFolder(tmp_path / "parts"))
    (tmp_path / which).chmod(stat.S_ISGID | 0o755)
    assert not may_be_moved(
        tmp_path / "source", tmp_path / "target" / "out", SharedFolder(tmp_path / "parts")
    )
    assert list((tmp_path / "source").iterdir()) == list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EACCES])
def test_what_can_not_be_moved_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Two mounts of one disk, for example."""

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "rename", refuse)
    assert not may_be_moved(tmp_path, tmp_path / "out", SharedFolder(tmp_path / "parts"))
    assert not may_be_moved(tmp_path, tmp_path / "none" / "out", SharedFolder(tmp_path / "parts"))
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_can_not_be_written_leaves_nothing(step: Path, failing_disk: Any) -> None:
    failing_disk(1, errno.ENOSPC)
    before = own_descriptors()
    with pytest.raises(OSError, match="No space"):
        module.begin(step / NAME, header_line(["a", "b"]))
    assert left(step) == [] and not opened_since(before)
