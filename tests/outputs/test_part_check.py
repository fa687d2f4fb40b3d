"""Rows that were changed behind the engine's back: the right bytes come out, or an error; never wrong rows."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace as replaced
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.errors import InfrastructureLost, RowsDamaged
from daskpar.outputs import early_copy as early_copy_module
from daskpar.outputs import part_reader
from daskpar.outputs.assembly import assemble
from daskpar.outputs.commits import Commits
from daskpar.outputs.early_copy import NAME, EarlyCopy
from daskpar.outputs.journal_reader import read_journal
from daskpar.outputs.ledger import Ledger
from daskpar.outputs.part_check import damage, damage_in_words, lost_ranges
from daskpar.rows.shared_folder import OpenPartFile, SharedFolder


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests look themselves."""
    monkeypatch.setattr(early_copy_module, "LOOK_SECONDS", 3600.0)


def flip(path: Path, at: int = 0, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= bit
    with open(path, "r+b") as file:
        file.write(data)


def insert(path: Path, at: int = 0) -> None:
    data = path.read_bytes()
    at %= len(data)
    path.write_bytes(data[:at] + b"x" + data[at:])


def truncate(path: Path, at: int = 0) -> None:
    os.truncate(path, at % path.stat().st_size)


def append(path: Path, at: int = 0) -> None:
    with open(path, "ab") as file:
        file.write(b"more\n")


def remove(path: Path, at: int = 0) -> None:
    path.unlink()


def replace(path: Path, at: int = 0) -> None:
    size = path.stat().st_size
    (new := path.with_suffix(".new")).write_bytes(b"r" * size)
    os.replace(new, path)


def zeros(path: Path, at: int = 0) -> None:
    """A page that never reached the disk."""
    with open(path, "r+b") as file:
        file.seek(at % path.stat().st_size)
        file.write(b"\0")


HARMS: list[Callable[..., None]] = [flip, insert, truncate, append, remove, replace, zeros]

ROWS = {index: f"row {index} of some\n".encode() for index in range(6)}
RIGHT = b"".join(ROWS.values())


def begun(step: Path, processors: Any) -> Ledger:
    """Mini-batches 0, 1, 4 in one part, 2, 3 in another; 5 is missing."""
    ledger = Ledger.open(step, 6)
    ledger.commit(processors.flush({0: ROWS[0], 1: ROWS[1]}, part="a"))
    ledger.commit(processors.flush({2: ROWS[2]}, part="b"))
    ledger.commit(processors.flush({3: ROWS[3]}, part="b"))
    ledger.commit(processors.flush({4: ROWS[4]}, part="a"))
    return ledger


def end(ledger: Ledger, step: Path, processors: Any, start: Any = None, rounds: int = 2) -> int:
    """As a step does: run what is missing, put together, again where rows are damaged; how many ran again."""
    again = 0
    for part in range(rounds):
        for first, stop in ledger.commits.missing():
            for index in range(first, stop):
                ledger.commit(processors.flush({index: ROWS[index]}, part=f"later-{part}"))
        try:
            assemble(ledger.commits, ledger.store, str(step / "out"), start=start)
            return again
        except RowsDamaged:
            start = None
            again += ledger.revoke_damaged().count
    raise AssertionError("still damaged")


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize(
    "moment", ["before joining", "before the early copy", "after the early copy", "resume"]
)
def test_rows_damaged_at_any_moment_are_run_again(
    step: Path, processors: Any, harm: Callable[..., None], name: str, moment: str
) -> None:
    ledger = begun(step, processors)
    part = step / "parts" / name
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
        if moment == "after the early copy":
            assert early_copy.advance()
        if moment == "resume":
            ledger.close()
        harm(part)
        if moment == "before the early copy":
            try:
                early_copy.advance()
            except RowsDamaged:
                early_copy._give_up()
        if moment == "resume":
            ledger = Ledger.open(step, 6)
        again = end(ledger, step, processors, early_copy.take())
    assert (step / "out").read_bytes() == RIGHT
    if moment == "before joining":
        assert (again > 0) == (harm is not append)
    if moment == "after the early copy":
        assert again == 0, "what is in the copy was checked on its way there"
    ledger.close()
    resumed = Ledger.open(step, 6)
    # Parts that were damaged after their rows had been copied stay so: a resume would miss those rows.
    assert resumed.commits.complete or moment == "after the early copy"
    resumed.close()


def test_only_what_is_damaged_is_run_again(step: Path, processors: Any) -> None:
    ledger = begun(step, processors)
    ledger.commit(processors.flush({5: ROWS[5]}, part="c"))
    flip(step / "parts" / "b", len(ROWS[2]))
    found = ledger.revoke_damaged()
    assert (found.ranges, found.count, found.places) == ([(3, 4)], 1, (str(step / "parts" / "b"),))
    assert ledger.commits.missing() == [(3, 4)]
    ledger.close()
    again = Ledger.open(step, 6)
    assert again.commits.missing() == [(3, 4)]
    again.close()


def test_words() -> None:
    from daskpar.outputs.part_check import Damage

    said = damage_in_words(Damage([(0, 2), (4, 5)], ("/x/a", "/x/b")))
    assert "3 committed mini-batches (0-1, 4)" in said and "/x/a, /x/b" in said
    many = damage_in_words(Damage([(2 * i, 2 * i + 1) for i in range(9)], tuple("abcdef")))
    assert "(0, 2, 4, 6, 8, ...)" in many and "a, b, c, ..." in many
    assert "changed a, b, c, or" in damage_in_words(Damage([(0, 1)], tuple("abc")))


@pytest.mark.parametrize(
    ("boots", "now", "journal_damaged", "doubtful"),
    [
        ("xxx", "x", False, []),  # this boot has written them: they are as they were
        ("xxx", "y", False, [0, 1, 2]),
        ("xyy", "z", False, [1, 2]),  # the session that began boot y has checked what was before it
        ("xyz", "w", False, [2]),
        ("yxy", "z", False, [2]),
        ("xyy", "y", False, []),
        ("xxx", "x", True, [0, 1, 2]),
    ],
)
def test_rows_of_sessions_that_a_power_cut_may_have_changed_are_read_again(
    step: Path,
    processors: Any,
    monkeypatch: pytest.MonkeyPatch,
    boots: str,
    now: str,
    journal_damaged: bool,
    doubtful: list[int],
) -> None:
    for session in range(3):
        ledger = Ledger.open(step, 6)
        ledger.commit(processors.flush({session: ROWS[session]}, part="a"))
        ledger.close()
    contents = read_journal(step / "journal")
    commits, store = Commits.load(6, contents), ledger.store
    for session in range(3):
        flip(step / "parts" / "a", sum(len(ROWS[before]) for before in range(session)))
    contents = replaced(
        contents, boots=tuple(boots), damaged=((0, 1),) if journal_damaged else contents.damaged
    )
    monkeypatch.setattr("daskpar.outputs.part_check.same_boot", lambda boot: boot == now)
    found = lost_ranges(contents, commits, store)
    assert [index for start, stop in found for index in range(start, stop)] == doubtful


def test_a_part_that_ends_while_it_is_read_is_damage(
    step: Path, processors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = begun(step, processors)
    monkeypatch.setattr(OpenPartFile, "read", lambda self, offset, length: b"")
    assert damage(ledger.commits, ledger.store).ranges == [(0, 5)]
    ledger.close()


def test_a_bad_sector_is_damage_and_a_disk_that_does_not_answer_is_none(
    step: Path, processors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = begun(step, processors)
    ledger.commit(processors.flush({5: ROWS[5]}, part="c"))
    number, read = errno.EIO, OpenPartFile.read

    def failing(self: OpenPartFile, offset: int, length: int) -> bytes:
        if offset == len(ROWS[2]):
            raise OSError(number, os.strerror(number))
        return read(self, offset, length)

    monkeypatch.setattr(OpenPartFile, "read", failing)
    with pytest.raises(RowsDamaged):
        assemble(ledger.commits, ledger.store, str(step / "out"))
    assert damage(ledger.commits, ledger.store).ranges == [(3, 4)]
    number = errno.ESTALE
    with pytest.raises(Exception, match="Stale") as raised:
        assemble(ledger.commits, ledger.store, str(step / "out"))
    assert not isinstance(raised.value, RowsDamaged)
    with pytest.raises(InfrastructureLost, match="Committed rows can't be read: the disk fails"):
        damage(ledger.commits, ledger.store)
    ledger.close()


def test_an_early_copy_that_somebody_else_wrote_to_is_not_used(step: Path, processors: Any) -> None:
    for harm in (flip, insert, truncate, append, zeros):
        processors.written.clear()
        for left in step.iterdir():
            if left.is_file():
                left.unlink()
        SharedFolder(step / "parts").remove()
        ledger = begun(step, processors)
        with EarlyCopy(ledger, step, str(step / "out")) as early_copy:
            assert early_copy.advance()
            os.utime(step / NAME, ns=(0, 0))  # the clock of a file ticks every few milliseconds only
            early_copy._start.written()  # type: ignore[union-attr]
            harm(step / NAME)
            assert end(ledger, step, processors, early_copy.take()) == 0
        assert (step / "out").read_bytes() == RIGHT, harm.__name__
        ledger.close()


SIZES = st.lists(st.sampled_from([0, 1, 30, 1000]), min_size=8, max_size=8)


@given(
    sizes=SIZES,
    order=st.permutations(range(8)),
    cuts=st.sets(st.integers(1, 7)),
    parts=st.integers(1, 3),
    harms=st.lists(
        st.tuples(st.sampled_from(HARMS), st.integers(0, 2), st.integers(0, 10_000), st.integers(0, 9)),
        max_size=3,
    ),
    looks=st.lists(st.integers(0, 8), max_size=4),
    merged=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_either_the_right_bytes_or_an_error(
    tmp_path_factory: pytest.TempPathFactory,
    processors_in: Any,
    sizes: list[int],
    order: list[int],
    cuts: set[int],
    parts: int,
    harms: list[tuple[Callable[..., None], int, int, int]],
    looks: list[int],
    merged: bool,
) -> None:
    """Random flushes, whose mini-batches come in any order; harms and looks of the early copy between them."""
    step = tmp_path_factory.mktemp("step")
    processors, ledger = processors_in(step), Ledger.open(step, 8)
    right = b"".join(bytes([65 + index]) * size for index, size in enumerate(sizes))
    edges = [0, *sorted(cuts), 8]
    flushes = [order[a:b] for a, b in pairwise(edges)]

    def do_harm(place: int) -> None:
        for harm, part, at, when in harms:
            path = step / "parts" / f"p{part}"
            if when == place and path.exists() and path.stat().st_size:
                harm(path, at)
                # As the writer sees it: a file that is not as it was left is not written to any more.
                processors.written.pop(path.name, None)
                renamed[part] = renamed.get(part, 0) + 1

    renamed: dict[int, int] = {}
    with EarlyCopy(ledger, step, str(step / "out")) as early_copy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_reader, "READ_BYTES", 16)
        copying = True
        for place, indices in enumerate(flushes):
            name = f"p{place % parts}" + f"-{renamed.get(place % parts, 0)}" * bool(
                renamed.get(place % parts)
            )
            ledger.commit(processors.flush({i: bytes([65 + i]) * sizes[i] for i in indices}, part=name))
            do_harm(place)
            for _ in range(looks.count(place)):
                try:
                    copying and early_copy.advance()
                except RowsDamaged:
                    early_copy._give_up()
                    copying = False
        do_harm(9)
        try:
            assemble(ledger.commits, ledger.store, str(step / "out"), start=early_copy.take())
        except RowsDamaged:
            assert not (step / "out").exists()
            assert ledger.revoke_damaged().count
            for first, stop in ledger.commits.missing():
                for i in range(first, stop):
                    ledger.commit(processors.flush({i: bytes([65 + i]) * sizes[i]}, part="again"))
            assemble(ledger.commits, ledger.store, str(step / "out"))
    ledger.close()
    assert (step / "out").read_bytes() == right
    reader = part_reader.PartReader(
        ledger.commits.part_ranges(merged=merged), ledger.commits.part_names, ledger.store
    )
    try:
        assert b"".join(reader.ranges()) == right
    except RowsDamaged:
        assert harms
    finally:
        reader.close()
