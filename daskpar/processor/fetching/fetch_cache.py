"""The files that a node has fetched for its mini-batches: those that are wanted, and those that will be.

A file is fetched once, however many processors want it. What a running mini-batch has stays; of what comes
next, as much is fetched and kept as has room; what is done with goes when room is needed, the longest unused
first. So a retry nearly always finds its files.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from time import monotonic
from typing import NamedTuple

from daskpar.data.reach import Reach, reach_of
from daskpar.data.stamps import Stamp

THREADS = 16
"""Files that are fetched at one time."""
NEAR = 32
"""Files that come next, for which one is given up that was fetched and will be wanted later."""
HELD_SHARE = 1 / 64
"""Of the cache that the next mini-batch of a processor may take to be held before it is asked for."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds without fetching ahead after a store could not be reached; twice as long each time."""
_ENDS = "the node ends"


class Wanted(NamedTuple):
    """A file that a mini-batch has."""

    url: str
    place: str
    """Where it is to lie."""
    stamp: Stamp


class _State(Enum):
    WAITING = auto()
    FETCHING = auto()
    HERE = auto()
    FAILED = auto()


@dataclass(eq=False, slots=True)
class _File:
    wanted: Wanted
    state: _State = _State.WAITING
    size: int = 0
    """Bytes that count: those planned until it is here."""
    as_fetched: tuple[int, int] = (0, 0)
    """Size and time of change."""
    pins: int = 0
    """Mini-batches under way that have it."""
    was_used: bool = False
    """Whether one has had it."""
    needs: list[_Need] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Need:
    """One mini-batch that waits for its files."""

    missing: int = 0
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


class FetchCache:
    """At most about `most_bytes` of files, fetched by `fetch(url, place, stamp)`, which returns their size.

    A mini-batch that is larger than that has all its files all the same: `warn` is told once. Methods are for
    any thread.
    """

    def __init__(
        self,
        most_bytes: int,
        fetch: Callable[[str, str, Stamp], int],
        warn: Callable[[str], None] = lambda _: None,
        threads: int = THREADS,
    ) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        """Of what is here or on its way."""
        self.most_held = 0
        """The most that `bytes` has been."""
        self._fetch = fetch
        self._warn = warn
        self._files: dict[str, _File] = {}
        self._idle: OrderedDict[str, _File] = OrderedDict()
        """Files that a mini-batch has had, and none has or will have soon, the longest unused first."""
        self._early: OrderedDict[str, _File] = OrderedDict()
        """Files that no mini-batch has had yet, and none will soon: others come first, since a block was
        divided or given away. Most will be wanted all the same."""
        self._demanded: deque[_File] = deque()
        self._ahead: Iterator[Wanted] = iter(())
        self._next_ahead: Wanted | None = None
        """The first one that was read of `_ahead` and has no room in `_soon`."""
        self._soon: dict[str, int] = {}
        """URL -> bytes of files that will be wanted and were not yet, in that order: as many as fit in beside
        those of mini-batches under way."""
        self._soon_bytes = 0
        self._pinned_bytes = 0
        self._unfetched: deque[Wanted] = deque()
        """Those of `_soon` that nobody has begun to fetch."""
        self._is_stale = False
        """Whether a file of `_soon` is not here any more."""
        self._owned: dict[object, list[_File]] = {}
        self._failures = 0
        self._pause_until = 0.0
        self._warned = False
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"daskpar-fetch-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def need(self, owner: object, wanted: Sequence[Wanted]) -> None:
        """Return once these files are here; they stay until `owner` needs others or is forgotten.

        Raises what fetching one of them raised; then `owner` has none.
        """
        need = _Need()
        with self._changed:
            if self._closed:
                raise ConnectionError(_ENDS)
            self._release(owner)
            files = self._owned[owner] = [self._pinned(each) for each in wanted]
            for file in dict.fromkeys(files):
                file.was_used = True
                if file.state is _State.HERE:
                    continue
                need.missing += 1
                if file.state is not _State.FETCHING and not file.needs:  # else it is among them already
                    file.state = _State.WAITING
                    self._demanded.append(file)
                file.needs.append(need)
            if need.missing or self._unfetched or self._next_ahead is not None:
                self._changed.notify()
        if need.missing:
            need.done.wait()
        if need.error is not None:
            self.forget(owner)
            raise need.error

    def hold(self, owner: object, wanted: Sequence[Wanted]) -> list[tuple[str, int, int]] | None:
        """Keep for `owner` what is here already: place, size and time of change of each file.

        None where one is not here, or where so much room is taken that mini-batches under way may need it.
        """
        with self._changed:
            files = [self._files.get(each.url) for each in wanted]
            size = 0
            for file in files:
                if file is None or file.state is not _State.HERE or not _untouched(file):
                    return None
                size += file.size
            if size > self.most_bytes * HELD_SHARE or self._pinned_bytes + size > self.most_bytes / 4:
                return None
            self._owned[owner] = [self._pinned(each) for each in wanted]
            return [(file.wanted.place, *file.as_fetched) for file in files if file is not None]

    def take(self, owner: object) -> None:
        """What is held for `owner` is used from now on."""
        with self._changed:
            for file in self._owned.get(owner, ()):
                file.was_used = True

    def adopt(self, owner: object, wanted: Sequence[Wanted]) -> None:
        """Take files as fetched that an earlier cache has left here, for as long as `owner` has them."""
        with self._changed:
            for each in wanted:
                try:
                    seen = os.stat(each.place)
                except OSError:
                    continue  # its mini-batch does without it, as it did before
                file = self._pinned(each)
                file.was_used = True
                if file.state is _State.WAITING:
                    file.state, file.as_fetched = _State.HERE, (seen.st_size, seen.st_mtime_ns)
                    self._count(file, seen.st_size)
                self._owned.setdefault(owner, []).append(file)

    def forget(self, owner: object) -> None:
        """What `owner` had may go."""
        with self._changed:
            self._release(owner)
            self._owned.pop(owner, None)
            self._changed.notify()

    def expect(self, ahead: Iterable[Wanted]) -> None:
        """What will be needed, in that order; in the place of what was expected before."""
        with self._changed:
            for url in self._soon:
                file = self._files.get(url)
                if file is not None and file.state is _State.HERE:
                    self._rests(file)
            self._ahead, self._next_ahead, self._soon, self._soon_bytes = iter(ahead), None, {}, 0
            self._unfetched.clear()
            self._is_stale = False
            self._changed.notify()

    def is_ahead(self, files: int) -> bool:
        """Whether at least so many files that will be wanted are known, and all of them here or under way."""
        return not self._is_stale and len(self._soon) >= files

    def close(self) -> None:
        """Begin to fetch nothing more; whoever waits gets an error."""
        with self._changed:
            self._closed = True
            for file in self._files.values():
                self._told(file, ConnectionError(_ENDS))
            self._changed.notify_all()

    # -- the files that mini-batches have (with the lock) --------------------------------------------------

    def _pinned(self, wanted: Wanted) -> _File:
        file = self._files.get(wanted.url)
        if file is None:
            file = self._files[wanted.url] = _File(wanted)
        if not file.pins:
            self._pinned_bytes += file.size
            self._wakes(wanted.url)
            self._soon_bytes -= self._soon.pop(wanted.url, 0)
        file.pins += 1
        if file.state is _State.HERE and not _untouched(file):  # a script has moved or changed it
            self._count(file, 0)
            file.state = _State.WAITING
        return file

    def _release(self, owner: object) -> None:
        for file in self._owned.get(owner, ()):
            file.pins -= 1
            if file.pins:
                continue
            self._pinned_bytes -= file.size
            if file.state is _State.HERE:
                self._rests(file)
            elif file.state is _State.FAILED:
                del self._files[file.wanted.url]
        self._owned[owner] = []

    def _rests(self, file: _File) -> None:
        """No mini-batch has it, and none will soon."""
        (self._idle if file.was_used else self._early)[file.wanted.url] = file

    def _wakes(self, url: str) -> None:
        self._idle.pop(url, None)
        self._early.pop(url, None)

    # -- fetching ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                while (file := self._next()) is None:
                    if self._closed:
                        return
                    pause = self._pause_until - monotonic()
                    self._changed.wait(pause if pause > 0 else None)
                self._changed.notify()  # one after the other, as far as there is work: not all for each file
            try:
                size: int = self._fetch(*file.wanted)
                seen = os.stat(file.wanted.place)
            except BaseException as error:
                self._failed(file, error)
            else:
                self._fetched(file, size, (seen.st_size, seen.st_mtime_ns))

    def _next(self) -> _File | None:
        """The file to fetch now, counted and marked; None: nothing is to be done."""
        if self._closed:
            return None
        if self._demanded:
            file = self._demanded.popleft()
            self._make_room(max(0, file.wanted.stamp.size), at_any_cost=True)
            return self._begun(file)
        if monotonic() < self._pause_until:
            return None
        self._look_further()
        while self._unfetched:
            wanted = self._unfetched[0]
            if wanted.url in self._soon and wanted.url not in self._files:
                is_near = wanted.url in itertools.islice(self._soon, NEAR)
                if not self._make_room(max(0, wanted.stamp.size), for_near=is_near):
                    return None
                self._unfetched.popleft()
                file = self._files[wanted.url] = _File(wanted)
                return self._begun(file)
            self._unfetched.popleft()  # a mini-batch has wanted it before its turn came
        return None

    def _look_further(self) -> None:
        """Take into `_soon` what has room; it is kept where it is here, and fetched where not."""
        while True:
            wanted = self._next_ahead
            if wanted is None:
                try:
                    wanted = next(self._ahead, None)
                except Exception:  # a plan that can't be read: whoever wants one of its files is told
                    wanted = None
                if wanted is None:
                    return
                self._next_ahead = wanted
            file = self._files.get(wanted.url)
            size = file.size if file is not None else max(0, wanted.stamp.size)
            if wanted.url not in self._soon and (file is None or not file.pins):
                if self._pinned_bytes + self._soon_bytes + size > self.most_bytes:
                    return
                self._soon[wanted.url] = size
                self._soon_bytes += size
                self._wakes(wanted.url)
                if file is None:
                    self._unfetched.append(wanted)
            self._next_ahead = None

    def _begun(self, file: _File) -> _File:
        file.state = _State.FETCHING
        self._count(file, max(0, file.wanted.stamp.size))
        return file

    def _count(self, file: _File, size: int) -> None:
        self.bytes += size - file.size
        self.most_held = max(self.most_held, self.bytes)
        if file.pins:
            self._pinned_bytes += size - file.size
        file.size = size

    def _make_room(self, size: int, *, for_near: bool = False, at_any_cost: bool = False) -> bool:
        """Remove files until `size` more bytes fit; whether they do."""
        if self.bytes + size <= self.most_bytes:
            return True
        self._look_further()  # keeps what will be wanted
        while self._idle:
            self._evict(self._idle.popitem(last=False)[1])
            if self.bytes + size <= self.most_bytes:
                return True
        while self._early and (for_near or at_any_cost):
            self._evict(self._early.popitem()[1])
            if self.bytes + size <= self.most_bytes:
                return True
        if not at_any_cost:
            return False
        for url in list(reversed(self._soon)):
            file = self._files.get(url)
            if file is None or file.state is not _State.HERE:
                continue
            self._soon_bytes -= self._soon.pop(url)
            self._evict(file)
            self._is_stale = True
            if self.bytes + size <= self.most_bytes:
                return True
        if not self._warned:
            self._warned = True
            self._warn(
                f"the files of the mini-batches that run at one time on this node take more than "
                f"--fetch_cache {self.most_bytes} bytes: more than that is kept"
            )
        return True

    def _evict(self, file: _File) -> None:
        del self._files[file.wanted.url]
        self._count(file, 0)
        try:
            os.unlink(file.wanted.place)
        except FileNotFoundError:
            pass  # a script has removed it
        except OSError:
            pass  # it goes with the folder

    def _fetched(self, file: _File, size: int, as_fetched: tuple[int, int]) -> None:
        with self._changed:
            self._failures, self._pause_until = 0, 0.0
            file.state, file.as_fetched = _State.HERE, as_fetched
            self._count(file, size)
            if not file.pins:
                if (url := file.wanted.url) in self._soon:
                    self._soon_bytes += size - self._soon[url]  # more or less than was planned
                    self._soon[url] = size
                else:
                    self._rests(file)
            self._told(file)

    def _failed(self, file: _File, error: BaseException) -> None:
        with self._changed:
            file.state = _State.FAILED
            self._count(file, 0)
            if reach_of(error) is Reach.UNREACHED:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 16))
                self._failures += 1
                self._pause_until = monotonic() + pause
            if not file.pins:  # fetched ahead: whoever wants it tries again
                del self._files[file.wanted.url]
                self._is_stale = True
            self._told(file, error)

    def _told(self, file: _File, error: BaseException | None = None) -> None:
        for need in file.needs:
            need.missing -= 1
            need.error = need.error or error
            if not need.missing or need.error is not None:
                need.done.set()
        file.needs.clear()


def _untouched(file: _File) -> bool:
    """Whether a file is as it was fetched."""
    try:
        seen = os.stat(file.wanted.place)
    except OSError:
        return False
    return (seen.st_size, seen.st_mtime_ns) == file.as_fetched
