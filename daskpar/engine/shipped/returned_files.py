"""Puts the pieces of files that nodes have sent where they belong in the run directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from daskpar.atomic import explained
from daskpar.engine.shipped.grown_files import LEFT
from daskpar.errors import RunDirectoryError
from daskpar.processor.protocol import ReturnedFile


class ReturnedFiles:
    """Files below the folders `trees` and `left`, as `NodePlaces` has them.

    What an earlier process of the run has there stays: what a node sends comes behind it.
    """

    def __init__(self, trees: Sequence[str], left: str = "") -> None:
        self._trees = trees
        self._left = left
        self._begins: dict[tuple[str, int, str], int] = {}
        """Node and file -> where in the file that which the node has begins."""

    def keep(self, address: str, piece: ReturnedFile) -> None:
        """Write a piece of a file of the node at `address`.

        Raises InfrastructureLost or RunDirectoryError where it can't be written.
        """
        name = PurePosixPath(piece.name)
        if name.is_absolute() or ".." in name.parts or not name.parts:
            raise RunDirectoryError(f"node {address} has sent a file with the path {piece.name!r}")
        path = Path(self._left if piece.tree == LEFT else self._trees[piece.tree], name)
        with explained(f"{path} can't be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                key = (address, piece.tree, piece.name)
                begin = self._begins.setdefault(key, os.fstat(fd).st_size)
                if not piece.offset:
                    os.ftruncate(fd, begin)
                view, offset = memoryview(piece.data), begin + piece.offset
                while view:
                    written = os.pwrite(fd, view, offset)
                    view, offset = view[written:], offset + written
            finally:
                os.close(fd)
