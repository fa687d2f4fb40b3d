"""Calls of a function in a child of a fork server: for work that needs what the server has already imported.

Planning is such work: the fork server imports pandas and pyarrow anyway, while the driver imports Dask.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from daskpar.datastores import StorageOptions, known_options, take_options
from daskpar.processor import channel
from daskpar.processor.fork_protocol import ChildTask
from daskpar.processor.fork_server import ForkServer
from daskpar.value_classes import frozen


@frozen
class RemoteCall(ChildTask):
    """Call `function` and send back (True, what it returned) or (False, what it raised)."""

    function: Callable[..., Any]
    """Pickled by its name; arguments and answer are pickled whole."""
    arguments: tuple[Any, ...]
    storage: StorageOptions
    """The server was forked before the datastores were known."""

    def run(self, fds: list[int]) -> None:
        """In the child."""
        answer: tuple[bool, Any]
        take_options(self.storage)
        try:
            answer = True, self.function(*self.arguments)
        except Exception as error:
            answer = False, error
        # The caller may have been interrupted meanwhile: nobody needs the answer then.
        with socket.socket(fileno=fds[0]) as caller, suppress(ConnectionError):
            channel.send(caller, answer)


def call_in_child(server: ForkServer, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns in a child of `server`; what it raises is raised here.

    EOFError when the child died without an answer, OSError when the server is gone.
    """
    call = RemoteCall(function, arguments, known_options())
    answer = _answer_of_planner(server, call)
    if answer is None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            with theirs:
                server.spawn(call, [theirs.fileno()])
            answer = channel.receive(ours)
    returned, value = answer
    if returned:
        return value
    raise value


def _answer_of_planner(server: ForkServer, call: RemoteCall) -> tuple[bool, Any] | None:
    """None where it has no such child, or that one has died."""
    planner = server.take_planner()
    if planner is None:
        return None
    with planner, suppress(EOFError, ConnectionError):
        channel.send(planner, call)
        answer: tuple[bool, Any] = channel.receive(planner)
        return answer
    return None
