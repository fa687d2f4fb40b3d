"""Whether files answer is asked without waiting for them: pipes that nobody writes to stand for a stale mount."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from pathlib import Path
from time import monotonic

import pytest

from daskpar.batches.plan_writer import write_plan
from daskpar.processor import silent_calls, silent_data
from daskpar.processor.silent_calls import SilentCalls
from daskpar.processor.silent_data import SilentData, ask_for
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
    monkeypatch.setattr(silent_data, "_ASK", stale + silent_data._ASK)
    assert asked([tmp_path / "a"]) == f"{tmp_path / 'a'} can't be read: {os.strerror(errno.ESTALE)}"


def test_nobody_waits_for_one_that_says_nothing_and_can_not_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process does that waits for its own Python on a mount whose server is gone."""
    monkeypatch.setattr(silent_data, "_ASK", "import time\ntime.sleep(3600)\n")
    question = SilentData([str(tmp_path / "a")], 0.0)
    asking = question._asking
    killed: list[int] = []

    def wait(seconds: float) -> None:
        raise subprocess.TimeoutExpired("", seconds)

    with monkeypatch.context() as held:
        held.setattr(asking, "kill", lambda: killed.append(asking.pid))
        held.setattr(asking, "wait", wait)
        assert question.trouble() == f"{tmp_path / 'a'} does not answer"
    assert killed == [asking.pid]
    asking.kill()
    asking.wait()


def test_the_files_of_a_mini_batch_are_asked_for_and_a_plan_that_is_gone_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("text")
    plan = str(tmp_path / "plan")
    write_plan(tmp_path / "plan", kind="files", paths=[str(tmp_path / "a"), "s3://b/o"])
    assert asyncio.run(SilentCalls(plan).trouble(0)) == ""
    question = ask_for(plan, 0)
    assert question is not None
    until(lambda: question.trouble() == "")
    assert ask_for(plan, 1) is None, "a URL is asked for by nobody here"
    assert (
        asyncio.run(SilentCalls(plan).trouble(1)) == "" == asyncio.run(SilentCalls(str(tmp_path)).trouble(0))
    )
    stale = f"import os\ndef stale(*_): raise OSError({errno.ESTALE}, '')\nos.open = stale\n"
    monkeypatch.setattr(silent_data, "_ASK", stale + silent_data._ASK)
    found = asyncio.run(SilentCalls(plan).trouble(0))
    assert found == f"{tmp_path / 'a'} can't be read: {os.strerror(errno.ESTALE)}"


def test_one_question_stands_for_the_calls_whose_time_is_up_together(tmp_path, monkeypatch):
    paths = [str(tmp_path / name) for name in "abcd"]
    for path in paths:
        Path(path).write_text("text")
    plan = str(tmp_path / "plan")
    write_plan(tmp_path / "plan", kind="files", paths=paths)
    begun: list[list[str]] = []

    class Counted(SilentData):
        def __init__(self, paths: list[str]) -> None:
            begun.append(paths)
            super().__init__(paths)

    monkeypatch.setattr(silent_calls, "SilentData", Counted)

    async def all_at_once(*, cancel: bool = False) -> list[str]:
        calls = SilentCalls(plan)
        asked = [asyncio.ensure_future(calls.trouble(index)) for index in range(4)]
        await asyncio.sleep(0)
        if cancel and calls._task is not None:
            calls._task.cancel()
        return await asyncio.gather(*asked)

    assert asyncio.run(all_at_once()) == [""] * 4 and begun == [paths]
    assert asyncio.run(all_at_once(cancel=True)) == [""] * 4, "a script that cancels all tasks"
    real = silent_data._ASK
    stale = f"import os\nreal = os.open\ndef stale(path, flags):\n    if path.endswith('c'): raise OSError({errno.ESTALE}, '')\n    return real(path, flags)\nos.open = stale\n"
    monkeypatch.setattr(silent_data, "_ASK", stale + real)
    text = f"{tmp_path / 'c'} can't be read: {os.strerror(errno.ESTALE)}"
    assert asyncio.run(all_at_once()) == [text] * 4, "one mount"
    monkeypatch.setattr(silent_calls, "mount_of", lambda path, mounts: path)
    begun.clear()
    assert asyncio.run(all_at_once()) == ["", "", text, ""], "each a mount of its own"
    assert begun == [paths, [*paths[:2], paths[3]]]


@pytest.mark.parametrize(
    ("path", "mount"), [("/a/b/c", "/a/b"), ("/a/bc", "/"), ("/a/b", "/"), ("/a/b/x/y", "/a/b/x")]
)
def test_the_mount_of_a_file_is_known_by_its_name(path, mount):
    assert silent_calls.mount_of(path, ["/a/b/x", "/a/b", "/"]) == mount
