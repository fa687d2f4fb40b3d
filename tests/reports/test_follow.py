"""Logs as they grow: nothing of them is lost, and nothing grows without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.paths import LogPaths
from daskpar.reports import follow
from daskpar.reports.follow import GrowingLogs


def growing(folder: Path) -> tuple[Path, GrowingLogs]:
    logs = LogPaths(folder)
    path = logs.stdout(0, 0)
    path.parent.mkdir(parents=True)
    path.write_text("")
    followed = GrowingLogs({"work": logs})
    assert list(followed.new_lines()) == []
    return path, followed


def texts(lines: object) -> list[str]:
    return [line.partition(" | ")[2] for line in lines]  # type: ignore[attr-defined]


def test_the_rest_of_a_busy_log_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MOST_BYTES", 100)
    path, followed = growing(tmp_path)
    path.write_text("".join(f"line {n}\n" for n in range(100)) + "no break")
    first = texts(followed.new_lines())
    assert first[0] == "line 0" and len(first) < 20
    assert [*first, *texts(followed.rest())] == [*(f"line {n}" for n in range(100)), "no break"]
    assert list(followed.rest()) == []


def test_a_log_without_line_breaks_is_shown_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MOST_BYTES", 100)
    path, followed = growing(tmp_path)
    path.write_text("x" * 250)
    assert texts(followed.rest()) == ["x" * 100, "x" * 100, "x" * 50]


def test_of_a_bar_of_progress_its_last_state_is_shown(tmp_path: Path) -> None:
    path, followed = growing(tmp_path)
    path.write_bytes(b"begin\r\n 1 %\r 2 %\r")
    assert texts(followed.new_lines()) == ["begin"]
    path.write_bytes(path.read_bytes() + b" 3 %\r100 %\ndone\n 5 %\r 6 %\r")
    assert texts(followed.new_lines()) == ["100 %", "done"]
    assert texts(followed.rest()) == [" 6 %"]


def test_the_end_of_an_older_log_begins_with_a_whole_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "FIRST_BYTES", 20)
    path, _ = growing(tmp_path)
    path.write_text("password=s3cret-value-1\nsecond\nthird\n")
    assert texts(GrowingLogs({"work": LogPaths(tmp_path)}).rest()) == ["second", "third"]
