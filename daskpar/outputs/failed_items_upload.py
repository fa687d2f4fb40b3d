"""Puts the failed items of a step at a URL, in the place of those of an earlier process."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from daskpar.locations import filesystem, remote_errors
from daskpar.outputs.failed_items import LINES, ROWS, TABLE
from daskpar.outputs.file_upload import files_below, object_at, remove_object, upload_file
from daskpar.outputs.store_patience import with_patience

OUTAGE_SECONDS = 60.0
"""How long the failed items of a step wait for a store that is away."""
_OURS = re.compile(rf"{TABLE}|{re.escape(LINES)}|{ROWS}/part-[^/]*\.parquet")
"""What an earlier process may have put into the folder; everything else there stays."""


def upload_failed_items(
    place: Path, target: str, *, stopped: Callable[[], str], outage: float = OUTAGE_SECONDS
) -> None:
    """Upload the file or folder `place`, as `write_failed_items` has made it in a folder of its own, to the
    URL `target`, and remove it here. Raises InfrastructureLost where the store is away for `outage` seconds.
    """
    if place.is_file():
        with_patience(lambda: upload_file(str(place), target), target, stopped=stopped, outage=outage)
        place.unlink()
        return
    found = {name: path for path, name in files_below(str(place))}
    old = with_patience(lambda: _names_at(target), target, stopped=stopped, outage=outage)
    for name, path in sorted(found.items(), reverse=True):  # the MLTable comes after what it names

        def upload(path: str = path, url: str = object_at(target, name)) -> None:
            upload_file(path, url)

        with_patience(upload, object_at(target, name), stopped=stopped, outage=outage)
    for name in old:
        if name not in found and _OURS.fullmatch(name):
            remove_object(object_at(target, name))
    shutil.rmtree(place.parent)


def _names_at(folder: str) -> list[str]:
    """The paths of the objects below a URL, from there."""
    files, inner = filesystem(folder)
    files.invalidate_cache()
    with remote_errors():
        try:
            return [name.removeprefix(inner.rstrip("/")).lstrip("/") for name in files.find(inner)]
        except FileNotFoundError:
            return []
