"""The fork server of a step that runs in a container, with all that its processors have to see there."""

from __future__ import annotations

from collections.abc import Iterator

from daskpar.chosen_container import ChosenContainer
from daskpar.errors import UsageError
from daskpar.processor.containers.container_links import led_to
from daskpar.processor.containers.container_mounts import Mount, arranged, for_files
from daskpar.processor.containers.container_server import ServerPlace
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.protocol import ProcessorSettings


def container_server(settings: ProcessorSettings, container: ChosenContainer) -> ForkServer:
    """Start it. OSError, with what to do, where it can't be started."""
    try:
        mounts = arranged(_seen(settings))
        mounts = arranged([*mounts, *led_to(mounts)])
        mounts = arranged([*mounts, *for_files(_planned_files(settings), mounts)])
    except UsageError as error:
        raise OSError(str(error)) from None
    return ForkServer(
        environment=settings.environment,
        tabular=settings.tabular,
        threads=settings.threads,
        log=str(settings.log_paths.fork_server(settings.node)),
        place=ServerPlace(container=container, step=settings.step, mounts=mounts),
    )


def _seen(settings: ProcessorSettings) -> Iterator[Mount]:
    """What the driver knows that it needs, and what this node has of its own."""
    yield from settings.mounts
    if settings.fetching is not None and settings.fetching.root:
        yield Mount(path=settings.fetching.root, writable=True)
    if settings.places is not None:
        yield Mount(path=settings.places.root, writable=True)


def _planned_files(settings: ProcessorSettings) -> list[str]:
    """The files of its mini-batches: an MLTable and links may name some anywhere."""
    from daskpar.batches.plan import Plan

    return Plan.open(settings.plan).files()
