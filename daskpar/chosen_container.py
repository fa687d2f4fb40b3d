"""The container in which a step's script or command runs, where it has one."""

from __future__ import annotations

import json
from dataclasses import asdict

from daskpar.value_classes import frozen


@frozen(kw_only=True)
class ChosenContainer:
    """A container as it was chosen: each node starts its own."""

    image: str
    """As the runtime knows it; empty while it is that which the step's environment names."""
    runtime: str = ""
    """`podman`, `docker`, or the path of a program like them; empty: the first that is there."""
    options: tuple[str, ...] = ()
    """Of the user's, for the runtime's `run`."""
    python: str = ""
    """The Python in the image, as the user names it; empty: `python3`, else `python`, of its PATH."""

    @property
    def in_words(self) -> str:
        """As `a container of scoring:3 (podman)`."""
        return f"a container of {self.image}{f' ({self.runtime})' if self.runtime else ''}"

    @property
    def text(self) -> str:
        """As text, as it travels to nodes."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> ChosenContainer:
        """The container that `text` is of."""
        found = json.loads(text)
        return cls(**{**found, "options": tuple(found["options"])})
