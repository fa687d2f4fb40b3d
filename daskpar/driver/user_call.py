"""The call of a script's `run()` as processors make it; in a module of its own, so that debuggers skip it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def call_run(run: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What `run()` returns; an iterator's elements as a list, for only then has its body run."""
    returned = run(*arguments)
    return list(returned) if isinstance(returned, Iterator) else returned
