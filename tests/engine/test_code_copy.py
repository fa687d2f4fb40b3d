"""The working directory of a command: what is copied, linked and left out, and what becomes of an earlier copy."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daskpar.engine.code_copy import lay_out_code
from daskpar.errors import RunDirectoryError


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_working_directory_is_a_copy_of_the_code(tmp_path: Path) -> None:
    code, run = tmp_path / "code", tmp_path / "code/runs/now"
    files(
        code,
        "deep/er/a.py",
        "runs/now/run.json",
        "runs/before/run.json",
        "runs/before/lock",
        "data/big.csv",
        "log.txt",
        "run.sh",
    )
    (code / "run.sh").chmod(0o555)
    (tmp_path / "elsewhere").mkdir()
    (code / "out").symlink_to("../elsewhere")
    (code / "deep/same").symlink_to("er/a.py")
    (code / "broken").symlink_to("nowhere")
    (code / "circle").symlink_to("circle")
    os.mkfifo(code / "pipe")
    work = run / "steps/s/work"
    lay_out_code(code, work, run, {str(code / "data")})
    assert below(work) == [
        *(
            "broken",
            "circle",
            "data",
            "deep",
            "deep/er",
            "deep/er/a.py",
            "deep/same",
            "log.txt",
            "out",
            "run.sh",
            "runs",
        ),
    ]
    assert os.readlink(work / "data") == str(code / "data")
    assert os.readlink(work / "deep/same") == "er/a.py"
    assert (work / "out").samefile(tmp_path / "elsewhere")
    assert os.access(work / "run.sh", os.X_OK)
    (work / "log.txt").write_text("more")
    (work / "run.sh").write_text("more")
    assert (code / "log.txt").read_text() == "log.txt"
    lay_out_code(code, work, run)
    assert (work / "log.txt").read_text() == "log.txt"
    assert (work.with_name("work.unfinished-1") / "log.txt").read_text() == "more"


def test_a_step_that_is_stopped_copies_no_more(tmp_path: Path) -> None:
    files(tmp_path / "code", "a", "b", "c")
    answers = iter([False, False, True])
    lay_out_code(tmp_path / "code", tmp_path / "work", tmp_path, stopped=lambda: next(answers))
    assert len(list((tmp_path / "work").iterdir())) == 2


def test_code_that_can_not_be_copied_is_told(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    with pytest.raises(RunDirectoryError, match=r"the code can't be copied from .* to .*: Not a directory"):
        lay_out_code(tmp_path, tmp_path / "in the way" / "work", tmp_path)


def test_installed_packages_are_linked_and_history_and_caches_left_out(tmp_path: Path) -> None:
    code = files(
        tmp_path / "code",
        "a.py",
        ".git/HEAD",
        "p/__pycache__/a.pyc",
        "p/b.py",
        ".venv/pyvenv.cfg",
        "web/node_modules/x.js",
        ".env/c",
    )
    work = tmp_path / "work"
    lay_out_code(code, work, tmp_path)
    assert below(work) == [".env", ".env/c", ".venv", "a.py", "p", "p/b.py", "web", "web/node_modules"]
    assert (work / ".venv").samefile(code / ".venv") and (work / "web/node_modules").samefile(
        code / "web/node_modules"
    )


@pytest.mark.parametrize("named", ["data", "data/"])
def test_what_the_job_reads_and_writes_is_linked_however_it_is_written(tmp_path: Path, named: str) -> None:
    code = files(tmp_path / "code", "data/a.csv")
    lay_out_code(code, tmp_path / "work", tmp_path, [f"{code}/{named}"])
    assert os.readlink(tmp_path / "work/data") == str(code / "data")


@pytest.mark.parametrize("gone", ["b", "deep"])
def test_what_goes_while_it_is_copied_is_left_out(tmp_path: Path, gone: str) -> None:
    code = files(tmp_path / "code", "a", "b", "deep/c")

    def stopped() -> bool:
        if (code / gone).exists():
            (code / gone).rename(tmp_path / "gone")
        return False

    lay_out_code(code, tmp_path / "work", tmp_path, stopped=stopped)
    left = {"b": ["a", "deep", "deep/c"], "deep": ["a", "b"]}[gone]
    assert below(tmp_path / "work") == left


def none(work: Path) -> None:
    pass


def write_a_cache(work: Path) -> None:
    files(work, "deep/__pycache__/a.pyc")


def write_over(work: Path) -> None:
    (work / "a").write_text("over")


def add_deep(work: Path) -> None:
    files(work, "deep/new")


def remove(work: Path) -> None:
    (work / "a").unlink()


@pytest.mark.parametrize(
    ("change", "kept"),
    [(none, False), (write_a_cache, False), (write_over, True), (add_deep, True), (remove, True)],
)
def test_an_earlier_copy_is_kept_only_where_it_was_changed(
    tmp_path: Path, change: Callable[[Path], None], kept: bool
) -> None:
    code, work = files(tmp_path / "code", "a", "deep/b"), tmp_path / "work"
    lay_out_code(code, work, tmp_path)
    change(work)
    (code / "a").write_text("newer")
    lay_out_code(code, work, tmp_path)
    assert (work / "a").read_text() == "newer" and below(work) == ["a", "deep", "deep/b"]
    assert (tmp_path / "work.unfinished-1").exists() == kept


def test_a_copy_that_no_command_has_seen_is_removed(tmp_path: Path) -> None:
    code, work = files(tmp_path / "code", "a", "b"), tmp_path / "work"
    answers = iter([False, True])
    lay_out_code(code, work, tmp_path, stopped=lambda: next(answers))
    lay_out_code(code, work, tmp_path)
    assert below(work) == ["a", "b"] and not (tmp_path / "work.unfinished-1").exists()


@pytest.mark.parametrize("reason", [errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)
def test_where_there_are_no_links_code_is_copied_and_the_rest_is_told(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, work = (
        files(tmp_path / "code", "a.py", "deep/b.py", "data/big.csv", "venv/pyvenv.cfg"),
        tmp_path / "work",
    )
    files(tmp_path, "elsewhere/c.py")
    (code / "c.py").symlink_to("../elsewhere/c.py")
    (code / "deep/a.py").symlink_to("../a.py")
    (code / "whole").symlink_to("../code")

    def no_links(self: Path, target: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(Path, "symlink_to", no_links)
    notes: list[str] = []
    lay_out_code(code, work, tmp_path, {str(code / "data")}, note=notes.append)
    assert below(work) == ["a.py", "c.py", "deep", "deep/a.py", "deep/b.py"]
    assert (work / "c.py").read_text() == "elsewhere/c.py" and (work / "deep/a.py").read_text() == "a.py"
    (note,) = notes
    assert "without symbolic links" in note and "${{inputs.NAME}}" in note and "--run-dir" in note
    assert str(code / "data") in note and str(code / "venv") in note


def test_another_trouble_with_a_link_ends_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = files(tmp_path / "code", "data/big.csv")

    def denied(self: Path, target: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "symlink_to", denied)
    with pytest.raises(RunDirectoryError, match="can't be copied"):
        lay_out_code(code, tmp_path / "work", tmp_path, {str(code / "data")})
