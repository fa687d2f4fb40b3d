"""What the processes of a step can't change on a node: inputs that are read-only for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from daskpar.jobspec.input_access import Access, writable_paths
from daskpar.jobspec.model import Input, Output
from daskpar.processor.private_mounts import NO_GUARD, Guard


def guard_of(
    inputs: Mapping[str, Input], outputs: Mapping[str, Output], run_directory: Path, *writable: str
) -> Guard:
    """The guard for the scripts of a step with these ports; `writable` folders are theirs too."""
    read_only = tuple(data.path for data in inputs.values() if data.access == Access.MOUNT)
    if not read_only:
        return NO_GUARD
    return Guard(read_only=read_only, writable=(*writable_paths(outputs, run_directory), *writable))
