"""How the files of a plan reach the disk, and whether they still are what was written."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar import atomic
from daskpar.errors import PlanDamaged

if TYPE_CHECKING:
    import pyarrow as pa

Marks = Mapping[str, Mapping[str, int]]
"""File name -> `size`, and `crc` where the file was synced when it was written."""


def write_arrow(path: Path, table: pa.Table, rows: int | None = None) -> None:
    """Write a table as one record batch for each of its chunks, of at most `rows` rows.

    It is on the disk before it has its name.
    """
    import pyarrow as pa

    with (
        atomic.replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table, rows)


def mark(synced: Iterable[Path], others: Iterable[Path] = ()) -> dict[str, dict[str, int]]:
    """What to remember of files of one folder.

    Checksums of those that were synced; the sizes alone of the others, which are large.
    """
    marks = {path.name: {"size": path.stat().st_size, "crc": _checksum(path)} for path in synced}
    return marks | {path.name: {"size": path.stat().st_size} for path in others}


def check_present(folder: Path, marks: Marks) -> None:
    """PlanDamaged unless the synced files are there at full length.

    Quick: every process that opens a plan does it.
    """
    _check_sizes(folder, {name: known for name, known in marks.items() if "crc" in known})


def check_whole(folder: Path, marks: Marks, *, same_boot: bool) -> None:
    """For the driver that goes on with a plan: all files are as they were written. Raises PlanDamaged.

    Where the machine has booted since, the small ones by their checksums; the large ones were never synced
    and are not trusted then.
    """
    _check_sizes(folder, marks)
    if same_boot:
        return
    for name, known in marks.items():
        if "crc" not in known:
            raise PlanDamaged(
                f"the machine has booted since {folder / name} was written, "
                "which may have cost some of its rows"
            )
        if _checksum(folder / name) != known["crc"]:
            raise PlanDamaged(
                f"the plan of mini-batches is damaged: the content of {folder / name} is not what was written"
            )


def _check_sizes(folder: Path, marks: Marks) -> None:
    for name, known in marks.items():
        try:
            size = os.stat(folder / name).st_size
        except FileNotFoundError:
            raise PlanDamaged(f"the plan of mini-batches is damaged: {folder / name} is missing") from None
        if size != known["size"]:
            raise PlanDamaged(
                f"the plan of mini-batches is damaged: {folder / name} has {size} bytes of {known['size']}"
            )


def _checksum(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while data := file.read(atomic.PIECE_BYTES):
            crc = zlib.crc32(data, crc)
    return crc


def marks_of(document: Mapping[str, Any]) -> Marks:
    """The marks in a plan.json; none in one that an earlier version wrote."""
    found: Marks = document.get("files", {})
    return found
