"""Inputs laid out for scripts: copies and trees of links that may be emptied without harm."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from daskpar.data import file_copies
from daskpar.engine.input_copies import lay_out_inputs, own_outputs, remove_inputs
from daskpar.errors import DaskparError
from daskpar.jobspec.input_access import Access
from daskpar.jobspec.model import Input


class Given:
    """An input with a few files, and where scripts see it."""

    def __init__(self, folder: Path, access: str) -> None:
        self.run, self.data = folder / "run", folder / "data"
        (self.data / "sub/deep").mkdir(parents=True)
        self.run.mkdir()
        for name in ("a.txt", "sub/b.txt", "sub/deep/ü b.txt"):
            (self.data / name).write_text(name)
        os.utime(self.data / "a.txt", ns=(1, 1_234_567_890_123_456_789))
        (self.data / "sub/b.txt").chmod(0o440)
        self.seen = self.run / "copies/d"
        self.input = Input(
            name="d", type="uri_folder", path=str(self.data), access=access, seen=str(self.seen)
        )

    def lay_out(self) -> None:
        lay_out_inputs([self.input], str(self.run))

    @staticmethod
    def content(folder: Path) -> dict[str, str]:
        return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(params=[Access.LINKS, Access.COPY, "symbolic"])
def given(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Given:
    if request.param == "symbolic":

        def refused(*_: object, **__: object) -> None:
            raise OSError(errno.EXDEV, "another file system")

        monkeypatch.setattr(file_copies.os, "link", refused)
    return Given(tmp_path, Access.LINKS if request.param == "symbolic" else request.param)


def test_scripts_see_the_same_files(given: Given) -> None:
    given.lay_out()
    assert given.content(given.seen) == given.content(given.data)
    assert (given.seen / "a.txt").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert not (given.seen / "sub").is_symlink()


def test_it_can_be_emptied_without_harm(given: Given) -> None:
    before = given.content(given.data)
    given.lay_out()
    (given.seen / "a.txt").rename(given.run / "moved.txt")
    (given.seen / "sub").rename(given.run / "moved")
    assert given.content(given.data) == before
    given.lay_out()
    assert given.content(given.seen) == before
    remove_inputs([given.input])
    assert given.content(given.data) == before
    assert not (given.run / "copies").exists()


def test_a_folder_without_rights_is_removed_too(given: Given) -> None:
    given.lay_out()
    (given.seen / "sub/deep").chmod(0)
    remove_inputs([given.input])
    assert not given.seen.exists()
    assert (given.data / "sub/deep").stat().st_mode & 0o777 != 0


def test_a_copy_can_be_written_to(tmp_path: Path) -> None:
    given = Given(tmp_path, Access.COPY)
    given.lay_out()
    for path in ("a.txt", "sub/b.txt"):
        assert (given.seen / path).stat().st_mode & 0o200
        (given.seen / path).write_text("mine")
    assert (given.data / "a.txt").read_text() == "a.txt"
    assert (given.data / "sub/b.txt").read_text() == "sub/b.txt"


def test_links_in_an_input(given: Given, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/o.txt").write_text("outside")
    (given.data / "file-link").symlink_to(given.data / "a.txt")
    (given.data / "folder-link").symlink_to(tmp_path / "outside")
    (given.data / "sub/circle").symlink_to(given.data)
    (given.data / "nowhere").symlink_to("missing")
    (given.data / "self").symlink_to("self")
    given.lay_out()
    assert (given.seen / "file-link").read_text() == "a.txt"
    (given.seen / "folder-link/o.txt").unlink()
    assert (tmp_path / "outside/o.txt").read_text() == "outside"
    (given.seen / "sub/circle/a.txt").unlink()
    assert not (given.seen / "a.txt").exists()
    assert (given.data / "a.txt").exists()
    assert (given.seen / "nowhere").is_symlink() and (given.seen / "self").is_symlink()


def test_what_is_no_file_is_left_out(given: Given) -> None:
    os.mkfifo(given.data / "pipe")
    given.lay_out()
    assert not (given.seen / "pipe").exists()


def test_the_run_directory_in_an_input_is_left_out(tmp_path: Path) -> None:
    run = tmp_path / "data/runs/now"
    run.mkdir(parents=True)
    (tmp_path / "data/a.txt").write_text("a")
    seen = run / "copies/d"
    data = Input(name="d", type="uri_folder", path=str(tmp_path / "data"), access=Access.COPY, seen=str(seen))
    lay_out_inputs([data], str(run))
    assert sorted(p.relative_to(seen).as_posix() for p in seen.rglob("*")) == ["a.txt", "runs"]


@pytest.mark.parametrize("access", [Access.LINKS, Access.COPY])
def test_a_single_file(tmp_path: Path, access: str) -> None:
    (tmp_path / "a.csv").write_text("1")
    seen = tmp_path / "run/copies/d/a.csv"
    data = Input(name="d", type="uri_file", path=str(tmp_path / "a.csv"), access=access, seen=str(seen))
    for _ in range(2):
        lay_out_inputs([data], str(tmp_path))
        seen.rename(tmp_path / "moved")
    assert (tmp_path / "a.csv").read_text() == "1"


def test_what_is_moved_to_an_output_is_its_own(given: Given, tmp_path: Path) -> None:
    """Else a later change of the output would change the input, and removing the input would cost the output."""
    given.lay_out()
    (tmp_path / "out").mkdir()
    (given.seen / "a.txt").rename(tmp_path / "out/a.txt")
    (given.seen / "sub").rename(tmp_path / "out/sub")
    (tmp_path / "out/new.txt").write_text("new")
    (tmp_path / "out/link").symlink_to("new.txt")
    own_outputs([given.input], [str(tmp_path / "out"), "s3://bucket/out", str(tmp_path / "none")])
    for name in ("a.txt", "sub/b.txt", "sub/deep/ü b.txt"):
        made = tmp_path / "out" / name
        assert made.read_text() == name
        assert not made.is_symlink() and made.stat().st_nlink == 1
        assert not made.samefile(given.data / name)
    assert (tmp_path / "out/link").is_symlink()


@pytest.mark.parametrize(
    ("number", "access", "link_in_data", "says"),
    [
        (errno.EOPNOTSUPP, Access.LINKS, False, "Write `mode: download`"),
        (errno.EPERM, Access.LINKS, False, "or `mode: direct`"),
        (errno.EOPNOTSUPP, Access.COPY, "nowhere", "nowhere is to be one. Take that link out of the data"),
        (errno.EOPNOTSUPP, Access.COPY, "circle", "with --run-dir"),
        (errno.EOPNOTSUPP, Access.COPY, False, ""),
        (errno.ENOSPC, Access.LINKS, False, "the disk is full"),
    ],
)
def test_a_file_system_without_symbolic_links_says_what_to_write(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    access: Access,
    link_in_data: str,
    says: str,
) -> None:
    given = Given(tmp_path, access)
    if link_in_data:
        (given.data / link_in_data).symlink_to("gone" if link_in_data == "nowhere" else given.data)

    def refuse(number: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file_copies.os, "link", lambda *_, **__: refuse(errno.EXDEV))
    monkeypatch.setattr(file_copies.os, "symlink", lambda *_, **__: refuse(number))
    if not says:
        given.lay_out()
        assert given.content(given.seen) == given.content(given.data)
        return
    with pytest.raises(DaskparError) as refused:
        given.lay_out()
    assert says in str(refused.value) and "input d" in str(refused.value)
