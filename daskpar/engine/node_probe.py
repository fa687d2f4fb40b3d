"""Asks workers whether they see what a step needs: a node that does not is left out, and never decides."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.datastores import known_options
from daskpar.engine.cluster import bounded
from daskpar.engine.own_python import packages_needed
from daskpar.engine.plugins.node import clear_marks_here, probe_here, probe_token
from daskpar.jobspec.model import CommandStep, Input, Output, ParallelStep
from daskpar.locations import is_url
from daskpar.rundir.probe import NodeNeeds, NodeView, Place, clear_marks, unshared

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
    container = own.container if own is not None and not before_the_run else None
    if own is not None and own.container is None and not (own.build and before_the_run):
        # Nodes may have it where the driver has nothing.
        found.append(Place(what="the Python of the step", path=own.python, is_folder=False))
    if step.code is not None:
        found.append(Place.of("the code", str(step.code), inside=_script_name(step), sent=True))
    for data in step.inputs.values():
        if data.is_data and data.path and not is_url(data.path) and not (before_the_run and data.made_by):
            inside = "MLTable" if data.type == "mltable" else ""
            sent = is_sent(data, run_directory)
            found.append(Place.of(f"the input {data.name!r}", data.path, inside=inside, sent=sent))
    writes = () if before_the_run else _folders_written(step)
    # Whoever fills an output uploads it; rows the driver does, and what a command has written in its sight.
    uploaded = tuple(
        output.path.rpartition("/")[0] if output.type == "uri_file" else output.path
        for output in step.outputs.values()
        if output.seen
    )
    return NodeNeeds(
        run_directory=str(run_directory),
        reads=tuple(filter(None, found)),
        writes=tuple(writes),
        fills=tuple(_filled(step)),
        returns=isinstance(step, CommandStep),
        stores=uploaded if isinstance(step, ParallelStep) else (),
        far_stores=uploaded if isinstance(step, CommandStep) else (),
        storage=known_options(),
        container=container.text if container is not None else "",
        needs_python=isinstance(step, ParallelStep),
        packages=packages_needed(step) if container is not None else (),
        build=own.build if own is not None and not before_the_run else "",
    )


def is_sent(data: Input, run_directory: Path) -> bool:
    """Whether an input is sent to nodes that do not see it: what the run itself has made."""
    return data.made_by is not None or Path(data.path).is_relative_to(run_directory)


def _script(step: ParallelStep) -> Place | None:
    return (
        Place.of("the entry script", step.entry_script, same=True, sent=True)
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
    folders = {
        output.path if output.type != "uri_file" else os.path.dirname(output.path)
        for output in _written_by_scripts(step)
    }
    return sorted(folder for folder in folders if os.path.isdir(folder))


def _filled(step: ParallelStep | CommandStep) -> list[tuple[str, str, str]]:
    """As `NodeNeeds.fills`."""
    found = []
    for output in _written_by_scripts(step):
        above = os.path.dirname(output.path.rstrip("/"))
        while not os.path.isdir(above):
            above = os.path.dirname(above)
        found.append((f"the output {output.name!r}", output.path, above))
    return found


def _written_by_scripts(step: ParallelStep | CommandStep) -> list[Output]:
    """Local outputs that the driver does not write."""
    ours = {step.append_row_to, step.settings.failed_items_to} if isinstance(step, ParallelStep) else set()
    return [output for output in step.outputs.values() if not is_url(output.path) and output.path not in ours]


def view_of(client: Client, needs: NodeNeeds, address: str, far: str = "") -> NodeView:
    """What the worker at `address` sees of `needs`. `far`: why it is known not to see the run directory."""
    if needs.build:
        from daskpar.engine.own_python import build_on

        if trouble := build_on(client, address, needs.build):
            return NodeView(trouble)
    if needs.container:
        from daskpar.engine.own_python import start_on

        if trouble := start_on(
            client,
            address,
            needs.container,
            for_commands=not needs.needs_python,
            packages=needs.packages,
        ):
            return NodeView(f"it can't start the step's container: {trouble}")
    return _view_of(client, needs, address, far)


def _view_of(client: Client, needs: NodeNeeds, address: str, far: str) -> NodeView:
    for _ in range(2):
        token = secrets.token_hex(4)
        mark = probe_token(token, address)
        try:
            view: NodeView = bounded(
                client.run,
                probe_here,
                needs=needs,
                token=token,
                far=far,
                workers=[address],
                seconds=PROBE_SECONDS,
            )[address]
        except TimeoutError:
            clear_marks(needs, mark)
            continue
        except BaseException:  # the step has ended meanwhile, and the client with it
            clear_marks(needs, mark)
            raise
        if view.trouble:
            clear_marks(needs, mark)
            return view
        seen = unshared(needs, mark, view)
        if seen != view:
            _clear_there(client, needs, mark, address)
        return _view_of(client, needs, address, seen.far) if seen.far and not view.far else seen
    return NodeView(
        f"it did not say within {2 * PROBE_SECONDS:g} s whether it sees what the step needs "
        "(code, inputs, folders); a mount may hang there"
    )


def _clear_there(client: Client, needs: NodeNeeds, mark: str, address: str) -> None:
    """Have a node take away what it has left where only it sees that."""
    with suppress(Exception):  # then a hidden file of a few bytes stays
        bounded(client.run, clear_marks_here, needs=needs, token=mark, workers=[address])


def views_of(client: Client, needs: NodeNeeds, addresses: Collection[str]) -> dict[str, NodeView]:
    """The same of all workers that answer; of the others nothing is known yet: they are asked when a step
    opens on them.
    """
    token = secrets.token_hex(4)
    try:
        answers: dict[str, Any] = bounded(
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
    found: dict[str, NodeView] = {}
    for address in addresses:
        view, mark = answers.get(address), probe_token(token, address)
        if isinstance(view, NodeView):
            seen = view if view.trouble else unshared(needs, mark, view)
            again = bool(seen.far) and not view.far
            found[address] = view_of(client, needs, address, seen.far) if again else seen
        clear_marks(needs, mark)
    return found
