"""Copies the log of a delta table from a URL, for the package `deltalake` to read it from the disk.

By itself the package opens stores with options of its own, named otherwise than those of a datastore, refuses
addresses that fsspec takes, and knows fewer stores. The log is small: what it names is read where it lies.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from daskpar.data.fetch_file import fetch_all
from daskpar.data.reach import Reach, reach_of, unreadable
from daskpar.data.stamps import UNKNOWN
from daskpar.errors import InputError
from daskpar.locations import filesystem, remote_errors

LOG = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(
    r"(?P<version>\d{20})\.checkpoint"
    r"(?:\.(?P<part>\d{10})\.(?P<parts>\d{10})\.parquet|\.parquet|\.[0-9a-fA-F-]{36}\.(?:parquet|json))"
)
_SIDECARS = "_sidecars/"


@contextmanager
def local_log(folder: str, version: int | None = None, *, whole: bool = False) -> Iterator[str]:
    """A local folder with the log of the delta table at the URL `folder`, as far as `version` needs it (None:
    the newest one); `whole`: all that is left of it.

    Raises InputError where there is none, DataUnreached where the store can't be reached.
    """
    log = f"{folder.rstrip('/')}/{LOG}"
    try:
        found, inner = filesystem(log)
        with remote_errors():
            paths = [str(path) for path in found.find(inner)]
    except OSError as error:
        if reach_of(error) != Reach.GONE:
            raise unreadable(log, error) from None
        paths = []
    head = f"{inner.rstrip('/')}/"
    names = [path.removeprefix(head) for path in paths if path.startswith(head)]
    if not any(_COMMIT.fullmatch(name) or _CHECKPOINT.fullmatch(name) for name in names):
        raise InputError(f"{folder} can't be read as a delta table: it has no {LOG}")
    wanted = names if whole else needed(names, version)
    with tempfile.TemporaryDirectory(prefix="daskpar-delta-") as here:
        fetch_all((f"{log}/{name}", f"{here}/{LOG}/{name}", UNKNOWN) for name in wanted if name)
        yield here


def needed(names: Collection[str], version: int | None) -> list[str]:
    """The files of a log, by their names in it, that tell the state of `version` (None: of the newest one).

    These are the last whole checkpoint up to there, and the commits from it on. All, where none are up to
    there: whoever reads them says why that is.
    """
    last = version if version is not None else max(map(_version, names), default=0)
    checkpoints: defaultdict[int, list[str]] = defaultdict(list)
    parts: dict[int, int] = {}
    for name in names:
        if (match := _CHECKPOINT.fullmatch(name)) and int(match["version"]) <= last:
            of = int(match["version"])
            checkpoints[of].append(name)
            parts[of] = max(parts.get(of, 1), int(match["parts"] or 1))
    start = max((of for of, found in checkpoints.items() if len(found) >= parts[of]), default=-1)
    commits = [name for name in names if _COMMIT.fullmatch(name) and start <= _version(name) <= last]
    if not commits and start < 0:
        return list(names)
    sidecars = [name for name in names if name.startswith(_SIDECARS)] if start >= 0 else []
    return [*checkpoints[start], *commits, *sidecars] if start >= 0 else commits


def _version(name: str) -> int:
    match = _COMMIT.fullmatch(name) or _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else -1
