"""The files that a node keeps: fetched once, ahead, within bounds, and kept while they are wanted."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daskpar.data.stamps import UNKNOWN, Stamp
from daskpar.errors import DataUnreached, InputError
from daskpar.processor.fetching.fetch_cache import FetchCache, Wanted
from waiting import until


class Store:
    """A store of files of 10 bytes, which counts what is fetched from it; names in `held` wait for `gate`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.held: set[str] = set()
        self.gate = threading.Event()

    def fetch(self, url: str, place: str, stamp: Stamp) -> int:
        error = self.errors.get(url)
        self.fetched.append(url)
        if url in self.held:
            self.gate.wait(20)
        if error is not None:
            raise error
        Path(place).write_text("0123456789")
        return 10

    def wanted(self, *names: str, size: int = 10) -> list[Wanted]:
        return [Wanted(name, str(self.folder / name), Stamp(size, 0)) for name in names]

    def here(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def caches(store: Store) -> Iterator[list[FetchCache]]:
    """Caches to be closed."""
    made: list[FetchCache] = []
    yield made
    store.gate.set()
    for cache in made:
        cache.close()


def cache_of(
    store: Store, caches: list[FetchCache], most: int, *, threads: int = 4, warned: list[str] | None = None
):
    caches.append(FetchCache(most, store.fetch, (warned if warned is not None else []).append, threads))
    return caches[-1]


def test_what_is_needed_is_there_and_is_fetched_once(store: Store, caches: list[FetchCache]) -> None:
    cache = cache_of(store, caches, 100)
    cache.need("one", store.wanted("a", "b", "a"))
    cache.need("two", store.wanted("b", "c"))
    cache.need("one", store.wanted("a"))
    assert store.here() == {"a", "b", "c"} and sorted(store.fetched) == ["a", "b", "c"]
    assert cache.bytes == 30


def test_many_that_want_one_file_wait_for_one_fetch(store: Store, caches: list[FetchCache]) -> None:
    cache = cache_of(store, caches, 100)
    store.held = {"a"}
    threads = [threading.Thread(target=cache.need, args=[n, store.wanted("a")]) for n in range(5)]
    for thread in threads:
        thread.start()
    until(lambda: store.fetched == ["a"])
    store.gate.set()
    for thread in threads:
        thread.join(20)
    assert store.fetched == ["a"] and cache.bytes == 10


def test_what_comes_is_fetched_ahead_as_far_as_there_is_room(store: Store, caches: list[FetchCache]) -> None:
    cache = cache_of(store, caches, 40)
    cache.need("one", store.wanted("0"))
    cache.expect(store.wanted(*"123456"))
    until(lambda: store.here() == set("0123"))
    assert cache.most_held == 40
    cache.need("one", store.wanted("1"))  # 0 is done with: it makes room
    cache.expect(store.wanted(*"234"))
    cache.need("three", store.wanted("4"))  # returns once it is here
    cache.forget("three")
    assert store.here() == set("1234")
    cache.need("two", store.wanted("6"))  # what is done with goes first
    assert store.here() == set("1236")
    cache.need("four", store.wanted("7"))  # then the farthest of those that come
    assert store.here() == set("1267")
    assert cache.most_held == 40


def test_a_mini_batch_larger_than_the_cache_is_run_and_told_once(
    store: Store, caches: list[FetchCache]
) -> None:
    warned: list[str] = []
    cache = cache_of(store, caches, 25, warned=warned)
    cache.need("one", store.wanted(*"abcd"))
    cache.need("one", store.wanted(*"efgh"))
    assert set("efgh") <= store.here() and len(warned) == 1 and "--fetch_cache 25 bytes" in warned[0]
    cache.need("one", store.wanted("a"))
    assert cache.bytes <= 25 + 10


def test_a_file_that_a_script_has_changed_or_moved_is_fetched_again(
    store: Store, caches: list[FetchCache]
) -> None:
    cache = cache_of(store, caches, 100)
    cache.need("one", store.wanted("a", "b"))
    (store.folder / "a").unlink()
    (store.folder / "b").write_text("other")
    cache.need("one", store.wanted("a", "b"))
    assert (store.folder / "a").read_text() == (store.folder / "b").read_text() == "0123456789"
    assert cache.bytes == 20


def test_an_error_is_that_of_whoever_wants_the_file(store: Store, caches: list[FetchCache]) -> None:
    cache = cache_of(store, caches, 100)
    store.errors["a"] = InputError("a can't be read")
    cache.expect(store.wanted("a", "b"))
    until(lambda: "b" in store.here())
    for _ in range(2):
        with pytest.raises(InputError, match="a can't be read"):
            cache.need("one", store.wanted("b", "a"))
    del store.errors["a"]
    cache.need("one", store.wanted("b", "a"))
    assert store.here() == {"a", "b"} and cache.bytes == 20


def test_nothing_is_fetched_ahead_for_a_while_after_a_store_was_not_reached(
    store: Store, caches: list[FetchCache]
) -> None:
    cache = cache_of(store, caches, 100, threads=1)
    store.errors["a"] = DataUnreached("down")
    cache.expect(store.wanted("a", "b"))
    until(lambda: store.fetched == ["a"])
    del store.errors["a"]
    cache.need("one", store.wanted("c"))  # what is needed is tried, and shows that it is there again
    until(lambda: store.here() == {"b", "c"})
    assert store.fetched == ["a", "c", "b"]


def test_who_waits_when_it_ends_gets_an_error(store: Store, caches: list[FetchCache]) -> None:
    cache = cache_of(store, caches, 100, threads=1)
    store.held = {"a"}
    found: list[BaseException] = []

    def want() -> None:
        try:
            cache.need("one", store.wanted("a"))
        except ConnectionError as error:
            found.append(error)

    thread = threading.Thread(target=want)
    thread.start()
    until(lambda: store.fetched == ["a"])
    cache.close()
    thread.join(20)
    assert len(found) == 1
    with pytest.raises(ConnectionError):
        cache.need("one", store.wanted("b"))


def test_a_size_that_nobody_knew_counts_once_the_file_is_here(store: Store, caches: list[FetchCache]) -> None:
    cache = cache_of(store, caches, 100)
    cache.need("one", [Wanted("a", str(store.folder / "a"), UNKNOWN)])
    assert cache.bytes == 10


def test_what_was_fetched_and_not_used_goes_only_for_what_comes_next(
    store: Store, caches: list[FetchCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where blocks are divided, other files come first; those of before come later, and are fetched once."""
    monkeypatch.setattr("daskpar.processor.fetching.fetch_cache.NEAR", 2)
    cache = cache_of(store, caches, 50)
    cache.need("one", store.wanted("0"))
    cache.expect(store.wanted(*"12345"))
    until(lambda: store.here() == set("01234") and all(file.as_fetched[0] for file in cache._files.values()))
    cache.expect(store.wanted(*"61728394"))
    until(lambda: store.here() == set("01236"))  # 6 is near, and 4 was the last; 7 and 8 are not near
    cache.need("one", store.wanted("6"))
    until(lambda: store.here() == set("12367"))  # 0 was used
    cache.need("one", store.wanted("1"))
    cache.need("one", store.wanted("7"))
    until(lambda: store.here() == set("23789"))
    assert cache.most_held == 50
    assert sorted(store.fetched) == sorted("012346789")


def test_the_files_of_a_divided_block_are_all_fetched_within_the_bound(
    store: Store, caches: list[FetchCache]
) -> None:
    names = [f"{number:03d}" for number in range(200)]
    cache = cache_of(store, caches, 400, threads=8)
    left = {"one": names[:100], "two": names[100:]}
    while any(left.values()):
        for owner, files in left.items():
            if not files:
                other = max(left.values(), key=len)
                files[:] = other[len(other) // 2 :]
                del other[len(other) // 2 :]
            if files:
                ahead = [(a, b) for a, b in itertools.zip_longest(left["one"], left["two"])]
                cache.expect(store.wanted(*(name for pair in ahead for name in pair if name)))
                cache.need(owner, store.wanted(files.pop(0)))
    assert cache.most_held <= 400
    assert set(store.fetched) == set(names) and len(store.fetched) < 230


def test_a_file_that_waits_for_its_turn_is_asked_for_once(store: Store, caches: list[FetchCache]) -> None:
    cache = cache_of(store, caches, 100, threads=1)
    store.held, store.errors["x"] = {"x"}, InputError("x is damaged")

    def fails() -> None:
        with pytest.raises(InputError):
            cache.need("one", store.wanted("x", "a"))

    asking = [
        threading.Thread(target=fails),
        threading.Thread(target=cache.need, args=["two", store.wanted("a")]),
    ]
    asking[0].start()
    until(lambda: store.fetched == ["x"] and "a" in cache._files and len(cache._files["a"].needs) == 1)
    asking[1].start()
    until(lambda: len(cache._files["a"].needs) == 2)
    assert [file.wanted.url for file in cache._demanded] == ["a"]
    store.gate.set()
    for thread in asking:
        thread.join(20)
    cache.need("three", store.wanted("a"))
    assert store.fetched.count("a") == 1 and cache.bytes == 10
