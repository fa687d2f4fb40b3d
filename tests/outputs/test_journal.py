"""The journal: what is appended is read back, whatever a crash, a bad disk or a second process did to the file's end or middle."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.batches.records import RECORD
from daskpar.errors import InfrastructureLost, RunDirectoryError
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal import Journal
from daskpar.outputs.journal_frames import FLUSH_PACK, HEAD, PART_PACK, FrameKind, find_frames, frame
from daskpar.outputs.journal_reader import JournalContents, keep_damaged, read_journal
from daskpar.processor.protocol import Flushed
from daskpar.results import Failure
from daskpar.rows.json_lines_format import JsonLinesFormat

COUNT = 40


def flushed(start: int, stop: int, part: str = "a") -> Flushed:
    made = np.zeros(stop - start, RECORD)
    made["index"], made["status"], made["final"] = np.arange(start, stop), 1, 1
    made["offset"], made["length"] = np.arange(start, stop) * 7, 7
    return Flushed(
        block=1,
        token="t",
        part=part,
        offset=start * 7,
        length=(stop - start) * 7,
        crc=5,
        records=made.tobytes(),
    )


def write(path: Path, sizes: list[int]) -> list[int]:
    """Flushes of these sizes, one after the other; returns the file's length after the header and after each."""
    journal = Journal.create(path, step="s", mini_batches=COUNT)
    ends, start = [os.path.getsize(path)], 0
    for i, size in enumerate(sizes):
        journal.append(flushed(start, start + size, part=f"part{i % 2}"))
        start += size
        ends.append(os.path.getsize(path))
    journal.close()
    return ends


def done(path: Path) -> int:
    """Mini-batches that the journal says are done: always the first so many here."""
    commits = Commits.load(COUNT, read_journal(path))
    number = commits.counts().done
    assert commits.missing() == ([(number, COUNT)] if number < COUNT else [])
    return number


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    write(tmp_path / "journal", [3, 1, 5])
    contents = read_journal(tmp_path / "journal")
    assert contents.header["step"] == "s" and contents.header["mini_batches"] == COUNT
    assert contents.parts == {1: "part0", 2: "part1"}
    assert contents.records(0, 3)["index"].tolist() == list(range(9))
    assert (contents.torn_bytes, contents.damaged) == (0, ())


@settings(max_examples=60)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.data())
def test_any_prefix_resumes_with_all_that_is_whole(sizes: list[int], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal"
        ends = write(path, sizes)
        cut = ends[0] + data.draw(st.integers(0, ends[-1] - ends[0]), label="cut")
        os.truncate(path, cut)
        expected = sum(sizes[: sum(end <= cut for end in ends[1:])])
        assert done(path) == expected
        journal = Journal.reopen(path, read_journal(path))
        journal.append(flushed(expected, expected + 1, part="again"))
        journal.close()
        contents = read_journal(path)
        assert done(path) == expected + 1 and contents.torn_bytes == 0 and not contents.damaged


@settings(max_examples=60)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=8), st.binary(max_size=300), st.data())
def test_a_torn_or_garbled_tail_costs_only_itself(
    sizes: list[int], garbage: bytes, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal"
        ends = write(path, sizes)
        keep = data.draw(st.integers(0, len(sizes)), label="whole flushes")
        with open(path, "r+b") as file:
            room = ends[keep + 1] - ends[keep] - 1 if keep < len(sizes) else 0
            file.truncate(ends[keep] + data.draw(st.integers(0, room), label="kept of the next"))
            file.seek(0, os.SEEK_END)
            file.write(data.draw(st.sampled_from([garbage, b"\0" * len(garbage)]), label="tail"))
        assert done(path) == sum(sizes[:keep])
        Journal.reopen(path, read_journal(path)).close()
        assert done(path) == sum(sizes[:keep]) and read_journal(path).torn_bytes == 0


@settings(max_examples=80)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=8), st.data())
def test_a_flipped_bit_costs_only_its_own_frame(sizes: list[int], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal"
        ends = write(path, sizes)
        where = data.draw(st.integers(0, 9999), label="byte") % ends[-1]
        content = bytearray(path.read_bytes())
        content[where] ^= 1 << data.draw(st.integers(0, 7), label="bit")
        path.write_bytes(content)
        hit = next(i for i, end in enumerate(ends) if where < end) - 1
        contents = read_journal(path)
        indices = set(Commits.load(COUNT, contents).status.nonzero()[0].tolist())
        whole = [set(range(sum(sizes[:i]), sum(sizes[: i + 1]))) for i in range(len(sizes))]
        # A frame that names a part file takes the flushes into that file with it: their rows can't be found.
        lost = {
            i
            for i in range(len(sizes))
            if i == hit or (hit in (0, 1) and i % 2 == hit and where < _part_frame_end(ends, hit))
        }
        assert indices == set().union(*(whole[i] for i in range(len(sizes)) if i not in lost))
        assert contents.damaged or contents.torn_bytes
        before = path.read_bytes()
        Journal.reopen(path, contents).close()
        again = read_journal(path)
        assert set(Commits.load(COUNT, again).status.nonzero()[0].tolist()) == indices and not again.damaged
        if contents.damaged:
            assert (Path(name) / "journal.damaged-1").read_bytes() == before


OPERATIONS = st.one_of(
    st.tuples(st.just("flush"), st.integers(0, COUNT - 4), st.integers(1, 4), st.sampled_from(["a", "b"])),
    st.tuples(st.just("revoke"), st.integers(0, COUNT - 6), st.integers(1, 6)),
    st.tuples(st.just("columns"), st.lists(st.text(max_size=3), min_size=1, max_size=3)),
)


@settings(max_examples=100)
@given(st.lists(OPERATIONS, min_size=2, max_size=10), st.data())
def test_damage_costs_only_the_frames_that_it_hits_whatever_they_say(
    operations: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    """Frames of every kind, a stretch of the file overwritten: what is read is what the other frames say, in their order."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal"
        journal = Journal.create(path, step="s", mini_batches=COUNT)
        for kind, *values in operations:
            if kind == "flush":
                start, size, part = values
                journal.append(flushed(start, start + size, part))
            elif kind == "revoke":
                journal.close()
                journal = Journal.reopen(path, read_journal(path), [(values[0], values[0] + values[1])])
            else:
                journal.add_schema(values[0])
        journal.close()
        content = path.read_bytes()
        frames = find_frames(content)
        first = data.draw(st.integers(0, 9999), label="first byte") % len(
            content
        )  # whose length is not always the same
        stop = min(len(content), first + data.draw(st.sampled_from([1, 20, 200]), label="bytes"))
        path.write_bytes(
            content[:first] + bytes(byte ^ 0xFF for byte in content[first:stop]) + content[stop:]
        )
        spans = [
            (at - HEAD.size, at, at + length)
            for at, length in zip(frames.starts.tolist(), frames.lengths.tolist(), strict=True)
        ]
        done, columns = said([content[at:end] for begin, at, end in spans if stop <= begin or end <= first])
        for contents in (read_journal(path), reopened(path)):
            commits = Commits.load(COUNT, contents)
            assert {
                i: commits.part_names[commits.flushes["part"][commits._flush[i]]]
                for i in range(COUNT)
                if commits.is_final(i)
            } == done
            assert contents.schema == columns


def said(payloads: list[bytes]) -> tuple[dict[int, str], tuple[str, ...] | None]:
    """Mini-batch -> part file, and the columns, that these payloads of a journal say, one after the other."""
    names = {
        PART_PACK.unpack_from(p)[1]: p[PART_PACK.size :].decode() for p in payloads if p[0] == FrameKind.PART
    }
    done: dict[int, str] = {}
    columns = None
    for payload in payloads:
        if payload[0] == FrameKind.FLUSH and (part := FLUSH_PACK.unpack_from(payload)[1]) in names:
            done.update(
                dict.fromkeys(
                    np.frombuffer(payload[FLUSH_PACK.size :], RECORD)["index"].tolist(), names[part]
                )
            )
        elif payload[0] == FrameKind.REVOKED:
            ((start, stop),) = np.frombuffer(payload[1:], "<i8").reshape(-1, 2).tolist()
            done = {index: part for index, part in done.items() if not start <= index < stop}
        elif payload[0] == FrameKind.SCHEMA:
            columns = tuple(json.loads(payload[1:]))
    return done, columns


def reopened(path: Path) -> JournalContents:
    """What is read after the damaged journal was opened to go on, where anything was whole."""
    contents = read_journal(path)
    if contents.found:
        Journal.reopen(path, contents).close()
        contents = read_journal(path)
        assert not contents.damaged and not contents.torn_bytes
    return contents


def _part_frame_end(ends: list[int], flush: int) -> int:
    return ends[flush] + len(frame(b"\x03" + b"\0" * 4 + b"part0"))


def test_a_torn_header_is_a_journal_that_says_nothing(tmp_path: Path) -> None:
    ends = write(tmp_path / "journal", [1])
    for size in (0, 3, HEAD.size, ends[0] - 1):
        os.truncate(tmp_path / "journal", size)
        contents = read_journal(tmp_path / "journal")
        assert not contents.found and contents.torn_bytes == size


def test_a_missing_journal_says_nothing(tmp_path: Path) -> None:
    assert not read_journal(tmp_path / "none").found


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(frame(bytes([FrameKind.HEADER]) + b'{"format": 99}'))
    with pytest.raises(RunDirectoryError, match="newer version"):
        read_journal(path)


def test_only_accepted_records_are_kept(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "journal", step="s", mini_batches=COUNT)
    message = flushed(0, 3)
    failures = tuple(Failure(index=i, reason=1, message=f"m{i}", final=True) for i in (0, 1))
    journal.append(Flushed(**{**vars(message), "failures": failures}), np.array([True, False, True]))
    journal.close()
    contents = read_journal(tmp_path / "journal")
    assert contents.records(0, 1)["index"].tolist() == [0, 2]
    assert [failure.message for failure in contents.failures()] == ["m0"]


def test_the_last_final_record_holds_and_revoked_ones_do_not(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal.create(path, step="s", mini_batches=COUNT)
    journal.append(flushed(0, 4))
    journal.close()
    journal = Journal.reopen(path, read_journal(path), [(1, 3)])
    journal.append(flushed(2, 3, part="b"))
    journal.add_schema(("x", "y z"))
    journal.close()
    contents = read_journal(path)
    commits = Commits.load(COUNT, contents)
    assert commits.missing() == [(1, 2), (4, COUNT)] and contents.schema == ("x", "y z")
    (found,) = commits.part_ranges()
    assert [commits.part_names[n] for n in found.parts.tolist()] == ["a", "b", "a"]


def test_long_texts_are_cut_and_keep_their_end(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "journal", step="s", mini_batches=COUNT)
    failure = Failure(index=0, reason=1, message="m", trace="a" * 20_000 + "the end", final=True)
    journal.append(Flushed(**{**vars(flushed(0, 1)), "failures": (failure,)}))
    journal.close()
    (kept,) = read_journal(tmp_path / "journal").failures()
    assert len(kept.trace) < 9000 and kept.trace.endswith("the end")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("room", [0, 5, 100])
def test_a_disk_that_says_no_leaves_a_valid_journal(
    tmp_path: Path, failing_disk: Callable[[int, int], None], number: int, room: int
) -> None:
    path = tmp_path / "journal"
    journal = Journal.create(path, step="s", mini_batches=COUNT)
    journal.append(flushed(0, 2))
    size = path.stat().st_size
    failing_disk(room, number)
    with pytest.raises(InfrastructureLost, match="resume"):
        journal.append(flushed(2, 9))
    with pytest.raises(InfrastructureLost):
        journal.append(flushed(9, 10))
    with pytest.raises(InfrastructureLost):
        journal.close()
    assert path.stat().st_size == size and done(path) == 2


def test_a_file_size_limit_leaves_a_valid_journal(tmp_path: Path) -> None:
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_journal as t
from daskpar.errors import InfrastructureLost
journal = t.Journal.create(Path({str(tmp_path / "journal")!r}), step="s", mini_batches=t.COUNT)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    for i in range(t.COUNT):
        journal.append(t.flushed(i, i + 1))
except InfrastructureLost as error:
    print(i, error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    number, _, text = said.partition(" ")
    assert "file-size limit" in text
    assert done(tmp_path / "journal") == int(number) > 3
    assert read_journal(tmp_path / "journal").torn_bytes == 0
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_failing_sync_is_told_at_the_next_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import daskpar.outputs.journal as module

    def no(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "SYNC_SECONDS", 0.001)
    monkeypatch.setattr(module, "_sync", no)
    journal = Journal.create(tmp_path / "journal", step="s", mini_batches=COUNT)
    journal.append(flushed(0, 1))
    journal._syncer.join(10)
    with pytest.raises(InfrastructureLost, match="the disk fails"):
        journal.append(flushed(1, 2))
    with pytest.raises(InfrastructureLost):
        journal.close()


def test_closing_twice_is_fine_and_appending_after_it_is_not(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "journal", step="s", mini_batches=COUNT)
    journal.close()
    journal.close()
    with pytest.raises(InfrastructureLost, match="closed"):
        journal.append(flushed(0, 1))


def test_a_long_journal_is_mapped_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    write(path, [3, 1, 5])
    monkeypatch.setattr("daskpar.outputs.journal_reader._READ_WHOLE_BYTES", 0)
    assert done(path) == 9
    Journal.reopen(path, read_journal(path)).close()
    assert done(path) == 9


def test_the_bytes_of_a_journal_are_those_that_earlier_versions_wrote() -> None:
    """Journals outlive the version that wrote them: these numbers must never change."""
    assert {kind.name: kind.value for kind in FrameKind} == {
        "HEADER": 1,
        "SESSION": 2,
        "PART": 3,
        "FLUSH": 4,
        "REVOKED": 5,
        "SCHEMA": 6,
        "PIECE": 7,
    }
    assert frame(b"\x06[]").hex() == "df9ab7fe03000000760c59b7065b5d"
    assert PART_PACK.pack(FrameKind.PART, 258).hex() == "0302010000"
    assert FLUSH_PACK.pack(4, 1, 2, 3, 4, 5, 6).hex() == "04" + "01000000" + "02" + 7 * "00" + "03" + 7 * (
        "00"
    ) + "".join(f"0{n}000000" for n in (4, 5, 6))


def test_each_flush_belongs_to_the_driver_process_that_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, [1, 1])
    for index in (2, 3):
        journal = Journal.reopen(path, read_journal(path))
        journal.append(flushed(index, index + 1))
        journal.close()
    contents = read_journal(path)
    assert contents.sessions.tolist() == [0, 0, 1, 2] and len(contents.boots) == 3


def test_the_end_of_a_piece_is_read_back_with_the_flushes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, [1, 1])
    journal = Journal.reopen(path, read_journal(path))
    journal.add_piece({"index": 2, "failed": True})
    journal.append(flushed(2, 3))
    journal.add_piece({"index": 3})
    journal.close()
    assert read_journal(path).pieces == ((2, {"index": 2, "failed": True}), (3, {"index": 3}))


def test_a_frame_of_a_kind_that_is_not_known_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, [2])
    with open(path, "ab") as file:
        file.write(frame(bytes([max(FrameKind) + 1]) + b'["a"]'))
    contents = read_journal(path)
    assert (done(path), contents.schema, contents.damaged) == (2, None, ())


@pytest.mark.parametrize("junk", [b"", b"\0", b"\xdf", b"\xdf\x9a\xb7\xfe", b"\xdf\x9a\xb7\xfe" * 3])
def test_bytes_between_frames_cost_no_frame(tmp_path: Path, junk: bytes) -> None:
    first, second = frame(b"\x02{}"), frame(b"\x02{ }")
    frames = find_frames(first + junk + second)
    assert frames.starts.tolist() == [HEAD.size, len(first) + len(junk) + HEAD.size]
    assert frames.stop == len(first) + len(junk) + len(second)
    assert frames.damaged == (((len(first), len(first) + len(junk)),) if junk else ())


@pytest.mark.parametrize("at_once", [1, 100])
def test_the_number_of_mini_batches_is_that_of_the_plan_or_what_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("daskpar.outputs.journal_reader.BATCH_RECORDS", at_once)
    path = tmp_path / "journal"
    ends = write(path, [3, 2])
    assert read_journal(path).planned == COUNT
    whole = path.read_bytes()
    path.write_bytes(b"x" * ends[0] + whole[ends[0] :])
    contents = read_journal(path)
    assert (contents.header, contents.planned) == ({}, 5)


def test_a_number_of_a_part_is_never_used_again(tmp_path: Path) -> None:
    """Neither that of a named part without a flush, nor that of a flush whose part's name is lost."""
    path = tmp_path / "journal"
    assert read_journal(path).next_part == 1
    write(path, [1])
    assert read_journal(path).next_part == 2
    with open(path, "ab") as file:
        file.write(frame(PART_PACK.pack(FrameKind.PART, 7) + b"unused"))
    assert read_journal(path).next_part == 8
    with open(path, "ab") as file:
        file.write(frame(FLUSH_PACK.pack(FrameKind.FLUSH, 9, 0, 0, 0, 0, 0)))
    assert read_journal(path).next_part == 10


def test_records_come_in_batches_that_hold_them_all_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    write(path, [3, 1, 5, 2, 2])
    contents = read_journal(path)
    for size, expected in [(1, [1] * 5), (4, [2, 1, 2]), (6, [2, 1, 2]), (7, [2, 2, 1]), (100, [5])]:
        monkeypatch.setattr("daskpar.outputs.journal_reader.BATCH_RECORDS", size)
        batches = list(contents.batches())
        assert [last - first for first, last, _ in batches] == expected, size
        assert np.concatenate([found["index"] for _, _, found in batches]).tolist() == list(range(13))
    assert [found["index"].tolist() for _, _, found in contents.batches(1, 3)] == [[3, 4, 5, 6, 7, 8]]


@pytest.mark.parametrize("links", [True, False])
def test_a_damaged_journal_is_kept_under_a_name_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def refused(*_: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "no hard links")

        monkeypatch.setattr(os, "link", refused)
    for number in (1, 2):
        (tmp_path / "journal").write_text(f"damaged {number}")
        kept = keep_damaged(tmp_path / "journal")
        (tmp_path / "journal").unlink()
        assert (kept.name, kept.read_text()) == (f"journal.damaged-{number}", f"damaged {number}")


def test_what_an_empty_journal_and_one_without_its_head_say():
    empty = JournalContents(path=Path("journal"), header={"row_format": "csv"}, boots=("",))
    assert (empty.next_part, empty.planned, empty.texts, empty.found) == (1, 0, 0, False)
    assert empty.row_format == JournalContents(path=Path("journal"), header={}, boots=("",)).row_format
    assert len(empty.records(0, 0)) == 0


def test_the_format_of_the_rows_is_the_one_that_the_head_names():
    named = JournalContents(
        path=Path("journal"), header={"row_format": {"name": JsonLinesFormat.name}}, boots=("",)
    )
    assert isinstance(named.row_format, JsonLinesFormat)
    other = JournalContents(path=Path("journal"), header={"row_format": {"name": "later"}}, boots=("",))
    with pytest.raises(RunDirectoryError, match="'later', which this daskpar does not know"):
        _ = other.row_format
