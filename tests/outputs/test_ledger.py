"""Commits across driver processes: whatever was refused, torn or lost, resuming ends with the rows of an undisturbed run."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.batches.plan_writer import write_plan
from daskpar.errors import InfrastructureLost, JobFailed, RunDirectoryError
from daskpar.outputs import part_check
from daskpar.outputs.assembly import assemble
from daskpar.outputs.ledger import Ledger
from daskpar.rows.shared_folder import SharedFolder
from daskpar.rows.text_format import TextFormat


def rows(index: int) -> bytes:
    """The rows of a mini-batch: of any length, none included."""
    return b"".join(b"%d-%d\n" % (index, i) for i in range(index * 7 % 4))


def undisturbed(count: int) -> bytes:
    return b"".join(rows(i) for i in range(count))


def output(ledger: Ledger, step: Path) -> bytes:
    assemble(ledger.commits, SharedFolder(step / "parts"), str(step / "out.txt"))
    return (step / "out.txt").read_bytes()


def test_a_later_process_goes_on_where_the_last_one_stopped(step: Path, processors: Any) -> None:
    first = Ledger.open(step, 6, step="s")
    first.commit(processors.flush({3: rows(3), 4: rows(4)}, part="b"))
    first.commit(processors.flush({0: rows(0)}))
    first.close()
    second = Ledger.open(step, 6)
    assert second.already_done == 3 and second.commits.missing() == [(1, 3), (5, 6)] and second.notes == ()
    second.commit(processors.flush({1: rows(1), 2: rows(2), 5: rows(5)}, part="c"))
    assert output(second, step) == undisturbed(6)
    second.close()


def test_a_late_repeat_is_refused_and_its_rows_are_not_used(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 3)
    ledger.commit(processors.flush({0: b"first\n"}))
    assert len(ledger.commit(processors.flush({0: b"late\n"}, part="b"))) == 0
    taken = ledger.commit(processors.flush({0: b"late\n", 1: b"one\n"}, part="b"))
    assert taken["index"].tolist() == [1]
    ledger.close()
    again = Ledger.open(step, 3)
    assert output(again, step) == b"first\none\n"
    again.close()


def test_failed_ones_keep_their_rows_until_a_resume_replaces_them(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 3)
    ledger.commit(processors.flush({0: b"0\n", 1: b"half of 1\n", 2: b"2\n"}, failed=[1]))
    ledger.close()
    kept = Ledger.open(step, 3)
    assert kept.commits.missing() == [] and [f.message for f in kept.earlier_failures] == ["no luck with 1"]
    assert output(kept, step) == b"0\nhalf of 1\n2\n"
    kept.close()
    retried = Ledger.open(step, 3, retry_failed=True)
    assert (
        retried.commits.missing() == [(1, 2)] and retried.earlier_failures == () and retried.already_done == 2
    )
    retried.commit(processors.flush({1: b"all of 1\n"}, part="b"))
    retried.close()
    last = Ledger.open(step, 3, retry_failed=True)
    assert last.commits.missing() == [] and output(last, step) == b"0\nall of 1\n2\n"
    assert last.commits.counts().failed == 0 and last.commits.counts().failed_items == 0
    last.close()


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_random_orders_failures_kills_and_tears_give_the_plain_concatenation(
    processors_in: Any, seed: int, count: int
) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        step = Path(name)
        processors = processors_in(step)
        for process in range(50):
            ledger = Ledger.open(step, count, retry_failed=True)
            for i, (start, stop) in enumerate(_some_blocks(ledger.commits.missing(), chance)):
                batch = {index: rows(index) for index in range(start, stop)}
                bad = [index for index in batch if chance.random() < 0.2]
                batch |= {index: rows(index)[:4] for index in bad}
                message = processors.flush(
                    batch, part=f"p{process}-{i % 3}", failed=bad[::2], retried=bad[1::2]
                )
                ledger.commit(message)
                if chance.random() < 0.2:
                    assert len(ledger.commit(message)) == len(bad[1::2])  # only failed tries may come again
            finished = ledger.commits.complete and not ledger.commits.failed()
            if finished:
                break
            ledger.close()
            if chance.random() < 0.3:
                size = (step / "journal").stat().st_size
                os.truncate(step / "journal", size - chance.randrange(min(size, 200)))
            if chance.random() < 0.2:
                part = chance.choice(sorted((step / "parts").iterdir()) or [step / "journal"])
                os.truncate(part, part.stat().st_size - chance.randrange(min(part.stat().st_size + 1, 20)))
                processors.written[part.name] = part.stat().st_size
        assert finished and output(ledger, step) == undisturbed(count)
        assert ledger.commits.counts().succeeded == count
        ledger.close()


def _some_blocks(missing: list[tuple[int, int]], chance: random.Random) -> list[tuple[int, int]]:
    blocks = []
    for start, stop in missing:
        cuts = sorted({start, stop, *(chance.randint(start, stop) for _ in range(3))})
        blocks += itertools.pairwise(cuts)
    chance.shuffle(blocks)
    return blocks[: chance.randint(1, len(blocks))] if blocks else []


def test_rows_that_are_gone_are_run_again(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 4)
    ledger.commit(processors.flush({0: b"0\n", 1: b"1\n"}))
    ledger.commit(processors.flush({2: b"2\n", 3: b""}))
    ledger.close()
    os.truncate(step / "parts" / "a.rows", 5)
    again = Ledger.open(step, 4)
    assert again.commits.missing() == [(2, 3)]  # 3 had no rows to lose
    assert "1 committed mini-batches did not survive" in again.notes[0]
    again.close()
    assert Ledger.open(step, 4).notes == ()


def test_after_a_reboot_rows_are_checked_byte_by_byte(
    step: Path, processors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(step, 2)
    ledger.commit(processors.flush({0: b"zero\n"}))
    ledger.commit(processors.flush({1: b"one\n"}))
    ledger.close()
    (step / "parts" / "a.rows").write_bytes(b"zero\n\0\0\0\0")
    same = Ledger.open(step, 2)
    assert same.commits.missing() == []  # no reboot: the length tells
    same.close()
    monkeypatch.setattr(part_check, "same_boot", lambda earlier: False)
    after = Ledger.open(step, 2)
    assert after.commits.missing() == [(1, 2)]
    after.commit(processors.flush({1: b"one\n"}, part="b"))
    assert output(after, step) == b"zero\none\n"
    after.close()


def test_a_missing_part_file_costs_its_rows_only(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 3)
    ledger.commit(processors.flush({0: b"0\n"}, part="x"))
    ledger.commit(processors.flush({1: b"1\n", 2: b"2\n"}, part="y"))
    ledger.close()
    (step / "parts" / "x").unlink()
    again = Ledger.open(step, 3)
    assert again.commits.missing() == [(0, 1)]
    again.close()


def test_damage_in_the_middle_keeps_what_is_whole_on_both_sides(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 3)
    sizes = []
    for index in range(3):
        ledger.commit(processors.flush({index: rows(index + 1)}, part="one"))
        sizes.append((step / "journal").stat().st_size)
    ledger.close()
    content = bytearray((step / "journal").read_bytes())
    content[sizes[1] - 10] ^= 4
    (step / "journal").write_bytes(content)
    again = Ledger.open(step, 3)
    assert again.commits.missing() == [(1, 2)] and "damaged" in again.notes[0]
    assert (step / "journal.damaged-1").read_bytes() == content
    again.close()


def test_a_journal_of_garbage_is_kept_beside_a_new_one(step: Path) -> None:
    (step / "journal").write_bytes(b"nothing of ours" * 10)
    ledger = Ledger.open(step, 3)
    assert ledger.commits.missing() == [(0, 3)] and "held nothing whole" in ledger.notes[0]
    ledger.close()
    assert (step / "journal.damaged-1").read_bytes() == b"nothing of ours" * 10


def test_another_plan_is_refused(step: Path) -> None:
    Ledger.open(step, 3).close()
    with pytest.raises(RunDirectoryError, match="3 mini-batches, this one has 4"):
        Ledger.open(step, 4)


@pytest.mark.parametrize("with_header", [True, False])
def test_rows_whose_column_names_were_damaged_are_run_again_for_a_header(
    step: Path, processors: Any, with_header: bool
) -> None:
    ledger = Ledger.open(step, 3)
    ledger.commit(processors.flush({0: b"1 2\n"}, schema=("apple", "b")))
    ledger.commit(processors.flush({1: b""}))
    ledger.close()
    path = step / "journal"
    path.write_bytes(path.read_bytes().replace(b"apple", b"a\0\0\0e"))
    again = Ledger.open(step, 3, row_format=TextFormat(header=with_header))
    assert again.commits.missing() == ([(0, 1), (2, 3)] if with_header else [(2, 3)])
    assert any("column names of 1 committed" in note for note in again.notes) == with_header
    again.close()
    last = Ledger.open(step, 3, row_format=TextFormat(header=with_header))
    assert last.commits.missing() == again.commits.missing() and last.notes == ()
    last.close()


def test_other_columns_under_one_header_name_both(step: Path, processors: Any) -> None:
    ledger = Ledger.open(step, 3)
    ledger.commit(processors.flush({0: b"1 2\n"}, schema=("a", "b")))
    ledger.close()
    again = Ledger.open(step, 3)
    assert again.schema == ("a", "b")
    write_plan(step / "plan", kind="files", paths=["/in/a/x", "/in/b/x", "/in/c"], origin="/in")
    names = r"Mini-batch 1 .*\['b', 'a'\].*\['a', 'b'\].*Mini-batch 1 holds b/x\."
    with pytest.raises(JobFailed, match=names):
        again.commit(processors.flush({1: b"2 1\n"}, schema=("b", "a")))
    assert again.commits.missing() == [(1, 3)]
    again.close()


def test_a_full_disk_commits_nothing_and_the_resume_goes_on(
    step: Path, processors: Any, failing_disk: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(step, 3)
    ledger.commit(processors.flush({0: b"0\n"}))
    with monkeypatch.context():
        failing_disk(30, errno.ENOSPC)
        with pytest.raises(InfrastructureLost, match="disk is full"):
            ledger.commit(processors.flush({1: b"1\n"}))
        assert ledger.commits.missing() == [(1, 3)]
        with pytest.raises(InfrastructureLost):
            ledger.close()
        monkeypatch.undo()
    again = Ledger.open(step, 3)
    assert again.commits.missing() == [(1, 3)] and again.notes == ()
    again.close()


def test_a_folder_can_be_moved_between_processes(step: Path, processors: Any, tmp_path: Path) -> None:
    ledger = Ledger.open(step, 1)
    message = processors.flush({0: b"0\n"})
    ledger.commit(replace(message, token="another"))
    ledger.close()
    shutil.move(step, tmp_path / "elsewhere")
    moved = Ledger.open(tmp_path / "elsewhere", 1)
    assert output(moved, tmp_path / "elsewhere") == b"0\n"
    moved.close()
