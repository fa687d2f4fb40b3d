"""A function run in a child of a fork server, its answer sent back: for work that needs what the server has
loaded and this process not.

Planning is such work: the fork server imports pandas and pyarrow anyway, while the driver imports Dask.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from daskpar.processor import channel
from daskpar.processor.fork_server import ForkServer, Order


@dataclass(frozen=True)
class Errand(Order):
    """What the child does; `function` is found again by its name, arguments and answer are pickled."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def run(self, fds: list[int]) -> None:
        """In the child."""
        answer: tuple[bool, Any]
        try:
            answer = True, self.function(*self.arguments)
        except Exception as error:
            answer = False, error
        channel.send(socket.socket(fileno=fds[0]), answer)


def run_errand(server: ForkServer, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's answer; what it raised is raised. EOFError when the child died without one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.spawn(Errand(function, arguments), [theirs.fileno()])
        theirs.close()
        good, value = channel.receive(ours)
    finally:
        ours.close()
    if good:
        return value
    raise value
