"""Looks at the inputs at URLs before a job starts: what is wrong with them is said at once."""

from __future__ import annotations

from collections.abc import Iterator

from daskpar.errors import DataUnreached, InputError
from daskpar.jobspec.model import Input, PipelineJob


def check_remote_inputs(job: PipelineJob) -> None:
    """Raise InputError with all that is wrong with inputs that nodes are to fetch; DataUnreached where a
    store can't be reached. Those that the job itself writes are not looked at.
    """
    found = list(remote_troubles(job))
    if found:
        kind = DataUnreached if any(isinstance(error, DataUnreached) for error in found) else InputError
        raise kind("\n".join(str(error) for error in found))


def remote_troubles(job: PipelineJob) -> Iterator[InputError]:
    """What is wrong with each of them; a store that can't be reached is asked once."""
    from daskpar.data.fetch_file import remote_kind

    written = [output.path.rstrip("/") for step in job.steps for output in step.outputs.values()]
    seen: set[tuple[str, str]] = set()
    down: set[str] = set()
    for data in _fetched(job):
        place, store = data.path.rstrip("/"), "/".join(data.path.split("/", 3)[:3])
        made = any(place == path or place.startswith(f"{path}/") for path in written)
        if made or (place, data.type) in seen or store in down:
            continue
        seen.add((place, data.type))
        where = f"input {data.name!r}, {data.where}"
        try:
            remote_kind(data.path, data.type)
        except DataUnreached as error:
            down.add(store)
            yield DataUnreached(f"{error} ({where})")
        except InputError as error:
            yield InputError(f"{error} ({where})")


def _fetched(job: PipelineJob) -> Iterator[Input]:
    for step in job.steps:
        for data in step.inputs.values():
            if data.is_fetched and data.made_by is None:
                yield data
