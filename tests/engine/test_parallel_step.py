"""One parallel step: no slip in the books is taken for a success."""

from __future__ import annotations

from typing import Any

import pytest

from daskpar.engine.outcome import Outcome
from daskpar.engine.parallel_step import ParallelStepRun


@pytest.mark.parametrize("append", [True, False])
def test_a_step_that_ends_well_without_all_outcomes_is_not_completed(work: Any, monkeypatch: pytest.MonkeyPatch, append: bool) -> None:
    work.files(7)
    execute = ParallelStepRun._execute

    def half(self: ParallelStepRun, settings: Any, tally: Any, missing: Any, **more: Any) -> Outcome:
        ((start, stop),) = missing
        return execute(self, settings, tally, [(start, stop - 2)], **more)

    monkeypatch.setattr(ParallelStepRun, "_execute", half)
    ended = work.run({"work": work.parallel(append=append)})
    assert ended.status == "lost"
    assert "2 of 7 mini-batches have no outcome" in ended.reason
    assert not (work.folder / "rows.txt").exists()
    monkeypatch.undo()
    import daskpar

    assert daskpar.resume(work.folder / "run", dashboard=None, display=False).status == "completed"
