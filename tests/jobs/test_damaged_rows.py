"""Scripts and disks that change committed rows: whole jobs end with the right rows, or say that they are lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import daskpar
from daskpar.engine.parallel_step import ParallelStepRun
from daskpar.outputs import early_copy
from daskpar.outputs.export import export_partial
from daskpar.outputs.part_check import REPAIR_ROUNDS
from daskpar.processor.block_runner import PUT_BYTES

QUIET: dict[str, Any] = {"dashboard": None, "display": False}

SCRIPT = """
import glob, os, pathlib, threading, time

def own():
    '''Descriptors of part files, as a script finds them.'''
    found = []
    for fd in range(3, 2048):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").endswith(".part"):
                found.append(fd)
        except OSError:
            pass
    return found

def parts():
    return sorted(glob.glob(os.path.join(os.environ["PARTS"], "*.part")))

def changed(path, how):
    with open(path, "r+b") as file:
        data = how(bytearray(file.read()))
        file.seek(0)
        file.write(data)
        file.truncate()

def flipped(data):
    data[1] ^= 4
    return data

def in_child(what):
    if os.fork() == 0:
        what()
        os._exit(0)
    os.wait()

def later():
    for _ in range(100):
        time.sleep(0.002)
        for fd in own():
            try:
                os.write(fd, b"!")
            except OSError:
                pass

HARMS = {
    "nothing": lambda: None,
    "writes a byte to every descriptor": lambda: [os.write(fd, b"!") for fd in own()],
    "prints into the descriptor by /proc": lambda: [open(f"/proc/self/fd/{fd}", "a").write("!") for fd in own()],
    "has a child write to it": lambda: in_child(lambda: [os.write(fd, b"!") for fd in own()]),
    "has a thread write to it all the time": lambda: threading.Thread(target=later, daemon=True).start(),
    "closes it": lambda: [os.close(fd) for fd in own()],
    "gives its number to a file": lambda: [os.dup2(os.open("mine", os.O_RDWR | os.O_CREAT), fd) for fd in own()],
    "cuts it short": lambda: [os.ftruncate(fd, 5) for fd in own()],
    "flips a bit": lambda: [changed(path, flipped) for path in parts()],
    "inserts a byte": lambda: [changed(path, lambda data: b"!" + data) for path in parts()],
    "appends rows": lambda: [changed(path, lambda data: data + b"row 0000\\n") for path in parts()],
    "empties it": lambda: [changed(path, lambda data: b"") for path in parts()],
    "removes it": lambda: [os.unlink(path) for path in parts()],
    "moves it away": lambda: [os.rename(path, path + ".old") for path in parts()],
    "puts another in its place": lambda: [
        (pathlib.Path(path + ".new").write_bytes(os.urandom(os.path.getsize(path))), os.replace(path + ".new", path))
        for path in parts()
    ],
}
HARMLESS = {"nothing", "appends rows"}

def init():
    pass

def run(mini_batch):
    number = int(os.path.basename(mini_batch[0])[:4])
    if number in (1, 3):
        time.sleep(0.11)  # longer than rows are kept before they are reported
    if str(number) in os.environ["AT"].split():
        HARMS[os.environ["HARM"]]()
    return [f"row {number:04}" + "-" * int(os.environ["WIDTH"])]
"""
SPACE: dict[str, Any] = {"__name__": "script"}
exec(SCRIPT, SPACE)
LOSES_EARLIER_ROWS = {
    "cuts it short",
    "flips a bit",
    "inserts a byte",
    "empties it",
    "removes it",
    "moves it away",
    "puts another in its place",
}
COUNT = 6
RIGHT = [f"row {number:04}" for number in range(COUNT)]


def harmed(
    work: Any, harm: str, *, at: str = "3", run: Path | None = None, width: int = 0, **more: Any
) -> dict[str, Any]:
    if not (work.folder / "data").exists():
        work.files(COUNT)
    parts = (run or work.folder / "run") / "steps" / "work" / "parts"
    variables = {"PARTS": str(parts), "HARM": harm, "AT": at, "WIDTH": str(width)}
    return {"work": work.parallel(SCRIPT, environment_variables=variables, **more)}


@pytest.mark.parametrize(
    ("harm", "looks"),
    [
        *((harm, "never") for harm in SPACE["HARMS"]),
        *((harm, "often") for harm in sorted(LOSES_EARLIER_ROWS)),
    ],
)
def test_whatever_a_script_does_to_committed_rows(
    work: Any, harm: str, looks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_copy, "LOOK_SECONDS", 3600.0 if looks == "never" else 0.001)
    ended = work.run(harmed(work, harm))
    assert (ended.status, ended.exit_code) == ("completed", 0), ended.reason
    assert work.rows() == RIGHT
    counts = ended.steps["work"].counts
    assert (counts.succeeded, counts.failed) == (COUNT, 0)
    if looks == "never" and harm in LOSES_EARLIER_ROWS:
        assert counts.repeats >= 1, "those before it were run again"
    elif harm in SPACE["HARMLESS"]:
        assert counts.repeats == 0


@pytest.mark.parametrize("harm", SPACE["HARMS"])
def test_whatever_a_script_does_between_rows_that_are_written_one_by_one(
    work: Any, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of each mini-batch are so large that they go to the part at once, some reports apart."""
    monkeypatch.setattr(early_copy, "LOOK_SECONDS", 3600.0)
    ended = work.run(harmed(work, harm, width=PUT_BYTES))
    assert (ended.status, ended.exit_code) == ("completed", 0), ended.reason
    assert work.rows() == [row + "-" * PUT_BYTES for row in RIGHT]
    counts = ended.steps["work"].counts
    assert (counts.succeeded, counts.failed) == (COUNT, 0)
    if harm in LOSES_EARLIER_ROWS:
        assert counts.repeats >= 1
    elif harm in SPACE["HARMLESS"]:
        assert counts.repeats == 0


def test_what_was_run_again_is_said(work: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(early_copy, "LOOK_SECONDS", 3600.0)
    ended = work.run(harmed(work, "flips a bit"), display=None)
    assert ended.status == "completed", ended.reason
    said = " ".join(capsys.readouterr().err.split())
    assert "The rows of 1 committed mini-batches (0) are not what was written" in said, said
    assert ".part, or the disk is bad; these are run again" in said
    assert "1 repeat" in ended.summary


def test_a_script_that_does_it_each_time_ends_the_step_in_words(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_copy.EarlyCopy, "advance", lambda _: False)  # else they are copied by then
    jobs = harmed(work, "nothing")
    work.write("code/score.py", SCRIPT + "\ndef shutdown():\n    HARMS['flips a bit']()\n")
    ended = work.run(jobs)
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.summary
    assert f"damaged like that {REPAIR_ROUNDS + 1} times" in ended.reason
    assert str(work.folder / "run" / "steps" / "work" / "parts") in ended.reason
    assert not (work.folder / "rows.txt").exists()
    work.write("code/score.py", SCRIPT)
    again = daskpar.resume(work.folder / "run", allow_changes=True, **QUIET)
    assert again.status == "completed", again.reason
    assert work.rows() == RIGHT


DAMAGES = [
    "flips a bit",
    "inserts a byte",
    "appends rows",
    "empties it",
    "removes it",
    "moves it away",
    "puts another in its place",
]


def damage_now(work: Any, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTS", str(work.folder / "run" / "steps" / "work" / "parts"))
    assert SPACE["parts"]()
    SPACE["HARMS"][harm]()


@pytest.fixture
def interrupted(work: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that had committed mini-batches 0 to 3 when it ended."""
    execute = ParallelStepRun._execute

    def some(self: ParallelStepRun, settings: Any, counter: Any, missing: Any, **more: Any) -> Any:
        ((start, stop),) = missing
        return execute(self, settings, counter, [(start, stop - 2)], **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParallelStepRun, "_execute", some)
        assert work.run(harmed(work, "nothing")).status == "lost"
    return work


@pytest.mark.parametrize("harm", DAMAGES)
def test_rows_that_are_damaged_before_a_resume(
    interrupted: Any, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_now(interrupted, harm, monkeypatch)
    ended = daskpar.resume(interrupted.folder / "run", **QUIET)
    assert (ended.status, ended.exit_code) == ("completed", 0), ended.reason
    assert interrupted.rows() == RIGHT
    assert ended.steps["work"].counts.succeeded == COUNT


@pytest.mark.parametrize("harm", DAMAGES)
def test_rows_that_are_damaged_before_an_export(
    interrupted: Any, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_now(interrupted, harm, monkeypatch)
    target = interrupted.folder / "partial.txt"
    done = export_partial(interrupted.folder / "run", str(target))
    rows = target.read_text().splitlines()
    assert rows == [row for row in RIGHT[:4] if row in rows], "whole rows, in order"
    assert done.lost == 4 - len(rows) == done.mini_batches - 2 - done.committed
    assert (done.lost > 0) == (harm != "appends rows")
    assert ("did not survive" in str(done)) == (done.lost > 0)
    ended = daskpar.resume(interrupted.folder / "run", **QUIET)
    assert ended.status == "completed" and interrupted.rows() == RIGHT


def test_the_command_line_says_what_an_export_lacks(
    interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_now(interrupted, "flips a bit", monkeypatch)
    target = interrupted.folder / "partial.txt"
    said = interrupted.cli("export", str(interrupted.folder / "run"), "--partial", str(target))
    assert said.returncode == 0, said.stderr
    assert "rows of 1 committed" in said.stdout + said.stderr
    assert target.read_text().splitlines() == RIGHT[1:4]


@pytest.mark.parametrize("harm", ["flips a bit", "removes it"])
def test_a_resume_that_only_has_to_put_together_runs_again_what_is_damaged(
    work: Any, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver was lost when all rows were committed."""

    def lost(*_: Any, **__: Any) -> None:
        raise daskpar.InfrastructureLost("a power cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daskpar.engine.step_outputs.assemble", lost)
        assert work.run(harmed(work, "nothing")).status == "lost"
    damage_now(work, harm, monkeypatch)
    ended = daskpar.resume(work.folder / "run", **QUIET)
    assert ended.status == "completed", ended.reason
    assert work.rows() == RIGHT


def test_mini_batches_that_fail_when_they_are_run_again_count(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_copy, "LOOK_SECONDS", 3600.0)
    jobs = harmed(work, "flips a bit", mini_batch_error_threshold=0)
    once = f"    assert not os.path.exists(seen := {str(work.folder)!r} + f'/seen-{{number}}')\n    open(seen, 'w')\n"
    work.write("code/score.py", SCRIPT.replace("    if number in", f"{once}    if number in"))
    ended = work.run(jobs)
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert "more than mini_batch_error_threshold allows (0)" in ended.reason
    assert not (work.folder / "rows.txt").exists()
