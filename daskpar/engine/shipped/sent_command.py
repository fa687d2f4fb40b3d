"""The command of a step as a node runs it that does not see the run directory: pure, paths for paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace

from daskpar.engine.shipped.sent_step import target_in_run
from daskpar.errors import InfrastructureLost
from daskpar.jobspec.input_access import shown_paths
from daskpar.jobspec.model import CommandStep, Output
from daskpar.locations import is_url
from daskpar.processor.azure_variables import mlflow_folder
from daskpar.processor.command_settings import CommandLayout, CommandSettings
from daskpar.processor.node_places import NodePlaces
from daskpar.processor.output_sweep import Uploads
from daskpar.value_classes import frozen

_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./-]+", re.ASCII)
"""A path that is one word of a shell, quoted or not."""
_IN_DOUBLE_QUOTES = re.compile(r'([\\"$`])')
_QUOTES = ("'\"'\"'", "'\\''")
"""A quote in single quotes, as `shlex.quote` writes it and as most people do."""
KEPT_FOLDERS = ("outputs", "logs")
"""Folders in the working directory that Azure ML keeps of each command."""


@frozen(kw_only=True)
class SentCommand:
    """What a node has been sent for a command: paths of the driver's, and where it lies below its folder."""

    run_directory: str
    code: str = ""
    """Where the code folder lies; empty: there is none."""
    includes: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    returned: tuple[Output, ...] = ()
    """Outputs that the command fills on the node, from where they are brought to their places."""


def check_root(root: str) -> None:
    """Raises InfrastructureLost where a node's folder has a name that does not go into every command."""
    if not _PLAIN.fullmatch(root):
        raise InfrastructureLost(
            f"its folder {root!r} has signs that a shell takes for others; give its Dask worker a "
            "--local-directory without blanks and special signs"
        )


def returned_outputs(step: CommandStep, run_directory: str, unseen: Iterable[str]) -> tuple[Output, ...]:
    """The local outputs of a command that a node fills in its own folder; `unseen`: `NodeView.returned`."""
    folders = set(unseen)
    return tuple(
        output
        for output in step.outputs.values()
        if not is_url(output.path)
        and (_is_within(output.path, run_directory) or _folder_of(output) in folders)
    )


def places_of_command(sent: SentCommand, root: str) -> NodePlaces:
    """Where the node whose folder is `root` has what the step's texts name."""
    outputs = [
        (output.path.rstrip("/"), f"{root}/outputs/{output.name}/{os.path.basename(output.path.rstrip('/'))}")
        for output in sent.returned
        if not _is_within(output.path, sent.run_directory)
    ]
    inputs = [(path, f"{root}/{target}") for path, target in sent.inputs]
    return NodePlaces(root=root, moves=(*inputs, *outputs, (sent.run_directory, f"{root}/run")))


def command_here(
    settings: CommandSettings, sent: SentCommand, root: str, step: CommandStep, uploads: Uploads | None
) -> CommandSettings:
    """The settings of a command with the paths of the node whose folder is `root`."""
    places = places_of_command(sent, root)
    here = places.text_here
    outputs = [
        os.path.dirname(here(output.path)) if output.type == "uri_file" else here(output.path)
        for output in sent.returned
    ]
    moved_uploads = places.here(uploads)
    filled = [f"{moved_uploads.filled}{name}" for name, _ in uploads.outputs] if uploads is not None else []
    layout = CommandLayout(
        root=root,
        run=f"{root}/run",
        code=f"{root}/{sent.code}" if sent.code else "",
        includes=tuple(f"{root}/{include}" for include in sent.includes),
        inputs=tuple(
            replace(data, path=here(data.path), seen=here(data.seen))
            for data in step.inputs.values()
            if data.is_laid_out
        ),
        links=tuple(_links(step, places)),
        folders=(*outputs, *filled),
        stale=(
            *(here(output.path) for output in sent.returned),
            *([moved_uploads.root] if uploads is not None else []),
            here(settings.stdout),
            here(settings.stderr),
        ),
    )
    in_shell = replace(places, moves=tuple(_in_a_shell(places.moves)))
    return replace(
        settings,
        command=in_shell.text_here(settings.command),
        cwd=here(settings.cwd),
        environment=places.here(settings.environment),
        stdout=here(settings.stdout),
        stderr=here(settings.stderr),
        fetching=places.here(settings.fetching),
        mounts=places.here(settings.mounts),
        layout=layout,
        uploads=moved_uploads,
    )


def brought_trees(sent: SentCommand, settings: CommandSettings, root: str) -> list[tuple[str, str]]:
    """What is brought of a command however it ended: folders of the node's, and where they go.

    `settings`: those of the driver.
    """
    folder = os.path.dirname(settings.cwd)
    kept = [*(f"{settings.cwd}/{name}" for name in KEPT_FOLDERS), mlflow_folder(folder)]
    return [(f"{root}/{target_in_run(path, sent.run_directory)}", path) for path in kept]


def _links(step: CommandStep, places: NodePlaces) -> Iterable[tuple[str, str]]:
    """Data of the step that lies among its code, which the driver's copy of the code has as links."""
    if step.code is None:
        return
    shown = shown_paths(step.inputs)
    paths = [data.path for data in step.inputs.values() if data.is_data and data.path]
    for path in [*paths, *(output.path for output in step.outputs.values())]:
        path = path.rstrip("/")
        if not is_url(path) and path != str(step.code) and _is_within(path, str(step.code)):
            target = places.text_here(shown.get(path, path))
            yield os.path.relpath(path, step.code), target


def _in_a_shell(moves: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """The moves for paths as they may be written in quotes; where they lead to needs none."""
    for old, new in moves:
        for text in {
            old,
            *(old.replace("'", quote) for quote in _QUOTES),
            _IN_DOUBLE_QUOTES.sub(r"\\\1", old),
        }:
            yield text, new


def _folder_of(output: Output) -> str:
    return output.path if output.type != "uri_file" else os.path.dirname(output.path)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
