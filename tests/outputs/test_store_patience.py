"""Waiting for a store, and what of it is no use waiting for."""

from __future__ import annotations

import pytest

from daskpar.errors import DaskparError, InfrastructureLost, Interrupted, RowsDamaged
from daskpar.outputs import store_patience
from daskpar.outputs.store_patience import RESUME, with_patience


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_patience, "FIRST_PAUSE", 0.001)


def lost_by(error: BaseException) -> InfrastructureLost:
    found = InfrastructureLost("not written.")
    found.__cause__ = error
    return found


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(111, "no"), TimeoutError("late"), lost_by(ConnectionResetError(104, ""))]
)
def test_what_passes_is_waited_for(error: BaseException) -> None:
    errors, told = [error, error], []

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert with_patience(work, "s3://b/o", warn=told.append) == "done"
    assert len(told) == 1 and "tried again" in told[0]


@pytest.mark.parametrize(
    ("error", "outage", "raised", "says"),
    [
        (
            ConnectionRefusedError(111, "no"),
            0.01,
            InfrastructureLost,
            f"s3://b/o can't be written: .*{RESUME}",
        ),
        (OSError("too long a name"), 300, InfrastructureLost, "too long a name"),
        (RowsDamaged("rows are gone"), 300, RowsDamaged, "rows are gone"),
    ],
)
def test_what_lasts(error: BaseException, outage: float, raised: type[DaskparError], says: str) -> None:
    def work() -> None:
        raise error

    with pytest.raises(raised, match=says):
        with_patience(work, "s3://b/o", outage=outage)


def test_a_stop_ends_the_wait() -> None:
    def work() -> None:
        raise ConnectionRefusedError(111, "no")

    with pytest.raises(Interrupted, match="Ctrl-C"):
        with_patience(work, "s3://b/o", stopped=lambda: "Ctrl-C")
