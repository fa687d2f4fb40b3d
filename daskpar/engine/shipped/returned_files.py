"""Puts the pieces of files that nodes have sent where they belong in the run directory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from daskpar import atomic
from daskpar.atomic import explained
from daskpar.engine.shipped.grown_files import LEFT
from daskpar.errors import RunDirectoryError
from daskpar.processor.protocol import ReturnedFile


class ReturnedFiles:
    """Files below the folders `trees` and `left`, as `NodePlaces` has them.

    What an earlier process of the run has there stays: what a node sends comes behind it. Files of `left` are
    gathered in the folder `coming` until all of a node's are there; those of the folders `own` (tree -> path)
    until each is whole.
    """

    def __init__(
        self, trees: Sequence[str], left: str, coming: Path, own: Mapping[int, str] | None = None
    ) -> None:
        self._trees = trees
        self._left = left
        self._coming = coming
        self._own = own or {}
        self._begins: dict[tuple[str, int, str], int] = {}
        """Node and file -> where in the file that which the node has begins."""

    def keep(self, address: str, piece: ReturnedFile) -> None:
        """Write a piece of a file of the node at `address`.

        Raises InfrastructureLost or RunDirectoryError where it can't be written.
        """
        if piece.tree == LEFT and not piece.name:
            self._all_are_there(address)
            return
        name = PurePosixPath(piece.name)
        if name.is_absolute() or ".." in name.parts or not name.parts:
            raise RunDirectoryError(f"node {address} has sent a file with the path {piece.name!r}")
        if piece.tree in self._own and not piece.data:
            self._is_whole(address, piece)
            return
        tree = Path(self._trees[piece.tree]) if piece.tree >= 0 else self._coming_from(address, piece.tree)
        path = tree / name
        with explained(f"{path} can't be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                key = (address, piece.tree, piece.name)
                begin = self._begins.setdefault(key, os.fstat(fd).st_size)
                if not piece.offset:
                    os.ftruncate(fd, begin)
                atomic.write_all_at(fd, piece.data, begin + piece.offset)
            finally:
                os.close(fd)

    def _coming_from(self, address: str, tree: int = LEFT) -> Path:
        return self._coming / f"tree{tree}" / re.sub(r"\W", "-", address)

    def _is_whole(self, address: str, piece: ReturnedFile) -> None:
        """Give a file its place, of which all pieces are here."""
        path = Path(self._own[piece.tree], piece.name)
        coming = self._coming_from(address, piece.tree) / piece.name
        with explained(f"{path} can't be written"):
            for folder in (path.parent, coming.parent):
                folder.mkdir(parents=True, exist_ok=True)
            if not piece.offset:  # an empty file has no piece
                coming.write_bytes(b"")
            os.replace(coming, path)
        self._begins.pop((address, piece.tree, piece.name), None)

    def _all_are_there(self, address: str) -> None:
        found = self._coming_from(address)
        with explained(f"{self._left} can't be written"):
            for folder in found.iterdir() if found.is_dir() else ():
                target = Path(self._left, folder.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(folder, target)
