"""What a node that does not see the run directory is told of a step, and the places that it has for it."""

from __future__ import annotations

import os
from dataclasses import replace

from daskpar.jobspec.model import Input
from daskpar.processor.node_places import MOVED_SETTINGS, NodePlaces
from daskpar.processor.protocol import ProcessorSettings
from daskpar.value_classes import frozen

_RUN, _OWN_OUTPUTS = "run", "own-outputs"
"""Names in the folder of a node: where the tree of the run directory is laid out, and what scripts find as
their `output_dir`."""


@frozen(kw_only=True)
class SentStep:
    """What a node needs to open a step, beside the settings of its processors."""

    run_directory: str
    code: tuple[str, str] | None
    """The code folder of the driver, and where it is laid out below the folder of the node."""
    script: tuple[str, str] | None
    """The same of an entry script that lies elsewhere."""
    inputs: tuple[tuple[str, str], ...] = ()
    """The same of inputs that were sent."""
    laid_out: tuple[Input, ...] = ()
    """Inputs that scripts see as a copy or a tree of links."""
    window: int
    """How many bytes of rows and logs may be on their way from the node at one time."""


def target_in_run(path: str, run_directory: str) -> str:
    """Where below the folder of a node that lies which is at `path` in the run directory."""
    return f"{_RUN}/{os.path.relpath(path, run_directory)}"


def trees_of(settings: ProcessorSettings) -> tuple[str, ...]:
    """Folders of a step to which the files of such nodes come back while it runs."""
    return (settings.logs, *([settings.uploads.log] if settings.uploads is not None else []))


def left_of(settings: ProcessorSettings) -> str:
    """The one to which files come when the processors have ended; empty for none."""
    return settings.uploads.left if settings.uploads is not None else ""


def places_of(sent: SentStep, settings: ProcessorSettings, root: str) -> NodePlaces:
    """The places of a node whose folder is `root`."""
    run = (sent.run_directory, f"{root}/{_RUN}")
    plain = NodePlaces(root=root, moves=(run,))
    code = [(path, f"{root}/{target}") for path, target in filter(None, (sent.code, sent.script))]
    inputs = [(path, f"{root}/{target}") for path, target in sent.inputs]
    left = left_of(settings)
    return NodePlaces(
        root=root,
        moves=(*inputs, run),
        back_only=tuple(code),
        trees=tuple(plain.here(trees_of(settings))),
        left=plain.here(left),
        window=sent.window,
        own_outputs=f"{root}/{_OWN_OUTPUTS}/{os.path.basename(settings.working_dir)}",
    )


def settings_here(sent: SentStep, settings: ProcessorSettings, places: NodePlaces) -> ProcessorSettings:
    """The settings of a step's processors with the node's places."""
    moved = {name: places.here(getattr(settings, name)) for name in MOVED_SETTINGS}
    code, script = settings.code, settings.entry_script
    for path, target in filter(None, (sent.script, sent.code)):
        here = f"{places.root}/{target}"
        if code == path:
            code = here
        if script == path or script.startswith(f"{path}/"):
            script = here + script[len(path) :]
    return replace(
        settings, **moved, code=code, entry_script=script, output_dir=places.own_outputs, places=places
    )
