"""Asks workers whether they see what a step needs: a node that does not is left out, and never decides."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.datastores import known_options
from daskpar.engine.cluster import bounded
from daskpar.engine.plugins.node import probe_here, probe_token
from daskpar.jobspec.model import CommandStep, ParallelStep
from daskpar.locations import is_url
from daskpar.rundir.probe import NodeNeeds, Place, clear_marks, unshared

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

PROBE_SECONDS = 30.0
"""For a node to look, after which it is asked once more: a mount that hangs never lets it answer."""


def needs_of(
    step: ParallelStep | CommandStep, run_directory: Path, *, before_the_run: bool = False
) -> NodeNeeds:
    """What a node must see for `step`, as the driver sees it now.

    `before_the_run`: without what steps of the run make.
    """
    found = [_script(step)] if isinstance(step, ParallelStep) else []
    own = step.python
    if own is not None and not (own.build and before_the_run):
        # Nodes may have it where the driver has nothing.
        found.append(Place(what="the Python of the step", path=own.python, is_folder=False))
    if step.code is not None:
        found.append(Place.of("the code", str(step.code), inside=_script_name(step)))
    for data in step.inputs.values():
        if data.is_data and data.path and not is_url(data.path) and not (before_the_run and data.made_by):
            inside = "MLTable" if data.type == "mltable" else ""
            found.append(Place.of(f"the input {data.name!r}", data.path, inside=inside))
    writes = () if before_the_run else _folders_written(step)
    # Whoever fills an output uploads it; what a command has written, and rows, the driver does.
    filled = step.outputs.values() if isinstance(step, ParallelStep) else ()
    return NodeNeeds(
        run_directory=str(run_directory),
        reads=tuple(filter(None, found)),
        writes=tuple(writes),
        stores=tuple(
            output.path.rpartition("/")[0] if output.type == "uri_file" else output.path
            for output in filled
            if output.seen
        ),
        storage=known_options(),
        build=own.build if own is not None and not before_the_run else "",
    )


def _script(step: ParallelStep) -> Place | None:
    return (
        Place.of("the entry script", step.entry_script, same=True)
        if os.path.isabs(step.entry_script)
        else None
    )


def _script_name(step: ParallelStep | CommandStep) -> str:
    """The entry script's path within the code folder, where it lies there."""
    if isinstance(step, ParallelStep) and step.code and os.path.isabs(step.entry_script):
        name = os.path.relpath(step.entry_script, step.code)
        return "" if name.startswith("..") else name
    return ""


def _folders_written(step: ParallelStep | CommandStep) -> list[str]:
    """Local folders that the step's script or command writes to itself; rows are written by the driver."""
    rows = step.append_row_to if isinstance(step, ParallelStep) else None
    folders = {
        output.path if output.type != "uri_file" else os.path.dirname(output.path)
        for output in step.outputs.values()
        if not is_url(output.path) and output.path != rows
    }
    return sorted(folder for folder in folders if os.path.isdir(folder))


def node_lacks(client: Client, needs: NodeNeeds, address: str) -> str:
    """What the worker at `address` lacks of `needs`, in one sentence with what to do; else an empty text."""
    if needs.build:
        from daskpar.engine.own_python import build_on

        if trouble := build_on(client, address, needs.build):
            return trouble
    for _ in range(2):
        token = secrets.token_hex(4)
        mark = probe_token(token, address)
        try:
            trouble = str(
                bounded(
                    client.run, probe_here, needs=needs, token=token, workers=[address], seconds=PROBE_SECONDS
                )[address]
            )
        except TimeoutError:
            clear_marks(needs, mark)
            continue
        if trouble:
            clear_marks(needs, mark)
        return trouble or unshared(needs, mark)
    return (
        f"it did not say within {2 * PROBE_SECONDS:g} s whether it sees what the step needs "
        "(code, inputs, folders); a mount may hang there"
    )


def all_lack(client: Client, needs: NodeNeeds, addresses: Collection[str]) -> str:
    """What one of the workers lacks, where none of them has all of `needs`; else an empty text.

    Who does not answer counts as one that has: it is asked again when a step opens on it.
    """
    token = secrets.token_hex(4)
    try:
        answers = bounded(
            client.run,
            probe_here,
            needs=needs,
            token=token,
            workers=list(addresses),
            on_error="return",
            seconds=PROBE_SECONDS,
        )
    except TimeoutError:
        logger.warning("not all workers say whether they see what the run needs; each is asked again")
        answers = {}
    first = ""
    fit = len(answers) < len(addresses)
    for address in addresses:
        trouble = answers.get(address, "")
        if isinstance(trouble, BaseException):
            fit = True
        elif address in answers and not trouble:
            trouble = unshared(needs, probe_token(token, address))
            fit = fit or not trouble
        clear_marks(needs, probe_token(token, address))
        first = first or str(trouble)
    return "" if fit or not addresses else first
