"""What a parallel step leaves: rows in order, files of its folders at URLs, the list of its failed items."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from daskpar.jobspec.model import ParallelStep
from daskpar.locations import is_url
from daskpar.outputs.assembly import CopiedStart, assemble, check_space
from daskpar.outputs.early_copy import EarlyCopy, remove_stale
from daskpar.outputs.failed_items import UNASKED_ITEMS, write_failed_items
from daskpar.outputs.failed_items_upload import upload_failed_items
from daskpar.outputs.ledger import Ledger
from daskpar.outputs.meter import OnProgress
from daskpar.outputs.row_folder import assemble_folder, check_folder
from daskpar.outputs.step_uploads import StepUploads, uploads_of
from daskpar.outputs.store_patience import OUTAGE_SECONDS, with_patience
from daskpar.rows.registry import store_of
from daskpar.rundir.step_folder import StepFolder
from daskpar.value_classes import frozen


@frozen(kw_only=True)
class StepOutputs:
    """Makes the outputs of one step of what its ledger holds."""

    step: ParallelStep
    folder: StepFolder
    stopped: Callable[[], str]
    """Why the step is being stopped; empty while it is not."""
    warn: Callable[[str], None]

    def check_room(self) -> None:
        """Before the first mini-batch: is there room for parts and output, and may they be written?"""
        if self.step.append_row_to is not None:
            check = check_folder if self.step.append_row_folder else check_space
            check(store_of(self.folder), self.step.append_row_to, 0)

    def uploads(self) -> StepUploads | None:
        """What is to be done with outputs at URLs, for this process; None where the script fills none."""
        uploads = uploads_of(self.step.outputs, self.folder.uploads)
        if uploads is None:
            return None
        found = StepUploads(
            uploads=uploads,
            who=f"driver-{secrets.token_hex(4)}",
            warn=self.warn,
            stopped=self.stopped,
            outage=self._outage,
        )
        found.begin()
        return found

    def early_copy(self, ledger: Ledger) -> AbstractContextManager[EarlyCopy | None]:
        """Writes the start of the rows while it is entered; None where the step appends none."""
        remove_stale(self.folder.path)
        if self.step.append_row_to is None:
            return nullcontext()
        return EarlyCopy(
            ledger, self.folder.path, self.step.append_row_to, into_folder=self.step.append_row_folder
        )

    def assemble(self, ledger: Ledger, early_copy: EarlyCopy | None, progress: OnProgress) -> None:
        """Put the rows of all mini-batches together at their place, from where `early_copy` stands.

        Raises RowsDamaged where they are not as they were written.
        """
        if not ledger.commits.complete:
            missing = sum(stop - start for start, stop in ledger.commits.missing())
            raise RuntimeError(
                f"the step ended well, but {missing} of {ledger.commits.count} mini-batches have no outcome"
            )
        target = self.step.append_row_to
        if target is None or early_copy is None:
            return
        start = early_copy.take()
        if is_url(target):
            with_patience(
                lambda: self._assemble_at(target, ledger, progress),
                target,
                stopped=self.stopped,
                warn=self.warn,
                outage=self._outage,
            )
        else:
            self._assemble_at(target, ledger, progress, start)
        shutil.rmtree(self.folder.partial, ignore_errors=True)

    def assemble_partial(self, ledger: Ledger) -> str:
        """Put together the rows that are there, in the run directory, where nothing looks like the output.

        Their path; empty where the step appends none.
        """
        if self.step.append_row_to is None:
            return ""
        rows = str(self.folder.partial / self.step.append_row_to.rstrip("/").rpartition("/")[2])
        self._assemble_at(rows, ledger)
        return rows + ("/" if self.step.append_row_folder else "")

    def write_failed_items(self, ledger: Ledger, *, whole: bool) -> None:
        """Put down which items have failed, however the step has ended: it never fails for that.

        `whole`: all mini-batches were asked for. Else nothing at the place of an output may look complete.
        """
        own = self.step.settings
        asked = bool(own.isolate_failed_items or own.failed_items_to)
        target = own.failed_items_to if whole else None
        place = None if target is None else Path(target)
        if target is not None and is_url(target):
            place = self.folder.uploads / "failed-items" / target.rstrip("/").rpartition("/")[2]
        try:
            note = write_failed_items(
                self.folder,
                ledger,
                most=None if asked else UNASKED_ITEMS,
                target=place,
                is_file=any(o.path == target and o.type == "uri_file" for o in self.step.outputs.values()),
            )
            if place is not None and target is not None and is_url(target):
                upload_failed_items(place, target, stopped=self.stopped)
        except Exception as error:  # also what pyarrow can't do with values of a kind that nobody has met
            note = f"failed items can't be written down: {str(error) or type(error).__name__}"
        if note:
            self.warn(note)

    @property
    def _outage(self) -> float:
        """Seconds that a store may be away."""
        return min(OUTAGE_SECONDS, self.step.settings.progress_update_timeout or OUTAGE_SECONDS)

    def _assemble_at(
        self,
        target: str,
        ledger: Ledger,
        progress: OnProgress | None = None,
        start: CopiedStart | None = None,
    ) -> None:
        """Put all committed rows together at `target`: in a file, or in a folder of part files."""
        step = self.step
        if not step.append_row_folder:
            assemble(
                ledger.commits,
                ledger.store,
                target,
                row_format=ledger.row_format,
                schema=ledger.schema,
                progress=progress,
                start=start,
            )
            return
        done = assemble_folder(
            ledger.commits,
            ledger.store,
            target,
            row_format=ledger.row_format,
            schema=ledger.schema,
            part_bytes=step.settings.append_row_part_size,
            with_mltable=any(
                output.path == step.append_row_to and output.type == "mltable"
                for output in step.outputs.values()
            ),
            progress=progress,
        )
        for note in done.notes:
            self.warn(note)
