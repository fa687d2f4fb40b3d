"""The processes that fetch for a node: they bring files, say what is wrong, and end with their fetcher."""

from __future__ import annotations

import functools
import http.server
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from daskpar.data.stamps import Stamp
from daskpar.datastores import StorageOptions
from daskpar.errors import InputChanged
from daskpar.processor.fetching.fetch_messages import FetchOrder
from daskpar.processor.fetching.fetch_process import FetchProcess
from daskpar.processor.fetching.fetch_workers import MOST, FetchWorkers
from daskpar.processor.fetching.fetched_inputs import FetchedInput, Fetching
from daskpar.processor.linux import children_of
from daskpar.processor.resource_usage import cores
from waiting import until


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a web server with 20 small files."""
    folder = tmp_path / "web"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text(f"text {number}")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_they_bring_what_is_wanted_and_end_with_their_fetcher(tmp_path: Path, web: str) -> None:
    files = FetchedInput(name="d", url=f"{web}/", type="uri_folder", seen="/seen/d")
    order = FetchOrder(fetching=Fetching(folder="/seen", inputs=(files,)), storage=StorageOptions())
    base = tmp_path / "base"
    base.mkdir()
    found = FetchProcess(order, {}, str(base))
    try:
        assert found.wait(threading.Event()) == ""
        here = Path(found.fetching.at("/seen/d"))
        assert {path.read_text() for path in here.iterdir()} == {f"text {number}" for number in range(20)}
        assert found._process is not None
        workers = children_of(found._process.pid)
        assert len(workers) == min(MOST, cores())
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: not found.read()[1] and found.is_lost)
        assert "has ended with 1; another one takes its place" in found.start_again()[0]
        until(lambda: not any(map(psutil.pid_exists, workers)))
        until(lambda: len(children_of(found._process.pid)) == min(MOST, cores()))
        workers = children_of(found._process.pid)
        os.kill(found._process.pid, signal.SIGKILL)
        until(lambda: not any(map(psutil.pid_exists, workers)))
    finally:
        found.close()
    assert list(base.iterdir()) == []


def test_a_process_that_has_threads_is_not_forked_and_fetches_by_itself(tmp_path: Path, web: str) -> None:
    going_on = threading.Event()
    thread = threading.Thread(target=going_on.wait)
    thread.start()
    workers = FetchWorkers()
    try:
        workers.start([web], [])
        workers.listen()
        assert not workers._workers
        assert workers.fetch(f"{web}/1.txt", str(tmp_path / "1"), Stamp(6, 0)) == 6
        with pytest.raises(InputChanged):
            workers.fetch(f"{web}/1.txt", str(tmp_path / "1"), Stamp(7, 0))
    finally:
        workers.close()
        going_on.set()
        thread.join()
