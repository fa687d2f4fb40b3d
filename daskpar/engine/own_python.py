"""The own Python of a step: whether it has what the step needs, and building it before the step begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from daskpar.chosen_container import ChosenContainer
from daskpar.chosen_python import TABLE_PACKAGES, ChosenPython
from daskpar.engine.server_needs import looks_tabular
from daskpar.errors import DaskparError, JobFailed, UsageError
from daskpar.jobspec.model import ParallelStep, Step

if TYPE_CHECKING:
    from distributed import Client


def packages_needed(step: Step) -> tuple[str, ...]:
    """Packages that daskpar's side of a step needs in its Python."""
    if not isinstance(step, ParallelStep):
        return ()
    if looks_tabular(step):
        return TABLE_PACKAGES
    return ("pyarrow",) if step.partition_keys or step.settings.append_row_format == "parquet" else ()


def looked_at(python: str | ChosenContainer, step: Step) -> ChosenPython:
    """A Python that was looked at, or that of a container; UsageError where it lacks what the step needs in
    any case.
    """
    from daskpar.environments.python_probe import Looked, how_to_have, lacks, look_at, name_of
    from daskpar.jobspec.script_imports import package_of, wanted_imports

    def look(modules: tuple[str, ...]) -> Looked:
        if isinstance(python, str):
            return look_at(python, modules)
        from daskpar.environments.container_probe import look_in

        return look_in(python, modules)

    if not isinstance(step, ParallelStep):
        return look_at(python, for_commands=True).python if isinstance(python, str) else _of_image(python)
    wanted = wanted_imports(step)
    found = look(tuple(dict.fromkeys(name for _, _, name in wanted)))
    if trouble := lacks(found.python, packages_needed(step)):
        raise UsageError(trouble)
    for path, line, name in wanted:
        if name in found.missing:
            raise UsageError(
                f"the entry script ({path}:{line}) imports {name!r}, which {name_of(found.python)} does not "
                f"have: {how_to_have(found.python, [package_of(name)])}"
            )
    return found.python


def _of_image(container: ChosenContainer) -> ChosenPython:
    """The container of a command, whose image need hold no Python."""
    from daskpar.environments.container_probe import image_of

    return ChosenPython(python=container.python, container=container, image_id=image_of(container).id)


def have_built(step: Step, *, progress: Callable[[str], object], stopped: Callable[[], object]) -> None:
    """Build the environment of a step on this machine, unless it is there.

    Raises JobFailed where it can't be built, or lacks what the step needs, and BuildStopped.
    """
    if step.python is None or not step.python.build:
        return
    from daskpar.environments.build_order import BuildOrder
    from daskpar.environments.built import ensure_built

    order = BuildOrder.of(step.python.build)
    try:
        ensure_built(order, progress=progress, stopped=stopped)
        looked_at(order.python, step)
    except UsageError as error:
        raise JobFailed(f"the environment {order.name} ({order.where}): {error}") from error


def build_here(text: str) -> str:
    """Runs on a node: build an environment there; why it can't be, else an empty text."""
    from daskpar.environments.build_order import BuildOrder
    from daskpar.environments.built import ensure_built

    try:
        ensure_built(BuildOrder.of(text))
    except (DaskparError, OSError) as error:
        return str(error)
    return ""


def start_here(text: str, *, for_commands: bool, packages: tuple[str, ...]) -> str:
    """Runs on a node: look whether it can start a container; why it can't, else an empty text."""
    from daskpar.environments.container_probe import image_of, look_in
    from daskpar.environments.python_probe import lacks

    container = ChosenContainer.of(text)
    try:
        if for_commands:
            image_of(container)
            return ""
        return lacks(look_in(container).python, packages)
    except (DaskparError, OSError) as error:
        return str(error)


def start_on(
    client: Client, address: str, text: str, *, for_commands: bool, packages: tuple[str, ...]
) -> str:
    """Have a node look whether it can start a container; as `start_here`."""
    future = client.submit(
        start_here,
        text,
        for_commands=for_commands,
        packages=packages,
        workers=[address],
        allow_other_workers=False,
        pure=False,
        retries=0,
    )
    return str(future.result())


def build_on(client: Client, address: str, text: str) -> str:
    """Have a node build an environment; as `build_here`."""
    future = client.submit(
        build_here, text, workers=[address], allow_other_workers=False, pure=False, retries=0
    )
    return str(future.result())
