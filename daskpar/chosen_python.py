"""The Python in which a step's script or command runs, where that is not the one that daskpar runs in."""

from __future__ import annotations

import os
import sys

from daskpar.chosen_container import ChosenContainer
from daskpar.value_classes import frozen

OLDEST = (3, 9)
"""The oldest Python in which processors run."""
TABLE_PACKAGES = ("pandas", "pyarrow")
"""What it needs where mini-batches are tables."""


@frozen(kw_only=True)
class ChosenPython:
    """A Python that was chosen for a step."""

    python: str
    """Absolute path of its executable; in the image where it has a container, as far as it is known."""
    version: str = ""
    """As `3.9.18`; empty where nobody has looked (it is on the nodes of a cluster)."""
    build: str = ""
    """What is built there before the step begins (`environments.build_order.BuildOrder.text`)."""
    container: ChosenContainer | None = None
    """In which it runs."""
    image_id: str = ""
    """Of the content of the container's image, whose name may move on; empty where nobody has looked."""
    packages: tuple[tuple[str, str], ...] = ()
    """Name and version of what values depend on, as far as it is there: pandas, pyarrow, numpy."""

    @property
    def prefix(self) -> str:
        """The folder of its environment."""
        return os.path.dirname(os.path.dirname(self.python))

    @property
    def is_there(self) -> bool:
        """Whether nothing has to be built before it can be started."""
        return not self.build or os.path.isfile(self.python)

    @property
    def in_words(self) -> str:
        """As `/opt/x/bin/python (Python 3.9.18, pandas 2.2.3)`."""
        if self.container is not None:
            python = f"{self.python} ({self.about})" if self.about else self.python
            return f"{python} in {self.container.in_words}" if python else self.container.in_words
        if self.build and not self.version:
            return f"{self.python} (built before the step begins)"
        return f"{self.python} ({self.about})" if self.about else self.python

    @property
    def about(self) -> str:
        """As `Python 3.9.18, pandas 2.2.3`; empty where that is not known."""
        parts = [f"Python {self.version}"] if self.version else []
        return ", ".join([*parts, *(f"{name} {version}" for name, version in self.packages)])


def our_python() -> str:
    """The Python that daskpar runs in, as `ChosenPython.in_words` says others."""
    return f"{sys.executable} (Python {'.'.join(map(str, sys.version_info[:3]))})"
