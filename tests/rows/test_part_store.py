"""The seam of part stores: rows that travel with the commits end in the same output as those in a shared folder."""

from __future__ import annotations

import os
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daskpar.errors import InfrastructureLost
from daskpar.outputs.assembly import assemble
from daskpar.outputs.early_copy import EarlyCopy
from daskpar.outputs.ledger import Ledger
from daskpar.rows.part_store import PartStore, StoredPart, Written
from daskpar.rows.shared_folder import SharedFolder


@dataclass(frozen=True)
class Carried(PartStore):
    """Rows come to the driver with each commit, which keeps them in files of its own."""

    folder: Path

    @property
    def identity(self) -> str:
        return str(self.folder)

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)

    def writer(self, processor: str) -> CarriedWriter:
        return CarriedWriter(processor)

    def keep(self, part: str, offset: int, data: bytes) -> None:
        with open(self.folder / part, "r+b" if (self.folder / part).exists() else "wb") as file:
            file.seek(offset)
            file.write(data)

    def open(self, part: str) -> StoredPart:
        return Kept((self.folder / part).read_bytes())

    def size(self, part: str) -> int:
        return (self.folder / part).stat().st_size if (self.folder / part).exists() else 0

    def place_of(self, part: str) -> str:
        return f"{part} at the driver"

    def exists(self) -> bool:
        return self.folder.exists()

    def remove(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()


class CarriedWriter:
    """Writes nothing."""

    def __init__(self, processor: str) -> None:
        self.name, self.size = processor, 0

    @property
    def place(self) -> str:
        return "the connection to the driver"

    def append(self, data: bytes) -> Written:
        offset, self.size = self.size, self.size + len(data)
        return Written(offset, zlib.crc32(data), data)


class Kept(StoredPart):
    """In memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None:
        self._data = b""


STORES: list[Callable[[Path], PartStore]] = [SharedFolder, Carried]


@pytest.mark.parametrize("store_in", STORES)
@pytest.mark.parametrize("size", [10, 400_000])
def test_rows_come_back_in_order_whatever_keeps_them(
    tmp_path: Path, flush: Any, store_in: Callable[[Path], PartStore], size: int
) -> None:
    store = pickle.loads(pickle.dumps(store_in(tmp_path / "rows")))
    ledger = Ledger.open(tmp_path, 4, store=store)
    rows = {index: bytes([65 + index]) * size for index in range(4)}
    with EarlyCopy(ledger, tmp_path, str(tmp_path / "out")) as early_copy:
        one, two = store.writer("one"), store.writer("two")
        ledger.commit(flush(one, {0: rows[0]}))
        early_copy.advance()
        ledger.commit(flush(two, {3: rows[3]}))
        ledger.commit(flush(one, {1: rows[1], 2: rows[2]}))
        assemble(ledger.commits, store, str(tmp_path / "out"), start=early_copy.take())
    ledger.close()
    assert (tmp_path / "out").read_bytes() == b"".join(rows.values())
    assert store.exists()
    store.remove()
    assert not store.exists()


@pytest.mark.parametrize("store_in", STORES)
def test_rows_that_are_gone_are_missed_when_the_ledger_is_opened_again(
    tmp_path: Path, flush: Any, store_in: Callable[[Path], PartStore]
) -> None:
    store = store_in(tmp_path / "rows")
    ledger = Ledger.open(tmp_path, 2, store=store)
    writer = store.writer("one")
    ledger.commit(flush(writer, {0: b"zero\n"}))
    ledger.commit(flush(writer, {1: b"one\n"}))
    os.truncate(next((tmp_path / "rows").iterdir()), 6)
    with pytest.raises(InfrastructureLost, match=store.place_of(writer.name)):
        assemble(ledger.commits, store, str(tmp_path / "out"))
    ledger.close()
    again = Ledger.open(tmp_path, 2, store=store)
    assert again.commits.missing() == [(1, 2)]
    again.close()
