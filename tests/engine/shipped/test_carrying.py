"""Rows and logs of a node that does not see the run directory, on their way to the driver."""

from __future__ import annotations

import os
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from daskpar.engine.shipped import row_carrier, sent_parts
from daskpar.engine.shipped.grown_files import LEFT, GrownFiles
from daskpar.engine.shipped.returned_files import ReturnedFiles
from daskpar.engine.shipped.row_carrier import WINDOW_BYTES, RowCarrier, window_of
from daskpar.engine.shipped.sent_parts import SentParts
from daskpar.engine.shipped.settled_files import OWN, SettledFiles
from daskpar.errors import RunDirectoryError
from daskpar.processor.node_places import NodePlaces
from daskpar.processor.protocol import (
    PIECE_BYTES,
    BlockEnded,
    CarriedRows,
    Flushed,
    LogMessage,
    NodeFailed,
    ProcessorChanged,
    ProcessorSettings,
    ReturnedFile,
    carried_bytes,
)
from daskpar.results import Failure, InitFailed
from daskpar.rows.shared_folder import SharedFolder
from waiting import until


def settings_in(folder: Path) -> ProcessorSettings:
    store = SharedFolder(folder / "parts")
    store.prepare()
    (folder / "logs").mkdir(exist_ok=True)
    values = dict.fromkeys(("python", "plan", "shared", "work", "working_dir", "output_dir"), str(folder))
    return ProcessorSettings(
        run_id="r", step="s", node=0, processors=1, entry_script="x", code=None, store=store,
        logs=str(folder / "logs"), **values,
    )  # fmt: skip


class Driver:
    """Takes what a carrier delivers as a driver does, and acknowledges it where it is told to."""

    def __init__(self, folder: Path, *, acknowledges: bool = True, window: int = 0) -> None:
        self.settings = settings_in(folder / "node")
        self.store = SharedFolder(folder / "driver")
        self.store.prepare()
        self.got: list = []
        self.acknowledges = acknowledges
        self.places = NodePlaces(
            root=str(folder / "node"),
            moves=(("/run", str(folder / "node")),),
            trees=(self.settings.logs,),
            window=window,
            left=str(folder / "left") if (folder / "left").is_dir() else "",
            own_outputs=str(folder / "own"),
        )
        self.carrier = RowCarrier(self.settings, self.places, self.take)

    def take(self, messages: list) -> None:
        for message in messages:
            self.got.append(message)
            if isinstance(message, CarriedRows):
                self.store.keep(message.part, message.offset, message.data)
            elif isinstance(message, Flushed) and message.carried:
                self.store.keep(message.part, message.offset, message.carried)
            if self.acknowledges:
                self.carrier.acknowledged(carried_bytes(message))

    @property
    def under_way(self) -> int:
        return sum(map(carried_bytes, self.got))


def flushed(writer, data: bytes, block: int = 1) -> Flushed:
    written = writer.append(data)
    return Flushed(
        block=block, token="t", part=writer.name, offset=written.offset, length=len(data), crc=written.crc, records=b"",
    )  # fmt: skip


def test_rows_come_with_their_flush_or_ahead_of_it_in_pieces(tmp_path):
    driver = Driver(tmp_path)
    writer = driver.settings.store.writer("0-process000")
    texts = [b"a" * 10, os.urandom(2 * PIECE_BYTES + 5), b"c" * PIECE_BYTES]
    flushes = [flushed(writer, text) for text in texts]
    driver.carrier.take([*flushes, BlockEnded(block=1, token="t")])
    until(lambda: driver.got and isinstance(driver.got[-1], BlockEnded))
    kinds = [(type(message).__name__, carried_bytes(message)) for message in driver.got]
    assert kinds == [
        ("Flushed", 10),
        ("CarriedRows", PIECE_BYTES),
        ("CarriedRows", PIECE_BYTES),
        ("CarriedRows", 5),
        ("Flushed", 0),
        ("Flushed", PIECE_BYTES),
        ("BlockEnded", 0),
    ]
    part = driver.store.open(writer.name)
    for found, text in zip(flushes, texts, strict=True):
        assert zlib.crc32(part.read(found.offset, found.length)) == found.crc == zlib.crc32(text)
    part.close()
    driver.carrier.close(drain=True)


def test_no_more_is_on_its_way_than_the_driver_keeps_up_with(tmp_path):
    driver = Driver(tmp_path, acknowledges=False)
    writer = driver.settings.store.writer("0-process000")
    driver.carrier.take([flushed(writer, b"x" * PIECE_BYTES, block) for block in range(8)])
    driver.carrier.take([BlockEnded(block=7, token="t")])
    until(lambda: driver.under_way == WINDOW_BYTES)
    assert not any(isinstance(message, BlockEnded) for message in driver.got)
    driver.carrier.acknowledged(PIECE_BYTES)
    until(lambda: driver.under_way == WINDOW_BYTES + PIECE_BYTES)
    driver.carrier.close(drain=False)
    assert driver.under_way <= WINDOW_BYTES + PIECE_BYTES


def test_a_failure_comes_after_the_logs_that_explain_it(tmp_path):
    driver = Driver(tmp_path)
    log = Path(driver.settings.logs, "user", "process000.txt")
    log.parent.mkdir()
    log.write_text("the reason")
    driver.carrier.take([NodeFailed(node=0, message=f"see {log}", disk=False)])
    until(lambda: len(driver.got) == 2)
    assert driver.got == [
        ReturnedFile(tree=0, name="user/process000.txt", offset=0, data=b"the reason"),
        NodeFailed(node=0, message="see /run/logs/user/process000.txt", disk=False),
    ]
    log.write_text("the reason, and more")
    assert driver.carrier.bring_files()
    assert driver.got[-1] == ReturnedFile(tree=0, name="user/process000.txt", offset=10, data=b", and more")
    driver.carrier.close(drain=True)
    assert not driver.carrier.bring_files()


def test_results_of_a_step_that_is_over_are_dropped_and_its_logs_are_not(tmp_path):
    driver = Driver(tmp_path, acknowledges=False)
    writer = driver.settings.store.writer("0-process000")
    driver.carrier.take([flushed(writer, b"x" * PIECE_BYTES, block) for block in range(8)])
    until(lambda: driver.under_way == WINDOW_BYTES)
    closing = threading.Thread(target=driver.carrier.close, kwargs={"drain": True})
    Path(driver.settings.logs, "last.txt").write_text("bye")
    closing.start()
    driver.acknowledges = True
    driver.carrier.acknowledged(WINDOW_BYTES)
    closing.join(30)
    assert driver.got[-1] == ReturnedFile(tree=0, name="last.txt", offset=0, data=b"bye")
    assert sum(isinstance(message, Flushed) for message in driver.got) <= WINDOW_BYTES // PIECE_BYTES + 1


def test_a_long_part_goes_when_its_rows_are_sent_and_none_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(sent_parts, "PART_BYTES", 100)
    settings = settings_in(tmp_path)
    writer, parts = settings.store.writer("0-process000"), SentParts(settings.store, 1)
    names = set()
    for number in range(20):
        first, second = (flushed(writer, b"%03d" % number * 10) for _ in range(2))
        assert parts.read(first.part, first.offset, first.length) == b"%03d" % number * 10
        parts.sent(first.part, first.offset, first.length)
        assert parts.read(second.part, second.offset, second.length) == b"%03d" % number * 10
        names.add(first.part)
    assert len(names) > 5 and len(list((tmp_path / "parts").iterdir())) <= 2
    parts.close()


@pytest.mark.parametrize("longest", [1 << 30, 3 << 20])
def test_what_is_sent_of_a_part_takes_no_room(tmp_path, monkeypatch, longest):
    size = 1 << 20
    probe = tmp_path / "probe"
    probe.write_bytes(os.urandom(size))
    with probe.open("r+b") as file:
        sent_parts.free(file.fileno(), 0, size)
    if probe.stat().st_blocks * 512 >= size:
        pytest.skip("this file system gives no part of a file back")
    monkeypatch.setattr(sent_parts, "PART_BYTES", longest)
    monkeypatch.setattr(sent_parts, "FREE_BYTES", 2 * size)
    settings = settings_in(tmp_path)
    writer, parts = settings.store.writer("0-process000"), SentParts(settings.store, 1)
    texts = [os.urandom(size) for _ in range(8)]
    flushes = [flushed(writer, text) for text in texts]
    part = os.open(tmp_path / "parts" / writer.name, os.O_RDONLY)
    order = [1, 0, 2, 3, 4, 6, 7, 5]  # blocks overtake each other
    for number in order:
        found = flushes[number]
        assert parts.read(found.part, found.offset, found.length) == texts[number]
        parts.sent(found.part, found.offset, found.length)
    assert os.fstat(part).st_blocks * 512 <= 4 * size  # those that were overtaken
    assert os.fstat(part).st_size == 8 * size
    os.close(part)
    parts.close()


@pytest.mark.parametrize(
    ("nodes", "window"), [(0, WINDOW_BYTES), (16, WINDOW_BYTES), (64, PIECE_BYTES), (10**6, 1 << 18)]
)
def test_all_nodes_together_have_so_much_on_its_way(nodes, window):
    assert window_of(nodes) == window


def test_pieces_are_smaller_where_little_may_be_on_its_way(tmp_path):
    driver = Driver(tmp_path, window=40)
    writer = driver.settings.store.writer("0-process000")
    flushes = [flushed(writer, text) for text in (b"a" * 10, b"b" * 25)]
    driver.carrier.take([*flushes, BlockEnded(block=1, token="t")])
    until(lambda: driver.got and isinstance(driver.got[-1], BlockEnded))
    assert [carried_bytes(message) for message in driver.got] == [10, 10, 10, 5, 0, 0]
    driver.carrier.close(drain=True)


def test_trouble_with_the_disk_of_a_node_is_told_with_the_path_there(tmp_path):
    driver = Driver(tmp_path)
    path = driver.settings.store.place_of("0-process000-1.part")
    text = f"rows can't be written to {path}: No space left on device"
    driver.carrier.take([NodeFailed(node=0, message=text, disk=False)])
    until(lambda: driver.got)
    told = driver.got[0].message
    assert text in told and "keeps rows on its own disk" in told and "--local-directory" in told
    driver.carrier.close(drain=True)


def returned(tmp_path: Path) -> ReturnedFiles:
    return ReturnedFiles(
        [str(tmp_path / "run" / "logs")], str(tmp_path / "run" / "left"), tmp_path / "coming"
    )


def test_files_come_back_as_they_grow_behind_what_was_there(tmp_path):
    here, there = tmp_path / "node" / "logs", tmp_path / "run" / "logs"
    files, driver = GrownFiles([str(here)]), returned(tmp_path)
    (here / "deep").mkdir(parents=True)
    (there / "deep").mkdir(parents=True)
    (there / "deep" / "a.txt").write_text("before;")
    texts = ("one", "one, two", "one, two" * 3, "new", "")
    for text in texts:
        (here / "deep" / "a.txt").write_text(text)
        for piece in files.pieces(4):
            assert len(piece.data) <= 4
            driver.keep("tcp://a", piece)
        assert (there / "deep" / "a.txt").read_text() == f"before;{text}"
    assert not list(files.pieces(4))
    (here / "x.profile").write_text("1")
    (here / "link").symlink_to("/etc/hostname")
    assert not list(files.pieces(4))
    assert [piece.name for piece in files.pieces(4, last=True)] == ["x.profile"]


def test_files_that_come_at_the_end_are_there_when_all_are(tmp_path):
    driver = returned(tmp_path)
    driver.keep("tcp://a", ReturnedFile(tree=LEFT, name="0-process000/out/x", offset=0, data=b"x"))
    assert not (tmp_path / "run").exists()
    driver.keep("tcp://a", ReturnedFile(tree=LEFT, name="", offset=0, data=b""))
    assert (tmp_path / "run" / "left" / "0-process000" / "out" / "x").read_bytes() == b"x"


def test_files_of_output_dir_come_whole_once_they_have_settled(tmp_path):
    here, there = tmp_path / "node", tmp_path / "run" / "out"
    files = SettledFiles({OWN: str(here)}, lambda: 0.0)
    driver = ReturnedFiles([], "", tmp_path / "coming", {OWN: str(there)})

    def bring(**how: bool) -> int:
        pieces = list(files.pieces(4, **how))
        for piece in pieces:
            driver.keep("tcp://a", piece)
        return len(pieces)

    (here / "deep").mkdir(parents=True)
    there.mkdir(parents=True)
    (there / "a").write_text("of an earlier run")
    assert not files.any_own and not bring()
    (here / "a").write_text("one, two")
    (here / "deep" / "empty").touch()
    assert not bring() and files.any_own
    (here / "a").write_text("three, four")  # it is being written still
    assert bring() == 1 and (there / "deep" / "empty").read_text() == ""
    assert (there / "a").read_text() == "of an earlier run"
    assert bring() == 4 and (there / "a").read_text() == "three, four"
    assert not bring(last=True)
    (here / "a").write_text("5")
    assert bring(last=True) == 2 and (there / "a").read_text() == "5"
    assert not [path for path in (tmp_path / "coming").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "."])
def test_a_file_with_a_path_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(RunDirectoryError, match="node tcp://a has sent a file with the path"):
        returned(tmp_path).keep("tcp://a", ReturnedFile(tree=0, name=name, offset=0, data=b"x"))


def test_rows_are_kept_where_they_belong_however_often_they_come(tmp_path):
    store = SharedFolder(tmp_path)
    for offset, data in ((4, b"wxyz"), (0, b"abcd"), (4, b"wxyz")):
        store.keep("0-process000-1.part", offset, data)
    assert (tmp_path / "0-process000-1.part").read_bytes() == b"abcdwxyz"
    with pytest.raises(RunDirectoryError):
        store.keep("../x", 0, b"x")
    assert replace(store) == store


def changed(state) -> ProcessorChanged:
    return ProcessorChanged(node=0, processor=0, pid=1, state=state)


INIT = InitFailed(node=0, processor=0, message="", trace="", log="", time=0.0, fatal=False)


@pytest.mark.parametrize(
    ("message", "explained"),
    [
        (BlockEnded(block=1, token="t"), False),
        (changed("started"), False),
        (changed("ready"), False),
        (changed("died"), True),
        (INIT, True),
        (NodeFailed(node=0, message="", disk=False), True),
        ("flush", False),
        ("failed flush", True),
    ],
)
def test_logs_come_before_what_they_explain_and_before_nothing_else(
    tmp_path, monkeypatch, message, explained
):
    monkeypatch.setattr(row_carrier, "LOG_SECONDS", 3600.0)  # nor from time to time
    driver = Driver(tmp_path)
    log = Path(driver.settings.logs, "log.txt")
    log.write_text("why")
    if "flush" in str(message):
        failure = Failure(index=0, reason=0, message="", log=str(log))
        flush = flushed(driver.settings.store.writer("0-process000"), b"rows")
        message = replace(flush, failures=(failure,) if "failed" in message else ())
    driver.carrier.take([message])
    until(lambda: any(type(each) is type(message) for each in driver.got))
    kinds = [type(each) for each in driver.got]
    assert kinds == [*[ReturnedFile] * explained, type(message)]
    if isinstance(message, Flushed):
        assert [failure.log for failure in driver.got[-1].failures] == ["/run/logs/log.txt"] * explained
    driver.carrier.close(drain=True)
    assert ReturnedFile in map(type, driver.got), "the others when all is over"


def test_logs_come_from_time_to_time_in_small_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(row_carrier, "LOG_SECONDS", 0.01)
    driver = Driver(tmp_path, window=40)
    Path(driver.settings.logs, "log.txt").write_text("a" * 25)
    until(lambda: len(driver.got) >= 3)
    Path(driver.settings.logs, "log.txt").write_text("a" * 26)
    until(lambda: len(driver.got) >= 4)
    assert [(piece.offset, len(piece.data)) for piece in driver.got] == [(0, 10), (10, 10), (20, 5), (25, 1)]
    driver.carrier.close(drain=True)
    assert len(driver.got) == 4


def test_the_end_brings_what_is_left_and_what_is_in_output_dir(tmp_path):
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "x").write_text("abc")
    driver = Driver(tmp_path)
    for name in ("b", "a"):
        (tmp_path / "own" / "deep" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / "deep" / name).write_text(name.strip("b"))
    driver.carrier.close(drain=True)
    told = [message for message in driver.got if isinstance(message, LogMessage)]
    assert len(told) == 1 and "what a node that is lost" in told[0].text
    assert [message for message in driver.got if message not in told] == [
        ReturnedFile(tree=OWN, name="deep/a", offset=0, data=b"a"),
        ReturnedFile(tree=OWN, name="deep/a", offset=1, data=b""),
        ReturnedFile(tree=OWN, name="deep/b", offset=0, data=b""),
        ReturnedFile(tree=LEFT, name="x", offset=0, data=b"abc"),
        ReturnedFile(tree=LEFT, name="", offset=0, data=b""),
    ]


def test_one_that_breaks_says_so_and_lets_nobody_wait(tmp_path, monkeypatch):
    driver = Driver(tmp_path)

    def broken(*_):
        raise ValueError(f"no {driver.settings.logs}")

    monkeypatch.setattr(SentParts, "read", broken)
    driver.carrier.take([flushed(driver.settings.store.writer("0-process000"), b"x")])
    until(lambda: driver.got)
    (told,) = driver.got
    assert told.message == "node 0: its rows can't be sent: ValueError: no /run/logs"
    assert (told.node, told.disk) == (0, False)
    assert driver.carrier.bring_files() is False
    driver.carrier.close(drain=True)


def test_a_driver_that_takes_nothing_is_waited_for_only_so_long(tmp_path, monkeypatch):
    monkeypatch.setattr(row_carrier, "DRAIN_SECONDS", 0.0)
    driver = Driver(tmp_path, acknowledges=False, window=40)
    Path(driver.settings.logs, "log.txt").write_text("a" * 100)
    driver.carrier.close(drain=True)
    assert driver.under_way <= 40
