"""Shows scripts the files of their mini-batches where they see the input: in a copy or a tree of links."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from daskpar.data.file_copies import copy_file, link_file
from daskpar.processor.protocol import SeenInput


class SeenItems:
    """Turns paths of data into those that scripts see.

    A file that an earlier try has moved or removed is put back first: each try begins with all its items.
    """

    def __init__(self, inputs: Sequence[SeenInput]) -> None:
        self._inputs = [(given, f"{given.path.rstrip('/')}/") for given in inputs]

    def __call__(self, paths: list[str]) -> list[str]:
        """The paths as scripts see them; those of no input that is seen elsewhere stay."""
        return [self._seen(path) for path in paths]

    def _seen(self, path: str) -> str:
        for given, folder in self._inputs:
            if path == given.path:
                return self._there(path, given.seen, given)
            if path.startswith(folder):
                return self._there(path, f"{given.seen}/{path[len(folder) :]}", given)
        return path

    def _there(self, path: str, seen: str, given: SeenInput) -> str:
        if not os.path.lexists(seen):
            os.makedirs(os.path.dirname(seen), exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another processor was faster
                (copy_file if given.copied else link_file)(path, seen)
        return seen
