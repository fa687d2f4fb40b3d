"""The gate of a node: reports wait for their files, in the order of their block, and nothing is charged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daskpar.outputs import upload_gate
from daskpar.outputs.upload_gate import UploadGate
from daskpar.processor.output_sweep import Uploads
from daskpar.processor.protocol import (
    BlockEnded,
    Flushed,
    LogMessage,
    Message,
    NodeFailed,
    NotUploaded,
    ProcessorSettings,
)
from waiting import until


class Node:
    """A gate, the store behind it, and what has passed."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.passed: list[Message] = []
        self.store: dict[str, str] = {}
        self.open = threading.Event()
        self.open.set()
        self.errors: list[BaseException] = []
        patch.setattr(upload_gate, "upload_file", self.upload)
        patch.setattr(upload_gate, "FIRST_PAUSE", 0.001)
        patch.setattr(upload_gate, "TELL_SECONDS", 0.0)
        patch.setattr(upload_gate, "BEAT_SECONDS", 3600.0)
        self.uploads = Uploads(root=str(folder), outputs=(("o", "s3://b/o"),))
        self.settings: Any = ProcessorSettings(
            run_id="r", step="s", node=0, python="", processors=1, entry_script="", code=None, plan="",
            store=None, shared="", logs="", work="", working_dir="", output_dir="",  # type: ignore[arg-type]
        )  # fmt: skip
        self.gate = UploadGate(self.settings, self.uploads, self.passed.extend)

    def upload(self, path: str, target: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.open.wait()
        self.store[target] = Path(path).read_text()

    def flushed(self, block: int, *tokens: str, text: str = "") -> Flushed:
        for token in tokens:
            folder = Path(self.uploads.sealed, token, "o")
            folder.mkdir(parents=True)
            (folder / (text or token)).write_text(token)
        sealed = tuple((block, token) for token in tokens)
        return Flushed(block=block, token="", part="", offset=0, length=0, crc=0, records=b"", sealed=sealed)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    found = Node(tmp_path, monkeypatch)
    yield found
    found.open.set()
    found.gate.close()


def test_a_block_waits_for_its_files_and_others_pass(node: Node) -> None:
    node.open.clear()
    first, end = node.flushed(1, "a", "b"), BlockEnded(block=1, token="")
    other, said = node.flushed(2), LogMessage(level="debug", text="")
    node.gate.take([first, end])
    node.gate.take([said, other])
    assert node.passed == [said, other] and not node.store
    node.open.set()
    until(lambda: len(node.passed) == 4)
    assert node.passed[2:] == [first, end]
    assert node.store == {"s3://b/o/a": "a", "s3://b/o/b": "b"}
    assert list(Path(node.uploads.sealed).iterdir()) == []


def test_the_later_file_of_a_name_stays(node: Node) -> None:
    node.open.clear()
    tokens = [f"t{number}" for number in range(30)]
    for token in tokens:
        node.gate.take([node.flushed(1, token, text="same")])
    node.open.set()
    until(lambda: len(node.passed) == len(tokens))
    assert node.store == {"s3://b/o/same": tokens[-1]}


def test_a_long_upload_is_told_as_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: Node
) -> None:
    monkeypatch.setattr(upload_gate, "BEAT_SECONDS", 0.001)
    node.open.clear()
    monkeypatch.setattr(upload_gate, "upload_file", node.upload)
    gate = UploadGate(node.settings, node.uploads, node.passed.extend)
    flushed = node.flushed(1, "a")
    gate.take([flushed])
    until(lambda: len(node.passed) > 2)
    assert set(node.passed) == {NotUploaded(node=0, trouble="")}
    node.open.set()
    until(lambda: flushed in node.passed)
    gate.close()


def test_trouble_is_told_as_long_as_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: Node
) -> None:
    """The driver takes a result of another file for the end of it, and would see no progress without a cause."""
    monkeypatch.setattr(upload_gate, "BEAT_SECONDS", 0.001)
    monkeypatch.setattr(upload_gate, "TELL_SECONDS", 3600.0)
    monkeypatch.setattr(upload_gate, "FIRST_PAUSE", 3600.0)
    node.errors = [ConnectionResetError(104, "reset")]
    gate = UploadGate(node.settings, node.uploads, node.passed.extend)
    gate.take([node.flushed(1, "a")])
    until(lambda: sum("reset" in getattr(said, "trouble", "") for said in node.passed) > 3)
    gate.close()


def throttled() -> BaseException:
    error = OSError("503 Slow Down")
    error.response = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("error", [throttled, lambda: ConnectionRefusedError(111, "refused")])
def test_a_store_that_refuses_for_now_is_tried_again(node: Node, error: Callable[[], BaseException]) -> None:
    node.errors = [error() for _ in range(5)]
    flushed = node.flushed(1, "a")
    node.gate.take([flushed])
    until(lambda: flushed in node.passed)
    assert {type(message) for message in node.passed[:-1]} == {NotUploaded}
    assert "s3://b/o/a can't be written" in node.passed[0].trouble  # type: ignore[union-attr]


def test_what_can_not_be_uploaded_ends_the_step(node: Node) -> None:
    node.errors = [OSError("the name is too long") for _ in range(upload_gate.SURE_AFTER)]
    node.gate.take([node.flushed(1, "a")])
    until(lambda: any(isinstance(message, NodeFailed) for message in node.passed))
    assert node.passed[-1] == NodeFailed(
        node=0, message="s3://b/o/a can't be written: the name is too long", disk=True
    )


def test_what_is_held_at_the_end_is_dropped(node: Node) -> None:
    node.open.clear()
    node.gate.take([node.flushed(1, "a"), BlockEnded(block=1, token="")])
    node.gate.close()
    node.open.set()
    assert node.passed == []


def test_files_in_folders_keep_their_place(node: Node) -> None:
    (Path(node.uploads.sealed, "a", "o", "x", "y")).mkdir(parents=True)
    Path(node.uploads.sealed, "a", "o", "x", "y", "file").write_text("text")
    node.gate.take([node.flushed(1, "b"), Flushed(
        block=1, token="", part="", offset=0, length=0, crc=0, records=b"", sealed=((1, "a"),)
    )])  # fmt: skip
    until(lambda: len(node.passed) == 2)
    assert node.store == {"s3://b/o/b": "b", "s3://b/o/x/y/file": "text"}


def test_a_step_that_is_over_uploads_nothing_more(node: Node) -> None:
    asked = []
    node.gate._begun = lambda: bool(asked.append(1))
    node.gate.take([node.flushed(1, "a")])
    until(lambda: asked)
    node.gate.take([said := LogMessage(level="debug", text="")])
    assert node.passed == [said] and not node.store


def test_the_pause_before_another_try_grows_up_to_a_limit(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    wait = node.gate._closed.wait

    def counted(seconds: float) -> bool:
        if seconds == upload_gate.BEAT_SECONDS:
            return wait(seconds)
        waits.append(seconds)
        return False

    monkeypatch.setattr(node.gate._closed, "wait", counted)
    monkeypatch.setattr(upload_gate, "LONGEST_PAUSE", 0.006)
    node.errors += [ConnectionError("gone")] * 5
    node.gate.take([node.flushed(1, "a")])
    until(lambda: node.store)
    assert waits == [0.001, 0.002, 0.004, 0.006, 0.006]


def test_files_of_init_are_uploaded_once_and_known_as_such(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[tuple[list[tuple[str, str]], bool]] = []
    add = node.gate._log.add

    def kept(token: str, index: int, names: list[tuple[str, str]], *, of_init: bool) -> None:
        known.append((names, of_init))
        add(token, index, names, of_init=of_init)

    monkeypatch.setattr(node.gate._log, "add", kept)
    folder = Path(node.uploads.sealed, "a", upload_gate.OF_INIT, "o")
    folder.mkdir(parents=True)
    (folder / "first").write_text("1")
    node.gate.take([node.flushed(1, "a")])
    until(lambda: len(node.passed) == 1)
    assert node.store == {"s3://b/o/first": "1", "s3://b/o/a": "a"}
    assert known == [([("o", "first")], True), ([("o", "a")], False)]


def test_nothing_is_told_of_work_while_there_is_none(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_gate, "BEAT_SECONDS", 0.001)
    told: list[Message] = []
    gate = UploadGate(node.settings, node.uploads, told.extend)
    try:
        looks: list[float] = []
        wait = gate._closed.wait
        monkeypatch.setattr(gate._closed, "wait", lambda seconds: looks.append(seconds) or wait(seconds))
        until(lambda: len(looks) > 5)
        assert told == []
        node.open.clear()
        gate.take([node.flushed(1, "a")])
        until(lambda: any(isinstance(one, NotUploaded) for one in told))
        node.open.set()
    finally:
        node.open.set()
        gate.close()
