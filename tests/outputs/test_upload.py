"""What a store gets to see of an upload: all of it, or nothing."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from daskpar.outputs.meter import Meter
from daskpar.outputs.upload import beside, send


class Sent:
    """As the files of fsspec: closing sends what is left, and so does the garbage collector."""

    def __init__(self, said: list[str], autocommit: bool) -> None:
        self.said, self.closed, self.appears = said, False, autocommit

    def write(self, data: bytes) -> None:
        if data == b"bad":
            raise OSError("no")
        self.said.append(data.decode())

    def close(self) -> None:
        if not self.closed:
            self.said.append("appears" if self.appears else "sent")
        self.closed = True

    def commit(self) -> None:
        self.said.append("appears")

    def discard(self) -> None:
        self.said.append("discarded")

    def __del__(self) -> None:
        self.close()


@pytest.mark.parametrize(
    ("whole_at_close", "pieces", "expected"),
    [
        (True, [b"a", b"b"], ["a", "b", "sent", "appears"]),
        (False, [b"a"], ["a", "appears"]),
        (True, [b"a", b"bad"], ["a", "discarded"]),
        (False, [b"a", b"bad"], ["a", "appears", "removed n"]),
    ],
)
def test_an_upload_appears_once_and_whole(
    whole_at_close: bool, pieces: list[bytes], expected: list[str]
) -> None:
    said: list[str] = []
    store: Any = SimpleNamespace(
        open=lambda name, mode, autocommit: Sent(said, autocommit),
        rm=lambda name: said.append(f"removed {name}"),
    )
    told: list[tuple[int, int]] = []
    meter = Meter(2, lambda *so_far: told.append(so_far))
    try:
        send(pieces, store, "n", meter, whole_at_close)
    except OSError:
        assert b"bad" in pieces
    gc.collect()
    assert said == expected
    assert meter.end() == sum(len(piece) for piece in pieces if piece != b"bad")
    assert told == [(2, 2)], "it is told now and then, and at the end"
    meter.begin_anew()
    assert meter.end() == 0


def test_progress_is_told_to_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskpar.outputs.meter.PROGRESS_SECONDS", 0.0)
    told: list[tuple[int, int]] = []
    for listener in (None, lambda *so_far: told.append(so_far)):
        meter = Meter(3, listener)
        for _ in range(2):
            meter.add(2)
        assert meter.end() == 4
    assert told == [(2, 3), (3, 3), (3, 3)]


def test_what_is_not_yet_whole_has_a_hidden_name_in_the_same_folder() -> None:
    assert beside("bucket/a/out.csv", "77") == "bucket/a/.out.csv.77.tmp"
    assert beside("out.csv", "77") == ".out.csv.77.tmp"
