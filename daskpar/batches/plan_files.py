"""Writes the Arrow files of a plan, and checks later that no power cut or bad disk has changed them."""

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

FileChecks = Mapping[str, Mapping[str, int]]
"""File name -> `size`, and `crc` where the file was synced when it was written."""


def write_arrow(path: Path, table: pa.Table, rows: int | None = None) -> None:
    """Write a table as one record batch for each of its chunks, of at most `rows` rows.

    The content is synced to the disk before the file gets its name.
    """
    import pyarrow as pa

    with (
        atomic.replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table, rows)


def checks_of_files(synced: Iterable[Path], others: Iterable[Path] = ()) -> dict[str, dict[str, int]]:
    """For `check_present` and `check_whole`: the size of each file, and its checksum where it was synced.

    The `others` are large, and neither synced nor read again.
    """
    checks = {path.name: {"size": path.stat().st_size, "crc": _checksum(path)} for path in synced}
    return checks | {path.name: {"size": path.stat().st_size} for path in others}


def check_present(folder: Path, checks: FileChecks) -> None:
    """PlanDamaged unless the synced files are there at full length.

    Quick: every process that opens a plan does it.
    """
    _check_sizes(folder, {name: expected for name, expected in checks.items() if "crc" in expected})


def check_whole(folder: Path, checks: FileChecks, *, same_boot: bool) -> None:
    """PlanDamaged unless all files are as they were written; for a driver that uses an earlier one's plan.

    In the same boot of the machine the sizes say so. After another boot the checksums do, and files without
    one are not trusted: they were never synced.
    """
    _check_sizes(folder, checks)
    if same_boot:
        return
    for name, expected in checks.items():
        if "crc" not in expected:
            raise PlanDamaged(
                f"the machine has booted since {folder / name} was written, "
                "which may have cost some of its rows"
            )
        if _checksum(folder / name) != expected["crc"]:
            raise PlanDamaged(
                f"the plan of mini-batches is damaged: the content of {folder / name} is not what was written"
            )


def _check_sizes(folder: Path, checks: FileChecks) -> None:
    for name, expected in checks.items():
        if os.path.basename(name) != name:  # a plan may come from somebody else
            raise PlanDamaged(f"the plan of mini-batches is damaged: it names the file {name!r}")
        try:
            size = os.stat(folder / name).st_size
        except FileNotFoundError:
            raise PlanDamaged(f"the plan of mini-batches is damaged: {folder / name} is missing") from None
        if size != expected["size"]:
            raise PlanDamaged(
                f"the plan of mini-batches is damaged: {folder / name} has {size} bytes of {expected['size']}"
            )


def _checksum(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while data := file.read(atomic.PIECE_BYTES):
            crc = zlib.crc32(data, crc)
    return crc


def checks_in(document: Mapping[str, Any]) -> FileChecks:
    """The checks in a plan.json; none in one that an earlier version wrote."""
    found: FileChecks = document.get("files", {})
    return found
