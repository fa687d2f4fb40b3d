"""What a step has to see of this machine when it runs in a container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from daskpar.jobspec.input_access import Access
from daskpar.jobspec.model import Input, ParallelStep, Step
from daskpar.locations import is_url
from daskpar.processor.containers.container_mounts import OF_THE_IMAGE, Mount


def mounts_of(step: Step, run_directory: Path) -> tuple[Mount, ...]:
    """Its code and inputs, its outputs, and the run directory, each as its script may use it.

    Empty for a step without a container.
    """
    if step.python is None or step.python.container is None:
        return ()
    return tuple(_mounts(step, run_directory))


def _mounts(step: Step, run_directory: Path) -> Iterator[Mount]:
    yield Mount(path=str(run_directory), writable=True)
    if step.code is not None:
        yield Mount(path=str(step.code), writable=True, firm=False)
    if isinstance(step, ParallelStep):
        if os.path.isabs(step.entry_script):
            yield Mount(path=_with_its_folder(step.entry_script), writable=True, firm=False)
        if step.append_row_to is not None and not is_url(step.append_row_to):
            # Scripts find it as their `output_dir`.
            folder = step.append_row_to if step.append_row_folder else os.path.dirname(step.append_row_to)
            yield Mount(path=folder, writable=True)
    else:
        for path in step.includes:
            yield Mount(path=str(path), writable=True, firm=False)
    for data in step.inputs.values():
        if data.is_data and data.path and not is_url(data.path):
            yield _of_input(data)
    for output in step.outputs.values():
        if not is_url(output.path):
            folder = os.path.dirname(output.path) if output.type == "uri_file" else output.path
            yield Mount(path=folder, writable=True)


def _with_its_folder(script: str) -> str:
    """The folder of a script, from which it may import; itself where that can't be seen in a container."""
    folder = os.path.dirname(script)
    return script if folder in OF_THE_IMAGE else folder


def _of_input(data: Input) -> Mount:
    """Scripts may change what is reached as it is. Of all else they have links or copies in the run
    directory, or it is read-only.
    """
    free = data.access == Access.AS_IS
    return Mount(path=data.path, writable=free, firm=not free)
