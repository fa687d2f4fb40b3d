"""Files of scripts' own on far nodes: what looking after them may cost, and where they can't be put."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.engine.shipped.returned_files import ReturnedFiles
from daskpar.engine.shipped.settled_files import MLFLOW, MOST_PAUSE_SECONDS, OWN, SettledFiles
from daskpar.errors import RunDirectoryError
from daskpar.processor.protocol import ReturnedFile


@pytest.mark.parametrize(("takes", "pause"), [(0.5, 5.0), (60.0, MOST_PAUSE_SECONDS)])
def test_a_look_that_takes_long_is_not_soon_followed_by_another(tmp_path, takes, pause):
    again = takes + pause
    times = [0.0, takes, again - 0.1, again, again, again, again]
    files = SettledFiles({OWN: str(tmp_path)}, iter(times).__next__)
    (tmp_path / "a").write_text("x")
    assert [len(list(files.pieces(4))) for _ in range(3)] == [0, 0, 2]
    files = SettledFiles({OWN: str(tmp_path)}, iter([0.0, takes, *[takes] * 4]).__next__)
    assert not list(files.pieces(4))
    assert len(list(files.pieces(4, last=True))) == 2, "the last look waits for nothing"


def test_sending_a_file_once_takes_its_time_and_sending_it_again_pauses(tmp_path):
    clock = [0.0]
    files = SettledFiles({OWN: str(tmp_path), MLFLOW: str(tmp_path / "none")}, lambda: clock[0])

    def look() -> int:
        found = 0
        for _ in files.pieces(4):
            clock[0] += 1.0  # to send a piece
            found += 1
        return found

    (tmp_path / "grows").write_text("abc")
    assert [look(), look(), look()] == [0, 2, 0]
    (tmp_path / "grows").write_text("abcdef")
    assert [look(), look()] == [0, 3]
    (tmp_path / "new").write_text("x")
    assert [look(), look()] == [0, 0]
    clock[0] += 30.0
    assert [look(), look()] == [0, 2]


def test_files_that_were_given_are_remembered_once(tmp_path):
    files = SettledFiles({OWN: str(tmp_path)}, lambda: 0.0)
    for number in range(3):
        (tmp_path / str(number)).write_text("x")
    (tmp_path / "link").symlink_to("0")
    (tmp_path / "loop").symlink_to(tmp_path)
    sent = [piece.name for _ in range(3) for piece in files.pieces(4)]
    assert sent == ["0", "0", "1", "1", "2", "2"]
    assert (len(files._seen), len(files._given)) == (0, 3)


def test_a_file_where_another_has_a_folder_ends_no_run(tmp_path):
    told: list[str] = []
    out = tmp_path / "out"
    driver = ReturnedFiles([], "", tmp_path / "coming", {OWN: str(out)}, told.append)

    def bring(name: str, data: bytes) -> None:
        if data:
            driver.keep("tcp://a", ReturnedFile(tree=OWN, name=name, offset=0, data=data))
        driver.keep("tcp://a", ReturnedFile(tree=OWN, name=name, offset=len(data), data=b""))

    bring("a", b"a file")
    bring("a/b", b"below a file")
    bring("c/d", b"a folder")
    bring("c", b"a file instead")
    bring("c", b"")
    assert {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()} == {
        "a": "a file",
        "c/d": "a folder",
    }
    assert len(told) == 1 and str(out / "a" / "b") in told[0] and "node tcp://a" in told[0]
    assert not [path for path in (tmp_path / "coming").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "piece",
    [
        *(
            {"tree": tree, "name": name}
            for tree in (0, OWN)
            for name in ("../x", "/x", "a/../../x", ".", "a\0b")
        ),
        *({"tree": tree, "name": "x"} for tree in (-9, 1, 99)),
        {"tree": 0, "name": "x", "offset": -1},
    ],
)
@pytest.mark.parametrize("data", [b"x", b""])
def test_a_node_writes_nowhere_else(tmp_path: Path, piece, data):
    driver = ReturnedFiles([str(tmp_path / "logs")], "", tmp_path / "coming", {OWN: str(tmp_path / "out")})
    with pytest.raises(RunDirectoryError, match="node tcp://a has sent a file"):
        driver.keep("tcp://a", ReturnedFile(**{"offset": 0, "data": data, **piece}))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
