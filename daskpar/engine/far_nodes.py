"""The driver's side of nodes that do not see the run directory: sends code and plan, takes rows and logs.

Such a node takes part like any other. What differs is where its places are (`NodePlaces`), and that what it
writes comes over Dask.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from daskpar.engine.cluster import bounded
from daskpar.engine.node_probe import is_sent
from daskpar.engine.shipped.parcels import (
    Entry,
    Parcel,
    files_of_code,
    files_of_data,
    pack,
    rules_of,
    sendable,
)
from daskpar.engine.shipped.returned_files import ReturnedFiles
from daskpar.engine.shipped.row_carrier import window_of
from daskpar.engine.shipped.sent_step import SentStep, left_of, target_in_run, trees_of
from daskpar.errors import InputError
from daskpar.jobspec.model import CommandStep, ParallelStep
from daskpar.printable import printable
from daskpar.processor.protocol import (
    PIECE_BYTES,
    CarriedRows,
    Message,
    ProcessorSettings,
    ReturnedFile,
    carried_bytes,
)
from daskpar.rundir.probe import NodeView

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.engine.rules.members import Member

SEND_SECONDS = 120.0
"""For a node to take a piece of what is sent to it, or to unpack it."""
PIECES_AT_ONCE = 8
"""How many nodes are sent a piece at one time: they share the network of the driver."""
SHOWN_NAMES = 3
"""Of files that are left out of the code."""
OPEN_SECONDS = 600.0
"""For a node to start its processors; it may have to copy inputs for them."""


def code_of(
    step: ParallelStep, skip: Collection[str], run_directory: Path, left_out: list[str] | None = None
) -> Iterator[Entry]:
    """The files of a step's code that far nodes are sent; arguments as of `files_of_code`."""
    assert step.code is not None
    return files_of_code(step.code, skip, run_directory, step.entry_script, left_out)


def check_code(step: ParallelStep | CommandStep, skip: Collection[str], run_directory: Path) -> None:
    """Check that the code of a step can be sent; InputError where not. Arguments as of `files_of_code`."""
    if isinstance(step, ParallelStep) and step.code is not None:
        sendable(f"the code folder {step.code}", "code", code_of(step, skip, run_directory))


@dataclass(kw_only=True)
class FarNodes:
    """The far nodes of one step. `skip`: paths of data that may lie among the code."""

    client: Client
    step: ParallelStep
    settings: ProcessorSettings
    run_directory: Path
    folder: Path
    """For archives, in the folder of the step."""
    tell: Callable[[str], None]
    known: dict[str, str] = field(default_factory=dict)
    """As `Cluster.far`."""
    skip: Collection[str] = ()
    acknowledge: Callable[[str, int], None] = lambda address, size: None
    """Tells the worker at an address that so many bytes of what it sent are here."""
    last_taken: float = 0.0
    """When rows or files came last."""
    last_sent: float = 0.0
    """When a node has taken a piece last, or an archive was made."""
    _parcels: dict[str, Parcel | InputError] = field(default_factory=dict)
    _sending: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """Node -> what is sent to it, how many bytes of that it has, and how many there are."""
    _turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(PIECES_AT_ONCE))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _told: bool = False

    def __post_init__(self) -> None:
        self._left_out: list[str] = []
        own, coming = self.settings, self.folder / "left"
        shutil.rmtree(coming, ignore_errors=True)  # of an earlier process of the run
        self._returned = ReturnedFiles(trees_of(own), left_of(own), coming)

    # -- sending, on any thread ------------------------------------------------------------------------------

    def open(self, member: Member, settings: ProcessorSettings, view: NodeView) -> None:
        """Send a node what it lacks, and have it start its processors.

        Raises InputError for what can't be sent, and what Dask raises where the node does not take it.
        """
        from daskpar.engine.plugins.far_node import open_far_step

        self.known[member.address] = view.far
        try:
            sent = SentStep(
                run_directory=str(self.run_directory),
                code=self._sent_code(member.address, view.far),
                script=self._sent_script(member.address),
                inputs=tuple(self._sent_inputs(member.address, view.unseen)),
                laid_out=tuple(data for data in self.step.inputs.values() if data.is_laid_out),
                window=window_of(max(len(self.known), self.step.instance_count)),
            )
            self._send(member.address, self._plan())
        finally:
            self._sending.pop(member.address, None)
        self._call(member.address, open_far_step, OPEN_SECONDS, settings=settings, sent=sent)

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

    def _tell_once(self, address: str, far: str) -> None:
        with self._lock:
            told, self._told = self._told, True
        if not told:
            self.tell(
                f"node {address} works without the run directory ({far.partition('. ')[0]}): code and plan "
                f"are sent to it{self._without()}, its rows and logs come back over Dask (said once)"
            )

    def _without(self) -> str:
        """What is not among the code because a file says so, for messages."""
        if not self._left_out or self.step.code is None:
            return ""
        shown = ", ".join(printable(name) for name in self._left_out[:SHOWN_NAMES])
        more = len(self._left_out) - SHOWN_NAMES
        return f" (without {shown}{f' and {more} more' if more > 0 else ''}, by {rules_of(self.step.code)})"

    def _sent_code(self, address: str, far: str) -> tuple[str, str] | None:
        code = self.step.code
        if code is None:
            self._tell_once(address, far)
            return None
        self._sending[address] = ("the code", 0, 0)

        def packed() -> Parcel:
            files = code_of(self.step, self.skip, self.run_directory, self._left_out)
            return pack(f"the code folder {code}", "code", files, self.folder)

        parcel = self._parcel("code", packed)
        self._tell_once(address, far)
        self._send(address, parcel)
        return str(code), parcel.target

    def _sent_script(self, address: str) -> tuple[str, str] | None:
        script = self.step.entry_script
        if not os.path.isabs(script) or (self.step.code and Path(script).is_relative_to(self.step.code)):
            return None
        name = os.path.basename(script)
        parcel = self._parcel(
            "script",
            lambda: pack(f"the entry script {script}", "script", iter([(script, name)]), self.folder),
        )
        self._send(address, parcel)
        return script, f"{parcel.target}/{name}"

    def _plan(self) -> Parcel:
        plan = Path(self.settings.plan)
        target = target_in_run(str(plan), str(self.run_directory))
        files = [(str(path), path.name) for path in sorted(plan.iterdir()) if path.is_file()]
        return self._parcel(
            "plan", lambda: pack(f"the plan {plan}", "plan", iter(files), self.folder, target)
        )

    def _sent_inputs(self, address: str, unseen: Sequence[str]) -> list[tuple[str, str]]:
        found = []
        for data in self.step.inputs.values():
            if not (data.is_data and data.path in unseen and is_sent(data, self.run_directory)):
                continue
            path = data.path.rstrip("/")
            name = os.path.basename(path)
            parcel = self._parcel(
                f"input {data.name}",
                lambda data=data, path=path, name=name: pack(  # type: ignore[misc]
                    f"the input {data.name!r}", "input", files_of_data(path, name), self.folder
                ),
            )
            self._send(address, parcel)
            found.append((path, f"{parcel.target}/{name}"))
        return found

    def _parcel(self, what: str, make: Callable[[], Parcel]) -> Parcel:
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

    def _send(self, address: str, parcel: Parcel) -> None:
        from daskpar.engine.plugins.far_node import has_parcel, take_piece, unpack

        if self._call(address, has_parcel, parcel=parcel.name):
            return
        sender, offset = secrets.token_hex(4), 0
        self._sending[address] = (f"the {parcel.what}", offset, parcel.size)
        with open(parcel.path, "rb") as file:
            while offset < parcel.size:
                with self._turns:
                    data = file.read(PIECE_BYTES)
                    self._call(
                        address, take_piece, parcel=parcel.name, sender=sender, offset=offset, data=data
                    )
                offset += len(data)
                self._sending[address] = (f"the {parcel.what}", offset, parcel.size)
                self.last_sent = monotonic()
        self._call(address, unpack, parcel=parcel.name, sender=sender, target=parcel.target)
        self.last_sent = monotonic()

    def _call(
        self,
        address: str,
        function: Callable[..., object],
        seconds: float = SEND_SECONDS,
        **arguments: object,
    ) -> object:
        return bounded(
            self.client.run,
            function,
            run_id=self.settings.run_id,
            workers=[address],
            seconds=seconds,
            **arguments,
        )[address]

    # -- taking, on the thread of the step -------------------------------------------------------------------

    def take(self, address: str, message: Message) -> bool:
        """Keep rows or a piece of a log that a node has sent; False for any other message.

        Raises InfrastructureLost where they can't be kept.
        """
        if isinstance(message, CarriedRows):
            self.settings.store.keep(message.part, message.offset, message.data)
        elif isinstance(message, ReturnedFile):
            self._returned.keep(address, message)
        else:
            return False
        return True

    def taken(self, address: str, reports: Sequence[Message]) -> None:
        """All of these reports are taken: the node may send more."""
        if size := sum(map(carried_bytes, reports)):
            self.last_taken = monotonic()
            self.acknowledge(address, size)
