"""Fetchers that wait for their step: taken by what they fit, and none is left over."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daskpar.data.fetch_object import is_of_s3
from daskpar.datastores import StorageOptions, known_options
from daskpar.processor.fetching import fetch_ahead
from daskpar.processor.fetching.fetch_messages import FetchOrder, Ready
from daskpar.processor.fetching.fetch_process import FetchProcess
from daskpar.processor.fetching.fetched_inputs import FetchedInput, Fetching

ENVIRONMENT = {"A": "1"}
URLS = ["memory://one", "memory://two"]


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    fetch_ahead.close_all()
    yield
    fetch_ahead.close_all()


def waiting() -> list[int]:
    return [found.process.pid for found in fetch_ahead._waiting]


def test_as_many_as_are_wanted_are_started_and_no_more() -> None:
    for number in (1, 2, 2, 1):
        fetch_ahead.start_ahead(ENVIRONMENT, URLS, number=number)
    assert len(waiting()) == 2


@pytest.mark.parametrize(
    ("environment", "urls", "fits"),
    [
        (ENVIRONMENT, URLS, True),
        (ENVIRONMENT, URLS[::-1], True),
        ({"A": "2"}, URLS, False),
        (ENVIRONMENT, URLS[:1], False),
        (ENVIRONMENT, [], False),
    ],
)
def test_a_step_takes_one_that_fits(environment: dict[str, str], urls: list[str], fits: bool) -> None:
    fetch_ahead.start_ahead(ENVIRONMENT, URLS)
    (pid,) = waiting()
    taken = fetch_ahead.take_fetcher(environment, urls, known_options())
    assert (taken.process.pid == pid) is fits
    assert waiting() == ([] if fits else [pid])
    taken.kill()


def test_one_that_opens_them_with_other_options_is_not_taken() -> None:
    """They were learnt later, or are those of another run in this process."""
    fetch_ahead.start_ahead(ENVIRONMENT, URLS)
    (left,) = waiting()
    other = StorageOptions({"memory://one": {"key": "of another"}})
    taken = fetch_ahead.take_fetcher(ENVIRONMENT, URLS, other)
    assert taken.process.pid != left and waiting() == [left]
    taken.kill()


def test_one_that_was_started_with_other_variables_of_this_process_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another run has started it: they may hold the keys to its stores."""
    monkeypatch.setenv("AWS_PROFILE", "first")
    fetch_ahead.start_ahead(ENVIRONMENT, URLS)
    (left,) = waiting()
    monkeypatch.setenv("AWS_PROFILE", "second")
    fetch_ahead.start_ahead(ENVIRONMENT, URLS)
    assert len(waiting()) == 2
    taken = fetch_ahead.take_fetcher(ENVIRONMENT, URLS, known_options())
    assert taken.process.pid != left and waiting() == [left]
    taken.kill()


def test_one_that_has_died_is_not_taken() -> None:
    fetch_ahead.start_ahead(ENVIRONMENT, URLS)
    (dead,) = fetch_ahead._waiting
    dead.process.kill()
    dead.process.wait()
    taken = fetch_ahead.take_fetcher(ENVIRONMENT, URLS, known_options())
    assert taken.process.pid != dead.process.pid and taken.process.poll() is None
    taken.kill()


def test_what_nobody_took_is_ended() -> None:
    fetch_ahead.start_ahead(ENVIRONMENT, URLS)
    (left,) = fetch_ahead._waiting
    fetch_ahead.close_all()
    assert left.process.returncode is not None and not waiting()


def test_one_that_waited_does_what_it_is_told(tmp_path: os.PathLike[str]) -> None:
    inputs = tuple(
        FetchedInput(name=f"i{n}", url=url, type="uri_folder", seen=f"/seen/{n}", split=True)
        for n, url in enumerate(URLS)
    )
    fetch_ahead.start_ahead(ENVIRONMENT, URLS)
    (pid,) = waiting()
    order = FetchOrder(fetching=Fetching(folder="/seen", inputs=inputs), storage=known_options())
    fetch = FetchProcess(order, ENVIRONMENT, str(tmp_path))
    try:
        assert fetch._process is not None and fetch._process.pid == pid
        while not fetch.ready:
            messages, trouble = fetch.read()
            assert not trouble and not [each for each in messages if isinstance(each, Ready)]
    finally:
        fetch.close()
    assert fetch._process.returncode == 0


def test_a_package_that_is_being_imported_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread is at it: its module is known already, and has nothing in it yet."""
    import sys
    from types import ModuleType

    monkeypatch.setitem(sys.modules, "s3fs", ModuleType("s3fs"))
    assert not is_of_s3(object())


def test_a_machine_that_refuses_a_process_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", refused)
    order = FetchOrder(fetching=Fetching(folder="/seen", inputs=()), storage=known_options())
    with pytest.raises(BlockingIOError, match="temporarily"):
        FetchProcess(order, ENVIRONMENT, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
