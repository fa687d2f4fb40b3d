"""What a step depends on is saved while it runs, the code first, and never after its end."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from daskpar.driver.background_fingerprint import BackgroundFingerprint
from daskpar.errors import UsageError

CODE_AND_VALUES = {"values": {"x": 1}, "code": {}}


def test_what_is_found_is_saved_while_the_step_runs() -> None:
    saved: list[Mapping[str, object]] = []
    fingerprint = BackgroundFingerprint(lambda: {"data": {"count": 2}}, CODE_AND_VALUES)
    fingerprint.start(saved.append)
    assert fingerprint.close() == {**CODE_AND_VALUES, "inputs": {"data": {"count": 2}}}
    assert saved == [fingerprint.close()]
    assert fingerprint.gap == ""


def test_what_is_found_too_late_is_not_saved() -> None:
    saved: list[Mapping[str, object]] = []
    found = threading.Event()

    def find() -> Mapping[str, object]:
        found.wait()
        return {"data": {}}

    fingerprint = BackgroundFingerprint(find, CODE_AND_VALUES)
    fingerprint.start(saved.append)
    assert fingerprint.close(0) == CODE_AND_VALUES
    assert "in time" in fingerprint.gap
    found.set()
    assert fingerprint.close() == CODE_AND_VALUES
    assert saved == []


def test_all_but_the_input_files_is_saved_first() -> None:
    saved: list[Mapping[str, object]] = []
    go_on = threading.Event()

    def find() -> Mapping[str, object]:
        go_on.wait()
        return {"data": {}}

    fingerprint = BackgroundFingerprint(find, {}, lambda: CODE_AND_VALUES)
    fingerprint.start(saved.append)
    fingerprint.wait_for_code()
    assert saved == [CODE_AND_VALUES]
    go_on.set()
    assert fingerprint.close() == {**CODE_AND_VALUES, "inputs": {"data": {}}}
    assert saved == [CODE_AND_VALUES, fingerprint.close()]


@pytest.mark.parametrize("refuses", ["look at code", "save"])
def test_nothing_of_the_user_runs_where_what_it_depends_on_can_not_be_written_down(refuses: str) -> None:
    def fail(*_: object) -> Mapping[str, object]:
        raise UsageError("no room")

    begin = fail if refuses == "look at code" else lambda: CODE_AND_VALUES
    fingerprint = BackgroundFingerprint(lambda: pytest.fail("looked at"), {}, begin)
    fingerprint.start(fail)
    with pytest.raises(UsageError, match="no room"):
        fingerprint.wait_for_code()
    assert fingerprint.close() == {} and "(no room)" in fingerprint.gap


def test_what_an_earlier_process_found_is_not_looked_at_again() -> None:
    fingerprint = BackgroundFingerprint(
        lambda: pytest.fail("looked at again"), {**CODE_AND_VALUES, "inputs": {}}
    )
    fingerprint.start(lambda _: pytest.fail("saved again"))
    assert fingerprint.close() == {**CODE_AND_VALUES, "inputs": {}}


@pytest.mark.parametrize(
    "error", [UsageError("no such bucket"), OSError("no such bucket"), ValueError("no such bucket")]
)
def test_what_can_not_be_looked_at_says_why(error: Exception) -> None:
    def find() -> Mapping[str, object]:
        raise error

    fingerprint = BackgroundFingerprint(find, CODE_AND_VALUES)
    fingerprint.start(lambda _: pytest.fail("saved"))
    assert fingerprint.close() == CODE_AND_VALUES
    assert "(no such bucket)" in fingerprint.gap
