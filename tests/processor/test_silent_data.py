"""Whether files answer is asked without waiting for them: pipes that nobody writes to stand for a stale mount."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from time import monotonic

import pytest

from daskpar.processor.silent_data import SilentData
from waiting import until


def asked(paths: list[Path], seconds: float = 60.0) -> str:
    question = SilentData([str(path) for path in paths], seconds)
    found: list[str] = []

    def known() -> bool:
        trouble = question.trouble()
        found.extend([] if trouble is None else [trouble])
        return trouble is not None

    until(known)
    return found[0]


def test_files_that_are_there_or_are_not_answer(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    (tmp_path / "empty").touch()
    assert asked([tmp_path / "a", tmp_path / "empty"]) == ""
    assert asked([tmp_path / "gone"]) == ""


def test_one_that_does_not_answer_is_named_and_nobody_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    os.mkfifo(tmp_path / "silent")
    question = SilentData([str(tmp_path / name) for name in ("a", "silent", "a")], 3600.0)
    began = monotonic()
    assert question.trouble() is None and monotonic() - began < 60
    question._until = began
    assert (question.trouble() or "").endswith(" does not answer")
    assert asked([tmp_path / "a", tmp_path / "silent"], 2.0) == f"{tmp_path / 'silent'} does not answer"


def test_one_that_answers_with_the_error_of_a_mount_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("text")
    stale = f"import os\ndef stale(*_): raise OSError({errno.ESTALE}, '')\nos.open = stale\n"
    from daskpar.processor import silent_data

    monkeypatch.setattr(silent_data, "_ASK", stale + silent_data._ASK)
    assert asked([tmp_path / "a"]) == f"{tmp_path / 'a'} can't be read: {os.strerror(errno.ESTALE)}"
