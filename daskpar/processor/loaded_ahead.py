"""Modules of the standard library that the first fork server imports before it knows what it is for.

Those that only tables need are in nobody's way otherwise: a script that is given files, with a `calendar.py`
beside it, finds that one, as in a Python of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder

FOR_ALL = (
    "concurrent.futures.thread", "datetime", "faulthandler", "logging", "numbers", "platform", "queue",
    "string", "subprocess", "textwrap", "traceback",
)  # fmt: skip
"""What our own modules import. No variable of a step concerns these, or the next ones, which may come with a
`Prepare`."""
FOR_TABLES = (
    "calendar", "cmath", "csv", "decimal", "gzip", "hashlib", "hmac", "pkgutil", "pprint", "pydoc",
    "secrets", "ssl", "sysconfig", "tarfile", "unicodedata", "uuid", "zipfile", "zoneinfo",
)  # fmt: skip
"""What pandas imports besides."""

_unasked: set[str] = set()
"""Of these, what no step has asked for, by the names at the top."""


def load() -> None:
    """Import all of them."""
    _import(FOR_ALL)
    before = set(sys.modules)
    _import(FOR_TABLES)
    _unasked.update(name.partition(".")[0] for name in sys.modules.keys() - before)


def keep() -> None:
    """It is for tables."""
    _unasked.clear()


def make_way(folder: str) -> None:
    """`folder` goes first on `sys.path`: forget what was loaded ahead and would hide a module there."""
    for name in list(_unasked):
        found = PathFinder.find_spec(name, [folder])
        if found is not None and found.loader is not None:  # else a folder that is no package
            _unasked.discard(name)
            for loaded in [each for each in sys.modules if each.partition(".")[0] == name]:
                del sys.modules[loaded]


def _import(names: Iterable[str]) -> None:
    for name in names:
        # One that a folder on PYTHONPATH hides by another is for whoever needs it to meet.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
