"""Collections of garbage are not measured where local clusters run, so that none can be measured wrongly."""

from __future__ import annotations

import threading

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


def test_a_server_that_starts_meanwhile_keeps_what_it_has_switched_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two runs at once in one process: the second looks while the first switches on."""
    second: list[threading.Thread] = []

    class SlowToSwitchOn(gc.GCDiagnosis):
        def enable(self) -> None:
            second.append(threading.Thread(target=measure_no_garbage))
            second[0].start()
            second[0].join(0.2)  # without a lock it would have ended by now
            super().enable()

    monkeypatch.setattr(gc, "_gc_diagnosis", SlowToSwitchOn())
    monkeypatch.setattr(gc, "_gc_diagnosis_users", 0)
    gc.enable_gc_diagnosis()
    second[0].join()
    gc.enable_gc_diagnosis()
    gc.disable_gc_diagnosis()
    gc.disable_gc_diagnosis()
    assert not gc._gc_diagnosis.enabled
