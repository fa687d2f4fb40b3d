"""Steps that are tried apart from a run: what they write goes to a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import field
from pathlib import Path

from daskpar.paths import RunPaths
from daskpar.value_classes import frozen


@frozen(kw_only=True)
class StepsApart:
    """The steps `names`, which write below `folder`: nothing else is touched by them."""

    names: Collection[str]
    folder: Path
    """Laid out as a run directory."""
    _places: dict[str, str] = field(default_factory=dict)
    """Where an output lies in the spec -> where it is now: two names of one place stay one."""

    @property
    def paths(self) -> RunPaths:
        """Where what the steps make lies."""
        return RunPaths(self.folder)

    def place(self, step: str, output: str, path: str, *, is_file: bool) -> str:
        """Where `step` finds the output that is at `path` for everybody else."""
        inside = f"{self.folder}{os.sep}"
        if path.startswith(inside):
            return path
        for known, moved in self._places.items():
            if path == known or path.startswith(f"{known}/"):
                return moved + path.removeprefix(known)
        # The name of a file says what it holds, such as rows.parquet.
        own = self.paths.step(step).outputs / output
        moved = str(own / (os.path.basename(path.rstrip("/")) or output) if is_file else own)
        self._places[path.rstrip("/")] = moved
        return moved
