"""What was uploaded to outputs at URLs: which files belong to which mini-batch, and which to none.

Two kinds of files in a folder of the run directory. A node writes down what it is about to upload, before it
begins; the driver writes down which of that counts, before it commits. So whatever ends a process in between,
a later one knows which objects may be there of tries that do not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from daskpar import atomic
from daskpar.value_classes import mutable

WITHOUT_INDEX = -1
"""Stands for a mini-batch where files belong to none: those that `shutdown()` or a command has written."""
_COUNTED = "counted.jsonl"
_BEGUN = "begun-*.jsonl"

Name = tuple[str, str]
"""Output, and path of a file in it."""
Span = tuple[int, int]


class BegunLog:
    """What one node is about to upload. `who`: a name that no other process has."""

    def __init__(self, folder: str, who: str) -> None:
        self._path = Path(folder, f"begun-{who}.jsonl")

    def add(self, token: str, index: int, names: Sequence[Name], *, of_init: bool = False) -> None:
        """The files of the sealed folder `token` are about to be uploaded.

        `of_init`: those that `init()` has made, which go along with some mini-batch.
        """
        _append(self._path, json.dumps([token, WITHOUT_INDEX if of_init else index, names, index]))


class CountedLog:
    """Which of what was begun counts, as the driver writes it down."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _COUNTED
        self._lock = threading.Lock()

    def add(self, tokens: Sequence[tuple[int, str]], span: Span | None = None) -> None:
        """The files of these sealed folders are those of their mini-batches from now on, or of `span` in
        them.
        """
        lines = "\n".join(json.dumps([token, index, span]) for index, token in tokens)
        with self._lock:
            _append(self._path, lines)

    def forget(self) -> None:
        """Nothing counts any more: all is done again."""
        with self._lock:
            self._path.unlink(missing_ok=True)


def _append(path: Path, text: str) -> None:
    with atomic.explained(f"{path} can't be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A line that was torn by a crash ends before this one begins.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, atomic.OWNER_FILE)
        try:
            atomic.write_all(fd, f"\n{text}\n".encode())
        finally:
            os.close(fd)


@mutable
class Judged:
    """What the logs say of the objects of a step."""

    spare: list[Name] = field(default_factory=list)
    """Of tries that do not count, and of none that does."""
    written_again: int = 0
    """Files that two mini-batches or more have written."""
    example: Name | None = None
    """One of these."""


def judge(folder: Path, piece_counts: Callable[[int], bool] = lambda _: True) -> Judged:
    """Say which uploaded files belong to no mini-batch, when all have their outcome.

    `piece_counts`: whether the pieces of a divided mini-batch count, for it may have failed as a whole.
    """
    live = _live(folder, piece_counts)
    known = {token for tokens in live.values() for token in tokens}
    hashes: list[int] = []
    spare: list[Name] = []
    owners: list[int] = []
    for token, owner, names, index in _begun(folder):
        # Without a word of the driver on a mini-batch, nothing of it is taken for superfluous.
        if token in known or (index not in live and index != WITHOUT_INDEX):
            hashes += map(_hash, names)
            owners += [owner] * len(names)
        else:
            spare += names
    counted = np.array(hashes, np.uint64)
    judged = Judged()
    if spare:
        wanted = np.isin(np.array([_hash(name) for name in spare], np.uint64), counted)
        judged.spare = sorted({name for name, keep in zip(spare, wanted, strict=True) if not keep})
    _, first, many = np.unique(counted, return_index=True, return_counts=True)
    if (many > 1).any():
        judged.written_again, judged.example = _by_several(folder, known, counted, np.array(owners), first)
    return judged


def _by_several(
    folder: Path, known: set[str], counted: np.ndarray, owners: np.ndarray, first: np.ndarray
) -> tuple[int, Name | None]:
    """How many names belong to more than one mini-batch, and one of them."""
    pairs = np.unique(np.stack((counted, owners.astype(np.int64).view(np.uint64))), axis=1)
    names, times = np.unique(pairs[0], return_counts=True)
    twice = set(names[times > 1].tolist())
    if not twice:
        return 0, None
    for token, _, found, _ in _begun(folder):
        for name in found if token in known else ():
            if _hash(name) in twice:
                return len(twice), name
    return len(twice), None


def _live(folder: Path, piece_counts: Callable[[int], bool]) -> dict[int, list[str]]:
    """Mini-batch -> the sealed folders whose files are its own: the last one, or the last of each piece."""
    whole: dict[int, str] = {}
    pieces: dict[int, dict[Span, str]] = {}
    left: list[str] = []
    for token, index, span in _lines(folder / _COUNTED):
        if index == WITHOUT_INDEX:
            left.append(token)
        elif span is None:
            whole[index] = token
            pieces.pop(index, None)
        else:
            pieces.setdefault(index, {})[span[0], span[1]] = token
    live = {index: [token] for index, token in whole.items()}
    for index, tokens in pieces.items():
        live[index] = list(tokens.values()) if piece_counts(index) else []
    live[WITHOUT_INDEX] = left
    return live


def _begun(folder: Path) -> Iterator[tuple[str, int, list[Name], int]]:
    """Sealed folder, mini-batch that has written the files (`WITHOUT_INDEX`: none alone), the files, and the
    mini-batch that they go along with.
    """
    for path in sorted(folder.glob(_BEGUN)):
        for token, owner, names, index in _lines(path):
            yield token, owner, [(output, name) for output, name in names], index


def _lines(path: Path) -> Iterator[Any]:
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    try:
                        yield json.loads(line)
                    except ValueError:
                        continue  # torn by a crash: what it was about has not begun
    except FileNotFoundError:
        return


def _hash(name: Name) -> int:
    text = "\0".join(name).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
