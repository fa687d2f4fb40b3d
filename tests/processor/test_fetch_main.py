"""The node's fetcher answers processors: what they have in use stays, and looking ahead costs little."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daskpar.batches.plan_writer import write_plan
from daskpar.data.stamps import Stamp
from daskpar.datastores import StorageOptions
from daskpar.processor import channel, fetch_main
from daskpar.processor.fetched_inputs import FetchedInput, Fetching, FetchOrder
from daskpar.processor.fetched_plan import connected
from waiting import until

FILES = 40


class Node:
    """A fetcher in this process, whose files cost nothing to fetch; each mini-batch has one of 10 bytes."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, cache_bytes: int) -> None:
        self.root = folder / "root"
        self.root.mkdir(exist_ok=True)
        self.order = FetchOrder(
            fetching=Fetching(
                folder="/seen",
                inputs=(
                    FetchedInput(name="d", url="s3://box/in", type="uri_folder", seen="/seen/d", split=True),
                ),
                splits=True,
                cache_bytes=cache_bytes,
                root=str(self.root),
            ),
            storage=StorageOptions(),
            plan=str(folder / "plan"),
        )
        self.looks = 0
        self.fetched: list[str] = []
        self.sock, theirs = socket.socketpair()
        fetcher: Any = fetch_main._Fetcher(theirs, self.order)
        look = fetcher._look_ahead

        def counted() -> None:
            self.looks += 1
            look()

        patch.setattr(fetcher, "_look_ahead", counted)
        patch.setattr(fetcher, "_fetch", self._fetch)
        threading.Thread(target=fetcher.run, daemon=True).start()
        until(lambda: (self.root / "socket").exists())

    def _fetch(self, url: str, place: str, stamp: Stamp) -> int:
        self.fetched.append(url)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        Path(place).write_text("0123456789")
        return 10

    def here(self) -> set[int]:
        return {int(path.name) for path in (self.root / "d").iterdir()}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Node]]:
    paths = [f"s3://box/in/{number}" for number in range(FILES)]
    stamps = [Stamp(10, number) for number in range(FILES)]
    write_plan(tmp_path / "plan", kind="files", paths=paths, stamps=stamps, origin="s3://box/in", per_batch=1)
    yield lambda cache_bytes: Node(tmp_path, monkeypatch, cache_bytes)


def ask(connection: socket.socket, index: int, stop: int, *in_use: int) -> None:
    channel.send(connection, (index, None, stop, tuple((other, None) for other in in_use)))
    assert channel.receive(connection) is None


def test_files_of_all_calls_in_flight_stay(node: Callable[[int], Node]) -> None:
    """Also where the cache is smaller; those of calls that have ended go."""
    found = node(1)
    with connected(str(found.root)) as connection:
        ask(connection, 0, 1)
        ask(connection, 5, 6, 0)
        ask(connection, 7, 8, 0, 5)
        assert found.here() == {0, 5, 7}
        ask(connection, 8, 9, 7)
        assert found.here() == {7, 8}


def test_a_processor_that_is_one_further_costs_no_new_look_ahead(node: Callable[[int], Node]) -> None:
    found = node(1000)
    with connected(str(found.root)) as connection:
        for index in range(FILES):
            ask(connection, index, FILES)
        assert found.looks == 1
        ask(connection, 3, FILES)  # a retry
        assert found.looks == 2
    assert len(found.fetched) == FILES
