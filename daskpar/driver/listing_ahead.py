"""Lists the folder that a step splits, and looks at its files, while the cluster is still being opened."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.datastores import carried
from daskpar.jobspec.model import Input, ParallelStep, PipelineJob

if TYPE_CHECKING:
    from daskpar.data.files import FileList
    from daskpar.data.tables.table import Table
    from daskpar.engine.planning import WantedColumns


class ListingAhead:
    """A list of files in the making, on a thread of its own.

    It is given away once: a long one is not to stay in memory.
    """

    def __init__(self, data: Input, wanted: WantedColumns, datastores: Mapping[str, str]) -> None:
        self._wanted = data, wanted, datastores
        self._made: list[Table | FileList] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=carried(self._run), name="daskpar-listing-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        from daskpar.engine.planning import looked_at, open_with_columns

        try:
            self._made.append(looked_at(open_with_columns(*self._wanted)))
        except BaseException as error:  # raised again in `take`
            self._error = error

    def take(self) -> Table | FileList:
        """Wait for the list; raises what went wrong."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made.pop()


def may_list_ahead(job: PipelineJob, step: ParallelStep, run_directory: Path) -> bool:
    """Whether a step splits one folder, into which nothing of this run is written before or meanwhile."""
    if step.needs or step.partition_keys or len(step.input_data) != 1:
        return False
    data = step.inputs[step.input_data[0]]
    if data.type == "mltable" or data.made_by is not None:
        return False
    inside = data.path.rstrip("/") + "/"
    written = [output.path for each in job.steps for output in each.outputs.values()]
    return not any(f"{path.rstrip('/')}/".startswith(inside) for path in [*written, str(run_directory)])
