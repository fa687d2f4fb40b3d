"""Collections of garbage are not measured where local clusters run, so that none can be measured wrongly."""

from __future__ import annotations

import pytest
from distributed import gc

from daskpar.engine.garbage_watch import measure_no_garbage

FULL = {"generation": 2, "collected": 0, "uncollectable": 0}


def test_an_end_without_a_start_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    known = gc.GCDiagnosis()
    monkeypatch.setattr(gc, "_gc_diagnosis", known)
    with known:
        with pytest.raises(AssertionError):
            known._gc_callback("stop", FULL)
        measure_no_garbage()
        assert gc._gc_diagnosis is known, "in use"
    measure_no_garbage()
    with gc._gc_diagnosis as found:
        found._gc_callback("stop", FULL)
        assert found is not known and found.enabled
