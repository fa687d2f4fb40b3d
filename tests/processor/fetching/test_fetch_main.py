"""The node's fetcher answers processors: what they have in use stays, and looking ahead costs little."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskpar.batches.plan_writer import write_plan
from daskpar.data.stamps import Stamp
from daskpar.datastores import StorageOptions
from daskpar.processor import channel
from daskpar.processor.fetching import fetch_again, fetch_main
from daskpar.processor.fetching.fetch_messages import FetchOrder
from daskpar.processor.fetching.fetch_process import FetchProcess
from daskpar.processor.fetching.fetch_workers import FetchWorkers
from daskpar.processor.fetching.fetched_inputs import FetchedInput, Fetching
from daskpar.processor.fetching.fetched_plan import FetchedPlan, _AskNode, connected
from waiting import until

FILES = 40


class Node:
    """A fetcher in this process, whose files cost nothing to fetch; each mini-batch has one of 10 bytes."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, cache_bytes: int, *, again: bool = False
    ) -> None:
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
            again=again,
            whole_is_here=again,
        )
        self.looks = 0
        self.fetched: list[str] = []
        self.sock, theirs = socket.socketpair()
        fetcher: Any = fetch_main._Fetcher(theirs, self.order, FetchWorkers())
        look = fetcher._look_ahead

        def counted() -> None:
            self.looks += 1
            look()

        patch.setattr(fetcher, "_look_ahead", counted)
        patch.setattr(fetcher, "_fetch", self._fetch)
        threading.Thread(target=fetcher.run, daemon=True).start()
        assert isinstance(channel.receive(self.sock), fetch_main.Ready)

    def _fetch(self, url: str, place: str, stamp: Stamp) -> int:
        self.fetched.append(url)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        Path(place).write_text("0123456789")
        return 10

    def here(self) -> set[int]:
        return {int(path.name) for path in (self.root / "d").iterdir()}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Node]:
    paths = [f"s3://box/in/{number}" for number in range(FILES)]
    stamps = [Stamp(10, number) for number in range(FILES)]
    write_plan(
        tmp_path / "plan", kind="files", paths=paths, stamps=lambda: stamps, origin="s3://box/in", per_batch=1
    )
    return functools.partial(Node, tmp_path, monkeypatch)


def ask(connection: socket.socket, index: int, stop: int, *in_use: int) -> None:
    channel.send(connection, (index, None, stop, tuple((other, None) for other in in_use), False))
    assert channel.receive(connection)[0] is None


def test_files_of_all_calls_in_flight_stay(node: Callable[..., Node]) -> None:
    """Also where the cache is smaller; those of calls that have ended go."""
    found = node(1)
    with connected(str(found.root)) as connection:
        ask(connection, 0, 1)
        ask(connection, 5, 6, 0)
        ask(connection, 7, 8, 0, 5)
        assert found.here() == {0, 5, 7}
        ask(connection, 8, 9, 7)
        assert found.here() == {7, 8}


def test_a_processor_that_is_one_further_costs_no_new_look_ahead(node: Callable[..., Node]) -> None:
    found = node(1000)
    with connected(str(found.root)) as connection:
        for index in range(FILES):
            ask(connection, index, FILES)
        assert found.looks == 1
        ask(connection, 3, FILES)  # a retry
        assert found.looks == 2
    assert len(found.fetched) == FILES


def test_a_processor_takes_the_next_mini_batch_without_waiting_where_it_is_here(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    found = node(1000)
    plan = FetchedPlan.open(tmp_path / "plan")
    assert isinstance(plan, FetchedPlan)
    plan.fetching, plan.block_stop = found.order.fetching, FILES
    asking = _AskNode(plan)

    def waits(index: int) -> bool:
        asking.bring(index, None)
        assert index in found.here()
        return asking._is_answered

    assert waits(0)
    until(lambda: found.here() == set(range(FILES)))
    waits(1)  # whether 1 was here when 0 was asked for, nobody knows
    assert [waits(index) for index in (2, 3)] == [False, False]
    (found.root / "d" / "4").write_text("other")  # by a script
    assert waits(4) and (found.root / "d" / "4").read_text() == "0123456789"
    assert [waits(index) for index in (5, 3, 3, 4)] == [False, True, True, False]  # 3: a retry
    assert asking._sock is not None
    asking._sock.close()  # by a script, or the fetcher has died
    assert [waits(index) for index in (5, 6, 20, 21)] == [True, False, True, False]
    assert len(found.fetched) == FILES + 1
    noted = fetch_again.notes_in(str(found.root)).values()
    assert {one for _, in_use in noted for one, _ in in_use} >= {21}
    asking._close()


def test_what_is_promised_leaves_room_for_what_is_asked_for(node: Callable[..., Node]) -> None:
    found = node(600)
    with connected(str(found.root)) as connection:
        until(lambda: _answer(connection, 0)[1] is None and len(found.here()) > 1)


def _answer(connection: socket.socket, index: int) -> Any:
    channel.send(connection, (index, None, FILES, (), False))
    return channel.receive(connection)


def test_one_that_takes_the_place_of_another_keeps_what_is_in_use_and_nothing_else(
    node: Callable[..., Node],
) -> None:
    before = node(1000)
    with connected(str(before.root)) as connection:
        ask(connection, 0, 1)
        ask(connection, 5, 6, 0)
        (before.root / "d" / ".daskpar-0123456789ab").touch()  # half there
        (before.root / "d" / "9").touch()
        after = node(1, again=True)
        assert {path.name for path in (after.root / "d").iterdir()} == {"0", "5"}
        with connected(str(after.root)) as again:  # of the same process
            ask(again, 6, 7, 5)
            assert after.here() == {5, 6} and after.fetched == ["s3://box/in/6"]
            assert len(list((after.root / ".in-use").iterdir())) == 1


def test_the_note_of_a_processor_that_is_gone_keeps_nothing(tmp_path: Path) -> None:
    note = fetch_again.InUseNote(str(tmp_path), os.getpid())
    note.write([(1, None), (2, (0, 5)), (3, None)])
    note.write([(7, (2, 3))])
    gone = subprocess.Popen(["true"])
    gone.wait()
    fetch_again.InUseNote(str(tmp_path), gone.pid).write([(4, None)])
    assert list(fetch_again.notes_in(str(tmp_path)).values()) == [(os.getpid(), [(7, (2, 3))])]


def test_a_fetcher_that_is_killed_is_started_again_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskpar.processor.fetching.fetch_process.MOST_DEATHS", 1)
    order = FetchOrder(fetching=Fetching(folder="/seen", inputs=()), storage=StorageOptions())
    found = FetchProcess(order, {}, str(tmp_path))
    try:
        assert found.wait(threading.Event()) == ""
        for last in (False, True):
            assert found._process is not None
            os.kill(found._process.pid, signal.SIGKILL)
            until(lambda: not found.read()[1] and found.is_lost)
            done, trouble = found.start_again()
            assert "was killed by SIGKILL" in (trouble if last else done)
            assert bool(trouble) == last
    finally:
        found.close()
    assert not list(tmp_path.iterdir())
