"""The containers that Dask's configuration chooses for environments, and whether they can be started here."""

from __future__ import annotations

from collections.abc import Iterator

from daskpar.chosen_container import ChosenContainer
from daskpar.environments.container_choice import with_defaults
from daskpar.environments.container_probe import known_image
from daskpar.environments.environment_choices import Choices
from daskpar.errors import UsageError
from daskpar.value_classes import frozen


@frozen
class ConfiguredContainer:
    """One of them."""

    name: str
    """Of the environment or step."""
    container: ChosenContainer
    runtime: str = ""
    """The program that starts it here; empty where there is none."""
    image_id: str = ""
    """Empty where its image is not on this machine, or named by specs alone."""
    trouble: str = ""
    """Why it can't be started here; empty: it can, once its image is here."""

    @property
    def state(self) -> str:
        """In words."""
        if self.trouble:
            return self.trouble
        if not self.container.image:
            return "the image that the spec names"
        return f"its image is here ({self.image_id})" if self.image_id else "its image is not here yet"


def configured_containers() -> Iterator[ConfiguredContainer]:
    """All of them, by name. UsageError for a configuration that can't be read."""
    for name, how in sorted(Choices().all_configured().items()):
        if how.container is None:
            continue
        container = with_defaults(how.container)
        try:
            runtime, found = known_image(container)
        except UsageError as error:
            yield ConfiguredContainer(name, container, trouble=str(error))
        else:
            yield ConfiguredContainer(name, container, runtime.program, found)
