"""What travels between a node and its processors can be read by any Python and any pandas."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import pytest

from daskpar.processor.child_setup import ProcessorTask
from daskpar.processor.fork_protocol import Exited, Spawn, Spawned
from daskpar.processor.processor_messages import BlockDone, InitRaised
from daskpar.processor.protocol import BlockOrder, Flushed, ProcessorSettings, Released, ReleaseReason
from daskpar.results import Failure, Reason
from daskpar.rows.registry import FORMATS
from daskpar.rows.shared_folder import SharedFolder


def settings(row_format) -> ProcessorSettings:
    return ProcessorSettings(
        run_id="r", step="s", node=0, python="p", processors=1, entry_script="e", code=None, plan="plan",
        store=SharedFolder(Path("/parts")), shared="s", logs="l", work="w", working_dir="w", output_dir="o",
        row_format=row_format,
    )  # fmt: skip


def flushed() -> Flushed:
    failure = Failure(
        index=1, reason=Reason.EXCEPTION, message="m", trace="t", items="a.txt", log_sizes=(1, 2)
    )
    return Flushed(
        block=1,
        token="t",
        part="p",
        offset=0,
        length=3,
        crc=1,
        records=b"xyz",
        failures=(failure,),
        schema=("a",),
    )


VALUES = {
    **{name: Spawn(1, ProcessorTask(settings(form()), 0)) for name, form in FORMATS.items()},
    "order": BlockOrder(block=1, token="t", start=0, stop=2, piece=(0, 1)),
    "flushed": flushed(),
    "released": Released(block=1, token="t", start=0, stop=2, reason=ReleaseReason.SLOW),
    "done": (BlockDone(1, "t", 2), InitRaised("w", "m", "t"), Spawned(1, 2), Exited(1, 2, 0, 5)),
}


class Reading(pickle.Unpickler):
    """Remembers whose classes it meets."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.modules: set[str] = set()

    def find_class(self, module: str, name: str) -> object:
        self.modules.add(module)
        return super().find_class(module, name)


@pytest.mark.parametrize("name", VALUES)
def test_values_are_of_our_own_classes(name):
    """Pythons differ in where they have other classes, and versions of pandas in what theirs hold."""
    reading = Reading(pickle.dumps(VALUES[name], protocol=5))
    assert reading.load() == VALUES[name]
    assert reading.modules
    assert {module.partition(".")[0] for module in reading.modules} <= {"daskpar"}, reading.modules
