"""Decides how the scripts of a step reach each input, so that none is changed by accident."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from daskpar.fetched_names import base_name
from daskpar.jobspec.model import Input, Output
from daskpar.locations import is_url


class Access(StrEnum):
    """How scripts reach the data of an input."""

    AS_IS = ""
    """In its place, where they may change it: `direct`, and what the step itself writes."""
    MOUNT = "mount"
    """In its place, which is read-only for them."""
    LINKS = "links"
    """In folders of the run directory that hold a link to each file."""
    COPY = "copy"
    """In the run directory, as a copy that is the step's own."""
    FETCHED = "fetched"
    """On the disk of each node, which fetches it from its URL."""

    @property
    def in_words(self) -> str:
        """For `plan`; empty for data that is reached as it is."""
        return _WORDS[self]


_WORDS = {
    Access.AS_IS: "",
    Access.MOUNT: "read-only for its scripts",
    Access.LINKS: "its scripts see a tree of links",
    Access.COPY: "its scripts see a private copy",
    Access.FETCHED: "fetched to each node",
}


def with_access(
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Output],
    folder: Path,
    *,
    mounts: bool,
    model_input: str = "",
) -> dict[str, Input]:
    """The inputs, each with how and where the scripts of its step see it.

    `folder` is where copies and trees of links are made. `mounts`: whether a folder can be made read-only
    for scripts in its own place. `model_input`: the one that scripts see in a folder that holds nothing else.
    """
    seen = {name: _with_access(data, outputs, folder, mounts=mounts) for name, data in inputs.items()}
    model = seen.get(model_input)
    if model is not None and model.is_data and (not is_url(model.path) or model.access == Access.FETCHED):
        access = Access.LINKS if model.access in (Access.AS_IS, Access.MOUNT) else Access(model.access)
        place = folder / model.name / _name_of(model.path)
        seen[model_input] = replace(model, access=str(access), seen=str(place))
    return seen


def shown_paths(inputs: Mapping[str, Input]) -> dict[str, str]:
    """Path of the data -> where scripts see it, for those that they see elsewhere."""
    return {data.path.rstrip("/"): data.seen for data in inputs.values() if data.seen}


def writable_paths(outputs: Mapping[str, Output], run_directory: Path | str) -> tuple[str, ...]:
    """Where the scripts of a step may write although it lies in an input."""
    return (str(run_directory), *(_written(output) for output in outputs.values() if not is_url(output.path)))


def _with_access(data: Input, outputs: Mapping[str, Output], folder: Path, *, mounts: bool) -> Input:
    access = _access(data, outputs, mounts=mounts)
    if access not in (Access.LINKS, Access.COPY, Access.FETCHED):
        return replace(data, access=str(access))
    place = folder / data.name
    seen = place / _name_of(data.path) if data.type == "uri_file" else place
    return replace(data, access=str(access), seen=str(seen))


def _name_of(path: str) -> str:
    if is_url(path):
        return base_name(path.rstrip("/"))
    return os.path.basename(path.rstrip("/"))


def _access(data: Input, outputs: Mapping[str, Output], *, mounts: bool) -> Access:
    if not data.is_data or not data.path or data.mode == "direct":
        return Access.AS_IS
    if is_url(data.path):
        return Access.FETCHED
    place = os.path.realpath(data.path)
    local = [output for output in outputs.values() if not is_url(output.path)]
    if place == "/" or any(os.path.realpath(output.path) == place for output in local):
        return Access.AS_IS
    if data.mode in ("download", "eval_download"):
        return Access.COPY
    # The file of such an output is made in the folder of the input, which then can't be read-only.
    written_in = any(os.path.realpath(_written(output)) == place for output in local)
    return Access.MOUNT if mounts and not written_in else Access.LINKS


def _written(output: Output) -> str:
    """The folder that has to be writable for an output."""
    return os.path.dirname(output.path) if output.type == "uri_file" else output.path
