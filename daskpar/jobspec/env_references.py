"""`${env:NAME}` in a spec: a value of the driver's environment, which is never written down.

It may stand in literal inputs, environment variables, program arguments and commands. It stays as it is in
the job and in everything that is written or shown; it is replaced where a processor or a command starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def names_in(texts: Iterable[str]) -> list[str]:
    """The variables that these texts refer to, each once, in order."""
    return list(dict.fromkeys(match[1] for text in texts for match in REFERENCE.finditer(text)))


def resolved(text: str, environment: Mapping[str, str]) -> str:
    """The text with its references replaced; KeyError for a variable that is not set."""
    return REFERENCE.sub(lambda match: environment[match[1]], text)


def resolved_values(values: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """`values` with the references in them replaced."""
    return {name: resolved(value, environment) for name, value in values.items()}
