"""Files of output folders: which belong to a call, which stay, what a failed call leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daskpar.processor.output_sweep import FOLDERS_KEPT, OF_INIT, OutputSweep, Uploads


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of the one output `o`."""
    folder = tmp_path / "own" / "o"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def sweep(tmp_path: Path, out: Path) -> OutputSweep:
    return OutputSweep(f"{tmp_path}/own/", ("o",), f"{tmp_path}/sealed/s")


def held(folder: str | Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def test_each_call_has_its_own_files(sweep: OutputSweep, out: Path) -> None:
    sweep.begin()
    assert sweep.seal() == ""
    (out / "deep" / "er").mkdir(parents=True)
    (out / "deep" / "er" / "a").write_text("1")
    first = sweep.seal()
    assert held(first) == {"o/deep/er/a": "1"} and held(out) == {}
    assert (out / "deep" / "er").is_dir()  # for the next call
    (out / "b").write_text("half")
    sweep.discard()
    (out / "b").write_text("2")
    assert held(sweep.seal()) == {"o/b": "2"}
    assert sweep.seal() == ""


def test_what_init_makes_stays_and_goes_along_once(sweep: OutputSweep, out: Path) -> None:
    (out / "about").write_text("init")
    sweep.begin()
    sweep.discard()
    assert held(out) == {"about": "init"}
    (out / "a").write_text("1")
    assert held(sweep.seal()) == {f"{OF_INIT}/o/about": "init", "o/a": "1"}
    (out / "b").write_text("2")
    assert held(sweep.seal()) == {"o/b": "2"}
    (out / "about").write_text("changed")
    assert held(sweep.seal()) == {"o/about": "changed"} and held(out) == {"about": "changed"}


def test_what_is_held_open_is_copied(sweep: OutputSweep, out: Path) -> None:
    sweep.begin()
    with open(out / "log", "w") as log:
        for text, all_of_it in (("a", "a"), ("b", "ab")):
            log.write(text)
            log.flush()
            assert held(sweep.seal()) == {"o/log": all_of_it}
        assert sweep.seal() == ""
    assert held(out) == {"log": "ab"}


def linked(out: Path) -> None:
    (out.parent / "elsewhere").write_text("linked")
    (out / "a").symlink_to("../elsewhere")


def pipe(out: Path) -> None:
    os.mkfifo(out / "a")


def dangling(out: Path) -> None:
    (out / "a").symlink_to("nothing")


def removed(out: Path) -> None:
    out.rmdir()


@pytest.mark.parametrize(
    ("make", "sealed"), [(linked, {"o/a": "linked"}), (pipe, {}), (dangling, {}), (removed, {})]
)
def test_odd_things(
    sweep: OutputSweep, out: Path, make: Callable[[Path], None], sealed: dict[str, str]
) -> None:
    sweep.begin()
    make(out)
    found = sweep.seal()
    assert (held(found) if found else {}) == sealed
    assert out.is_dir()


def test_a_linked_folder_is_told(sweep: OutputSweep, out: Path, tmp_path: Path) -> None:
    sweep.begin()
    (out / "latest").symlink_to(tmp_path)
    assert sweep.seal() == "" and sweep.links == {str(out / "latest")}


def test_many_empty_folders_go(sweep: OutputSweep, out: Path) -> None:
    sweep.begin()
    for number in range(FOLDERS_KEPT + 1):
        (out / str(number) / "x").mkdir(parents=True)
        (out / str(number) / "x" / "file").write_text("")
    sweep.seal()
    assert list(out.iterdir()) == []


def test_what_is_there_at_the_end_is_handed_over(sweep: OutputSweep, out: Path, tmp_path: Path) -> None:
    sweep.begin()
    (out / "bye").write_text("bye")
    sweep.leave(f"{tmp_path}/left/s")
    assert held(tmp_path / "left" / "s") == {"o/bye": "bye"}


def test_texts_name_the_folders_of_the_processor() -> None:
    own = Uploads(root="/r", outputs=(("o", "s3://b/o"),)).of(3, 7)
    assert own.named_in("--o=/r/filled/o/sub") == "--o=/r/filled/3-process007/o/sub"
    assert own.named_in("/r/other") == "/r/other"
