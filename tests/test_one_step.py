"""What a step depends on is looked at beside the work, and never written down after the step's end."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from daskpar.errors import UsageError
from daskpar.one_step import Seen

BEGUN = {"values": {"x": 1}, "code": {}}


def test_what_is_found_is_saved_while_the_step_runs() -> None:
    saved: list[Mapping[str, object]] = []
    seen = Seen(lambda: {"data": {"count": 2}}, BEGUN)
    seen.start(saved.append)
    assert seen.close() == {**BEGUN, "inputs": {"data": {"count": 2}}}
    assert saved == [seen.close()]
    assert seen.gap == ""


def test_what_is_found_too_late_is_not_saved() -> None:
    saved: list[Mapping[str, object]] = []
    found = threading.Event()

    def find() -> Mapping[str, object]:
        found.wait()
        return {"data": {}}

    seen = Seen(find, BEGUN)
    seen.start(saved.append)
    assert seen.close(0) == BEGUN
    assert "in time" in seen.gap and "--allow-changes" in seen.gap
    found.set()
    assert seen.close() == BEGUN
    assert saved == []


def test_what_an_earlier_process_found_is_not_looked_at_again() -> None:
    seen = Seen(lambda: pytest.fail("looked at again"), {**BEGUN, "inputs": {}})
    seen.start(lambda _: pytest.fail("saved again"))
    assert seen.close() == {**BEGUN, "inputs": {}}


@pytest.mark.parametrize("error", [UsageError("no such bucket"), OSError("no such bucket"), ValueError("no such bucket")])
def test_what_can_not_be_looked_at_says_why(error: Exception) -> None:
    def find() -> Mapping[str, object]:
        raise error

    seen = Seen(find, BEGUN)
    seen.start(lambda _: pytest.fail("saved"))
    assert seen.close() == BEGUN
    assert "(no such bucket)" in seen.gap
