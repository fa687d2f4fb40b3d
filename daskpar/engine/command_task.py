"""The Dask task that runs the command of a step on a node, and the call that ends it."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import get_worker, secede

from daskpar.chosen_container import ChosenContainer
from daskpar.datastores import own_options
from daskpar.engine.code_copy import lay_out_code
from daskpar.engine.input_copies import lay_out_inputs
from daskpar.engine.plugins.node import NodePlugin, plugin_name, plugin_of
from daskpar.errors import DataUnreached, InfrastructureLost, RunDirectoryError
from daskpar.outputs.step_uploads import StepUploads
from daskpar.processor.command_process import CommandRunner
from daskpar.processor.command_settings import CommandLayout, CommandSettings
from daskpar.processor.containers.container_mounts import Mount
from daskpar.processor.fetching.fetch_messages import FetchOrder
from daskpar.value_classes import frozen

logger = logging.getLogger(__name__)

KILLED = 128 + 9
"""Exit code of a command that was ended by a signal, as in a shell."""
GOODBYE_SECONDS = 1.0
"""How long a node that was sent SIGTERM with its command takes to begin to end, at most."""


class NodeLeft(Exception):
    """The node of a command ends, and the command with it."""


class NodeSilent(Exception):
    """A node does not give what it is asked for: most likely it is lost."""


class NodeUnfit(Exception):
    """This node can't run the command, for a reason of its own; another one may."""


def run_command(settings: CommandSettings) -> int:
    """The Dask task of a command step; returns the exit code.

    That is 128 + N for a death by signal N, as in a shell.
    """
    plugin = plugin_of(get_worker(), settings.run_id)
    _check_node(plugin, settings)
    secede()  # a command may run for days, and must not keep Dask's slots from other tasks
    if settings.layout is not None and not _lay_out(plugin, settings, settings.layout):
        return KILLED
    with nullcontext(settings) if settings.fetching is None else _fetched(plugin, settings) as here:
        return KILLED if here is None else _run_here(plugin, here)


def upload_outputs(settings: CommandSettings, token: str) -> None:
    """The Dask task after a command that has ended well on a node that does not see the run directory.

    It uploads what the command has written, under the name `token`.

    Raises InfrastructureLost where the store is away for long, Interrupted where the step was stopped.
    """
    assert settings.uploads is not None
    plugin = plugin_of(get_worker(), settings.run_id)
    _check_node(plugin, settings)
    secede()
    with own_options(settings.storage), _killable(plugin, settings) as killed:
        uploads = StepUploads(
            uploads=settings.uploads,
            who="node",
            warn=logger.warning,
            stopped=lambda: "the step was stopped" if killed.is_set() else "",
        )
        uploads.upload_all(token)


def _check_node(plugin: NodePlugin, settings: CommandSettings) -> None:
    """Raises NodeSilent where this is not the worker for which the settings were made.

    Dask gives a task of a lost worker to the next one under its address, which has nothing of what was sent.
    """
    if settings.layout is not None and settings.layout.root != plugin.known_folder:
        raise NodeSilent(f"{plugin.worker.address} has been started anew")


def _lay_out(plugin: NodePlugin, settings: CommandSettings, layout: CommandLayout) -> bool:
    """Make what the driver makes for nodes that see the run directory; False: it was killed before.

    Raises NodeUnfit where that can't be made here.
    """
    from daskpar.engine.plugins.far_files import remove_tree

    os.makedirs(layout.run, exist_ok=True)
    with _killable(plugin, settings) as killed:
        try:
            for stale in layout.stale:  # of an earlier try
                remove_tree(stale)
            lay_out_code(
                Path(layout.code) if layout.code else None,
                Path(settings.cwd),
                Path(layout.run),
                stopped=killed.is_set,
                note=logger.warning,
                includes=[Path(each) for each in layout.includes],
            )
            for folder in layout.folders:
                os.makedirs(folder, exist_ok=True)
            lay_out_inputs(layout.inputs, layout.run, killed.is_set)
            for name, target in layout.links:
                place = os.path.join(settings.cwd, name)
                if not os.path.lexists(place):
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                    os.symlink(target, place)
        except (OSError, InfrastructureLost, RunDirectoryError) as error:
            raise NodeUnfit(f"{error} (on {socket.gethostname()}; --local-directory of its worker)") from None
        return not killed.is_set()


@contextmanager
def _killable(plugin: NodePlugin, settings: CommandSettings) -> Iterator[threading.Event]:
    """What is set when the command is to end, while something else is done for it."""
    killed = threading.Event()
    if not plugin.begin_command(settings.step, settings.attempt, _Killed(killed)):
        killed.set()
    try:
        yield killed
    finally:
        plugin.end_command(settings.step, settings.attempt)


@contextmanager
def _fetched(plugin: NodePlugin, settings: CommandSettings) -> Iterator[CommandSettings | None]:
    """The settings with the places on this node where the inputs are that it has fetched; None: it was
    killed before. Raises DataUnreached where they can't be had.
    """
    from daskpar.processor.fetching.fetch_process import FetchProcess

    assert settings.fetching is not None
    with _killable(plugin, settings) as killed:
        order = FetchOrder(fetching=settings.fetching, storage=settings.storage)
        fetch = FetchProcess(order, settings.environment, plugin.worker.local_directory)
        try:
            if trouble := fetch.wait(killed):
                raise DataUnreached(trouble)
            here = fetch.fetching
            yield (
                None
                if killed.is_set()
                else replace(
                    settings,
                    fetching=here,
                    command=here.here(settings.command),
                    environment=here.values_here(settings.environment),
                )
            )
        finally:
            fetch.close()


@frozen
class _Killed:
    """Stands for a command that does not run yet, or no more."""

    event: threading.Event

    def kill(self) -> None:
        """End what is done for it."""
        self.event.set()


def _run_here(plugin: NodePlugin, settings: CommandSettings) -> int:
    # `python` in a command is the Python that daskpar runs in, also where no environment is activated. A
    # Python of its own comes with its own PATH.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    runner = (
        _in_container(settings, settings.container)
        if settings.container is not None
        else CommandRunner(
            command=settings.command,
            cwd=settings.cwd,
            environment={**({} if settings.python else {"PATH": path}), **settings.environment},
            python=settings.python,
            stdout_path=settings.stdout,
            stderr_path=settings.stderr,
            timeout=settings.timeout,
            guard=settings.guard,
        )
    )
    if not plugin.begin_command(settings.step, settings.attempt, runner):
        runner.kill()
    try:
        code = runner.run()
        # SIGTERM goes to all processes of a job at once. The command of a node that goes, too, has not
        # failed: it runs again elsewhere.
        if code and plugin.leaves_within(GOODBYE_SECONDS):
            raise NodeLeft(plugin.worker.address)
        return code
    finally:
        plugin.end_command(settings.step, settings.attempt)


def _in_container(settings: CommandSettings, container: ChosenContainer) -> CommandRunner:
    from daskpar.processor.containers.container_command import ContainerCommandRunner

    own = [settings.fetching.root if settings.fetching is not None else ""]
    own.append(settings.layout.root if settings.layout is not None else "")
    return ContainerCommandRunner(
        container,
        step=settings.step,
        mounts=(*settings.mounts, *(Mount(path=path, writable=True) for path in own if path)),
        command=settings.command,
        cwd=settings.cwd,
        environment=settings.environment,
        stdout_path=settings.stdout,
        stderr_path=settings.stderr,
        timeout=settings.timeout,
    )


def kill_command(dask_worker: Any, run_id: str, step: str, attempt: int) -> None:
    """Runs on a worker: end the command of a step and everything that it has started.

    Also where the command is only about to begin.
    """
    plugin = dask_worker.plugins.get(plugin_name(run_id))
    if plugin is not None:
        plugin.kill_command(step, attempt)
