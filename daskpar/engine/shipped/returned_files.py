"""Puts the pieces of files that nodes have sent where they belong in the run directory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
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
    until each is whole. `tell` is told of the first of these that has no place.
    """

    def __init__(
        self,
        trees: Sequence[str],
        left: str,
        coming: Path,
        own: Mapping[int, str] | None = None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._trees = trees
        self._left = left
        self._coming = coming
        self._own = own or {}
        self._tell = tell
        self._told = False
        self._begins: dict[tuple[str, int, str], int] = {}
        """Node and file -> where in the file that which the node has begins."""

    def keep(self, address: str, piece: ReturnedFile) -> None:
        """Write a piece of a file of the node at `address`.

        Raises InfrastructureLost or RunDirectoryError where it can't be written.
        """
        if piece.tree == LEFT and not piece.name:
            self._all_are_there(address)
            return
        path = self._place_of(address, piece)
        if piece.tree in self._own and not piece.data:
            self._is_whole(address, piece, path)
            return
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

    def _place_of(self, address: str, piece: ReturnedFile) -> Path:
        """Where a piece is written. A node is not trusted: its path may lead out of no folder."""
        name = PurePosixPath(piece.name)
        in_tree = not (name.is_absolute() or ".." in name.parts or not name.parts or "\0" in piece.name)
        if not in_tree or piece.offset < 0:
            raise RunDirectoryError(f"node {address} has sent a file with the path {piece.name!r}")
        if 0 <= piece.tree < len(self._trees):
            return Path(self._trees[piece.tree]) / name
        if piece.tree == LEFT:
            return self._coming_from(address) / name
        if piece.tree in self._own:
            # Flat: a script may make a folder where it had a file before.
            key = blake2b(piece.name.encode(errors="surrogateescape"), digest_size=16).hexdigest()
            return self._coming_from(address, piece.tree) / key
        raise RunDirectoryError(f"node {address} has sent a file for the folder {piece.tree}, which is none")

    def _coming_from(self, address: str, tree: int = LEFT) -> Path:
        return self._coming / f"tree{tree}" / re.sub(r"\W", "-", address)

    def _is_whole(self, address: str, piece: ReturnedFile, coming: Path) -> None:
        """Give a file its place, of which all pieces are here."""
        path = Path(self._own[piece.tree], piece.name)
        with explained(f"{path} can't be written"):
            if not piece.offset:  # an empty file has no piece
                coming.parent.mkdir(parents=True, exist_ok=True)
                coming.write_bytes(b"")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(coming, path)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                coming.unlink()
                self._tell_once(address, path, error)
        self._begins.pop((address, piece.tree, piece.name), None)

    def _tell_once(self, address: str, path: Path, error: OSError) -> None:
        told, self._told = self._told, True
        if not told:
            self._tell(
                f"{path} of node {address} is not kept, for a file lies where it needs a folder, or a folder "
                f"where the file belongs ({error.strerror}); other such files are not kept either (said once)"
            )

    def _all_are_there(self, address: str) -> None:
        found = self._coming_from(address)
        with explained(f"{self._left} can't be written"):
            for folder in found.iterdir() if found.is_dir() else ():
                target = Path(self._left, folder.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(folder, target)
