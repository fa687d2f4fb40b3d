"""What a try changes in this process is put back, whatever else happens in it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from daskpar.driver.script_surroundings import restored


def test_a_second_thread_waits_until_the_first_has_put_all_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep what the first has set, its secrets among them, and go back to a folder that is gone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECRET_OF_A", raising=False)
    waits = threading.Event()
    found: list[tuple[str, str | None]] = []

    def second() -> None:
        with restored(lambda _: waits.set()):
            found.append((os.getcwd(), os.environ.get("SECRET_OF_A")))

    other = threading.Thread(target=second)
    (tmp_path / "scratch").mkdir()
    with restored(print):
        os.chdir(tmp_path / "scratch")
        os.environ["SECRET_OF_A"] = "hush"
        other.start()
        assert waits.wait(60) and not found
    other.join()
    assert found == [(str(tmp_path), None)] and "SECRET_OF_A" not in os.environ


def test_a_try_within_a_try_puts_back_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with restored(print):
        sys.argv = ["outer"]
        with restored(pytest.fail):
            sys.argv = ["inner"]
        assert sys.argv == ["outer"]


def test_what_can_not_be_put_back_does_not_keep_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    argv = list(sys.argv)
    with pytest.raises(FileNotFoundError), restored(print):
        os.environ["SECRET_OF_A"] = "hush"
        sys.argv = ["script"]
        os.chdir(tmp_path)
        (tmp_path / "gone").rmdir()
    assert "SECRET_OF_A" not in os.environ and sys.argv == argv
    with restored(pytest.fail):
        pass
