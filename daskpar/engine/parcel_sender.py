"""Sends archives to nodes that do not see the run directory: code, plan, what earlier steps have made."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from daskpar.engine.cluster import bounded
from daskpar.engine.node_probe import is_sent
from daskpar.engine.shipped.parcels import Entry, Parcel, files_of_data, pack, rules_of
from daskpar.errors import InputError, Interrupted
from daskpar.jobspec.model import Input
from daskpar.printable import printable
from daskpar.processor.protocol import PIECE_BYTES
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from distributed import Client

SEND_SECONDS = 120.0
"""For a node to take a piece of what is sent to it, or to unpack it."""
PIECES_AT_ONCE = 8
"""How many nodes are sent a piece at one time: they share the network of the driver."""
SHOWN_NAMES = 3
"""Of files that are left out of the code."""


@mutable(kw_only=True)
class ParcelSender:
    """The archives of one step, each made once, and the nodes that are sent them; for any thread."""

    client: Client
    run_id: str
    folder: Path
    """For archives, in the folder of the step."""
    stopped: Callable[[], str] = lambda: ""
    """Why nothing is to be sent any more; empty: it is."""
    last_sent: float = 0.0
    """When a node has taken a piece last, or an archive was made."""
    left_out: list[str] = field(default_factory=list)
    """What the rules of the code folder leave out of the code."""
    _parcels: dict[str, Parcel | InputError] = field(default_factory=dict)
    _sending: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """Node -> what is sent to it, how many bytes of that it has, and how many there are."""
    _turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(PIECES_AT_ONCE))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def parcel(self, what: str, make: Callable[[], Parcel]) -> Parcel:
        """The archive of that name, which `make` makes the first time. Raises InputError as `pack`."""
        with self._lock:
            if what not in self._parcels:
                try:
                    self._parcels[what] = make()
                except InputError as error:
                    self._parcels[what] = error  # it is the same for every node
                self.last_sent = monotonic()
            found = self._parcels[what]
        if isinstance(found, InputError):
            raise found
        return found

    def send(self, address: str, parcel: Parcel) -> None:
        """Send a node an archive that it has not, and have it unpacked.

        Raises what Dask raises where the node does not take it, Interrupted where the step was stopped.
        """
        from daskpar.engine.plugins.far_node import has_parcel, take_piece, unpack

        if self.call(address, has_parcel, parcel=parcel.name):
            return
        sender, offset = secrets.token_hex(4), 0
        self._sending[address] = (f"the {parcel.what}", offset, parcel.size)
        with open(parcel.path, "rb") as file:
            while offset < parcel.size:
                if reason := self.stopped():
                    raise Interrupted(reason)
                with self._turns:
                    data = file.read(PIECE_BYTES)
                    self.call(
                        address, take_piece, parcel=parcel.name, sender=sender, offset=offset, data=data
                    )
                offset += len(data)
                self._sending[address] = (f"the {parcel.what}", offset, parcel.size)
                self.last_sent = monotonic()
        self.call(address, unpack, parcel=parcel.name, sender=sender, target=parcel.target)
        self.last_sent = monotonic()

    def call(
        self,
        address: str,
        function: Callable[..., object],
        seconds: float = SEND_SECONDS,
        **arguments: object,
    ) -> object:
        """What a function returns that runs on a node. TimeoutError where that takes too long."""
        return bounded(
            self.client.run,
            function,
            run_id=self.run_id,
            workers=[address],
            seconds=seconds,
            **arguments,
        )[address]

    # -- what is sent ----------------------------------------------------------------------------------------

    def send_code(self, address: str, code: Path, files: Callable[[list[str]], Iterator[Entry]]) -> str:
        """Send a code folder; where it lies below the folder of the node.

        `files` gives what belongs to it, and adds to a list what does not.
        """
        self._sending[address] = ("the code", 0, 0)

        def packed() -> Parcel:
            return pack(f"the code folder {code}", "code", files(self.left_out), self.folder)

        parcel = self.parcel("code", packed)
        self.send(address, parcel)
        return parcel.target

    def send_inputs(
        self, address: str, inputs: Iterable[Input], unseen: Collection[str], run_directory: Path
    ) -> list[tuple[str, str]]:
        """Send what the run itself has made and the node does not see: paths here, and below its folder."""
        return [
            (path, self.send_path(address, path, f"the input {data.name!r}", "input"))
            for data in inputs
            if data.is_data and data.path in unseen and is_sent(data, run_directory)
            for path in [data.path.rstrip("/")]
        ]

    def send_path(self, address: str, path: str, what: str, kind: str) -> str:
        """Send a file or folder; where it lies below the folder of the node. `what`, `kind`: as of `pack`."""
        name = os.path.basename(path)
        parcel = self.parcel(
            f"{kind} {path}", lambda: pack(what, kind, files_of_data(path, name), self.folder)
        )
        self.send(address, parcel)
        return f"{parcel.target}/{name}"

    def without(self, code: Path | None) -> str:
        """What is not among the code because a file says so, for messages."""
        if not self.left_out or code is None:
            return ""
        shown = ", ".join(printable(name) for name in self.left_out[:SHOWN_NAMES])
        more = len(self.left_out) - SHOWN_NAMES
        return f" (without {shown}{f' and {more} more' if more > 0 else ''}, by {rules_of(code)})"

    # -- how far it is ---------------------------------------------------------------------------------------

    def done(self, address: str) -> None:
        """Nothing is being sent to a node any more."""
        self._sending.pop(address, None)

    @property
    def sending(self) -> str:
        """What is being sent to nodes now, for the line of progress; empty: nothing."""
        under_way = list(self._sending.values())
        if not under_way:
            return ""
        what, total = under_way[0][0], sum(size for _, _, size in under_way)
        if not total:
            return f"packing {what} for nodes"
        return f"sending {what} to nodes {100 * sum(there for _, there, _ in under_way) // total} %"
