"""A folder that holds daskpar and nothing else: by it another Python finds our modules, and none beside them.

Where daskpar is installed, the packages of this Python lie beside it, and these may not be for another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from functools import cache

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder `daskpar` with our modules."""


@cache
def library_folder() -> str:
    """The folder, for `sys.path` of another Python; this user's, and made when it is asked for first.

    Raises OSError where there is no place for it.
    """
    name = f"library-{hashlib.blake2b(os.fsencode(PACKAGE), digest_size=8).hexdigest()}"
    for parent in (cache_folder(), os.path.join(tempfile.gettempdir(), f"daskpar-{os.getuid()}")):
        with contextlib.suppress(OSError):
            return _made(os.path.join(parent, name))
    return _made(os.path.join(tempfile.mkdtemp(prefix="daskpar-"), name))


def cache_folder() -> str:
    """Where daskpar keeps for this user what may be made again: `DASKPAR_CACHE`, or below `~/.cache`."""
    if chosen := os.environ.get("DASKPAR_CACHE"):
        return os.path.abspath(chosen)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "daskpar")


def _made(folder: str) -> str:
    parent = os.path.dirname(folder)
    os.makedirs(parent, mode=0o700, exist_ok=True)
    if (owner := os.stat(parent).st_uid) not in (os.getuid(), 0):
        raise OSError(f"{parent} belongs to user {owner}")
    link = os.path.join(folder, "daskpar")
    if os.path.realpath(link) == os.path.realpath(PACKAGE):
        return folder
    os.makedirs(folder, mode=0o700, exist_ok=True)
    # Another process may be at it: the link is there whole, or not at all.
    fresh = f"{link}.{secrets.token_hex(4)}"
    os.symlink(PACKAGE, fresh)
    os.rename(fresh, link)
    return folder
