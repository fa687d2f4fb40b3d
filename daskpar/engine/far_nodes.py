"""The driver's side of nodes that do not see the run directory: sends code and plan, takes rows and logs.

Such a node takes part like any other. What differs is where its places are (`NodePlaces`), and that what it
writes comes over Dask.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from daskpar.engine.parcel_sender import ParcelSender
from daskpar.engine.shipped.parcels import Entry, Parcel, files_of_code, files_of_data, pack, sendable
from daskpar.engine.shipped.returned_files import ReturnedFiles
from daskpar.engine.shipped.row_carrier import window_of
from daskpar.engine.shipped.sent_step import SentStep, left_of, target_in_run, trees_of
from daskpar.engine.shipped.settled_files import MLFLOW, OWN
from daskpar.jobspec.model import CommandStep, ParallelStep
from daskpar.processor.azure_variables import mlflow_folder
from daskpar.processor.protocol import (
    CarriedRows,
    Message,
    ProcessorSettings,
    ReturnedFile,
    carried_bytes,
)
from daskpar.rundir.probe import NodeView
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.engine.rules.members import Member

OPEN_SECONDS = 600.0
"""For a node to start its processors; it may have to copy inputs for them."""


def code_of(
    step: ParallelStep | CommandStep,
    skip: Collection[str],
    run_directory: Path,
    left_out: list[str] | None = None,
) -> Iterator[Entry]:
    """The files of a step's code that far nodes are sent; arguments as of `files_of_code`."""
    assert step.code is not None
    script = step.entry_script if isinstance(step, ParallelStep) else ""
    return files_of_code(step.code, skip, run_directory, script, left_out)


def check_code(step: ParallelStep | CommandStep, skip: Collection[str], run_directory: Path) -> None:
    """Check that the code of a step can be sent; InputError where not. Arguments as of `files_of_code`."""
    if step.code is not None:
        sendable(f"the code folder {step.code}", "code", code_of(step, skip, run_directory))
    for path in step.includes if isinstance(step, CommandStep) else ():
        sendable(f"{path} (additional_includes)", "code", files_of_data(str(path), path.name))


@mutable(kw_only=True)
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
    _told: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._sender = ParcelSender(client=self.client, run_id=self.settings.run_id, folder=self.folder)
        own, coming = self.settings, self.folder / "left"
        shutil.rmtree(coming, ignore_errors=True)  # of an earlier process of the run
        own_files = {OWN: own.output_dir, MLFLOW: mlflow_folder(own.working_dir)}
        self._returned = ReturnedFiles(trees_of(own), left_of(own), coming, own_files, self.tell)

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
                inputs=tuple(
                    self._sender.send_inputs(
                        member.address, self.step.inputs.values(), view.unseen, self.run_directory
                    )
                ),
                laid_out=tuple(data for data in self.step.inputs.values() if data.is_laid_out),
                window=window_of(max(len(self.known), self.step.instance_count)),
            )
            self._sender.send(member.address, self._plan())
        finally:
            self._sender.done(member.address)
        self._sender.call(member.address, open_far_step, OPEN_SECONDS, settings=settings, sent=sent)

    @property
    def sending(self) -> str:
        """As that of `ParcelSender`."""
        return self._sender.sending

    @property
    def last_sent(self) -> float:
        """As that of `ParcelSender`."""
        return self._sender.last_sent

    def _tell_once(self, address: str, far: str) -> None:
        with self._lock:
            told, self._told = self._told, True
        if not told:
            self.tell(
                f"node {address} works without the run directory ({far.partition('. ')[0]}): code and plan "
                f"are sent to it{self._sender.without(self.step.code)}, its rows and logs come back over "
                "Dask (said once)"
            )

    def _sent_code(self, address: str, far: str) -> tuple[str, str] | None:
        code = self.step.code
        if code is None:
            self._tell_once(address, far)
            return None
        target = self._sender.send_code(
            address, code, lambda left_out: code_of(self.step, self.skip, self.run_directory, left_out)
        )
        self._tell_once(address, far)
        return str(code), target

    def _sent_script(self, address: str) -> tuple[str, str] | None:
        script = self.step.entry_script
        if not os.path.isabs(script) or (self.step.code and Path(script).is_relative_to(self.step.code)):
            return None
        return script, self._sender.send_path(address, script, f"the entry script {script}", "script")

    def _plan(self) -> Parcel:
        plan = Path(self.settings.plan)
        target = target_in_run(str(plan), str(self.run_directory))
        files = [(str(path), path.name) for path in sorted(plan.iterdir()) if path.is_file()]
        return self._sender.parcel(
            "plan", lambda: pack(f"the plan {plan}", "plan", iter(files), self.folder, target)
        )

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
