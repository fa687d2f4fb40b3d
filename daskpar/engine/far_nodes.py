"""The driver's side of nodes that do not see the run directory: sends code and plan, takes rows and logs.

Such a node takes part like any other. What differs is where its places are (`NodePlaces`), and that what it
writes comes over Dask.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from daskpar.engine.cluster import bounded
from daskpar.engine.node_probe import is_sent
from daskpar.engine.shipped.parcels import Parcel, files_of_code, files_of_data, pack
from daskpar.engine.shipped.returned_files import ReturnedFiles
from daskpar.engine.shipped.sent_step import SentStep, left_of, target_in_run, trees_of
from daskpar.jobspec.model import ParallelStep
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
OPEN_SECONDS = 600.0
"""For a node to start its processors; it may have to copy inputs for them."""


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
    _parcels: dict[str, Parcel] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _told: bool = False

    def __post_init__(self) -> None:
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
        self._tell_once(member.address, view.far)
        sent = SentStep(
            run_directory=str(self.run_directory),
            code=self._sent_code(member.address),
            script=self._sent_script(member.address),
            inputs=tuple(self._sent_inputs(member.address, view.unseen)),
            laid_out=tuple(data for data in self.step.inputs.values() if data.is_laid_out),
        )
        self._send(member.address, self._plan())
        self._call(member.address, open_far_step, OPEN_SECONDS, settings=settings, sent=sent)

    def _tell_once(self, address: str, far: str) -> None:
        with self._lock:
            told, self._told = self._told, True
        if not told:
            self.tell(
                f"node {address} works without the run directory ({far.partition('. ')[0]}): code and plan "
                "are sent to it, its rows and logs come back over Dask (said once)"
            )

    def _sent_code(self, address: str) -> tuple[str, str] | None:
        code = self.step.code
        if code is None:
            return None
        parcel = self._parcel(
            "code",
            lambda: pack(
                f"the code folder {code}",
                "code",
                files_of_code(code, self.skip, self.run_directory),
                self.folder,
            ),
        )
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
                self._parcels[what] = make()
            return self._parcels[what]

    def _send(self, address: str, parcel: Parcel) -> None:
        from daskpar.engine.plugins.far_node import has_parcel, take_piece, unpack

        if self._call(address, has_parcel, parcel=parcel.name):
            return
        sender = secrets.token_hex(4)
        with open(parcel.path, "rb") as file:
            while data := file.read(PIECE_BYTES):
                offset = file.tell() - len(data)
                self._call(address, take_piece, parcel=parcel.name, sender=sender, offset=offset, data=data)
        self._call(address, unpack, parcel=parcel.name, sender=sender, target=parcel.target)

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
