"""The outputs of a step at URLs as the driver keeps them, in a store of this process's memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from daskpar.errors import InfrastructureLost, InputError, Interrupted
from daskpar.jobspec.model import Output
from daskpar.outputs import step_uploads
from daskpar.outputs.step_uploads import StepUploads, uploads_of
from daskpar.outputs.upload_log import BegunLog, judge

URL = "memory://kept/out"


@pytest.fixture(autouse=True)
def store() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def output(kind: str, path: str, seen: str = "x") -> Output:
    return Output(name="o", type=kind, mode="upload", path=path, chosen_by_user=True, seen=seen)


def kept(tmp_path: Path, file: str = "", who: str = "driver") -> tuple[StepUploads, list[str]]:
    outputs = {"o": output("uri_folder", URL), **({"file": output("uri_file", file)} if file else {})}
    uploads = uploads_of(outputs, tmp_path / "uploads")
    assert uploads is not None
    said: list[str] = []
    return StepUploads(uploads=uploads, who=who, warn=said.append, progress=said.append), said


def written(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def objects(files: fsspec.AbstractFileSystem) -> dict[str, bytes]:
    return {path: files.cat_file(path) for path in files.find("/kept")}


def test_the_outputs_that_are_filled_locally_and_where_their_files_go(tmp_path: Path) -> None:
    outputs = {
        "all": output("uri_folder", "s3://b/all/"),
        "one": output("uri_file", "s3://b/deep/one.bin/"),
        "local": output("uri_folder", "/data/out", seen=""),
    }
    uploads = uploads_of(outputs, tmp_path)
    assert uploads is not None and uploads.root == str(tmp_path)
    assert uploads.outputs == (("all", "s3://b/all/"), ("one", "s3://b/deep"))
    assert uploads_of({"local": outputs["local"]}, tmp_path) is None


def test_the_end_of_a_step(
    tmp_path: Path, store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `shutdown()` left is uploaded, objects of tries that do not count go, the folders too."""
    monkeypatch.setattr(step_uploads, "THREADS", 1)
    mine, said = kept(tmp_path)
    root = tmp_path / "uploads"
    begun = BegunLog(mine.uploads.log, "node")
    for token, index, names in (
        ("t", 0, ["a", "both"]),
        ("u", 0, ["b"]),
        ("v", 1, ["both", "too"]),
        ("w", 2, ["too"]),
    ):
        begun.add(token, index, [("o", name) for name in names])
    for name in ("a", "b", "both", "too"):
        store.pipe_file(f"/kept/out/{name}", b"x")
    mine.count([(0, "t")])
    mine.count([(1, "v"), (2, "w")], None)
    written(root / "left" / "p1", o__last="1", o__deep__er="2")
    written(root / "left" / "p2", o__other="3")
    written(root / "filled", x="")
    written(root / "sealed", x="")
    mine.finish()
    assert objects(store) == {
        **{f"/kept/out/{name}": b"x" for name in ("a", "both", "too")},
        **{"/kept/out/last": b"1", "/kept/out/deep/er": b"2", "/kept/out/other": b"3"},
    }
    assert said[:3] == ["uploading 50 %", "uploading 100 %", "uploading 100 %"]
    assert len(said) == 4 and "several mini-batches have written memory://kept/out/" in said[3]
    assert " and 1 more: of each the last one stays" in said[3]
    assert [path.name for path in root.iterdir()] == ["log"]
    said.clear()
    mine.finish()
    assert (len(objects(store)), len(said)) == (6, 1)


def test_one_name_that_two_wrote_and_pieces_that_do_not_count(
    tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    mine, said = kept(tmp_path)
    begun = BegunLog(mine.uploads.log, "node")
    for token, index, names in (("t", 0, ["both"]), ("v", 1, ["both"]), ("w", 2, ["piece"])):
        begun.add(token, index, [("o", name) for name in names])
    store.pipe_file("/kept/out/piece", b"x")
    mine.count([(0, "t"), (1, "v")])
    mine.count([(2, "w")], (0, 5))
    mine.finish(lambda index: index != 2)
    assert objects(store) == {}
    assert said[0].startswith("several mini-batches have written memory://kept/out/both: of each the last")


def test_a_start_clears_what_an_earlier_process_has_left_of_mini_batches(tmp_path: Path) -> None:
    mine, _ = kept(tmp_path)
    written(tmp_path / "uploads", filled__a="", sealed__b="", left__p__o__c="", log__d="")
    mine.begin()
    assert sorted(path.name for path in (tmp_path / "uploads").iterdir()) == ["left", "log"]


def test_a_command(tmp_path: Path, store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_uploads, "THREADS", 1)
    mine, said = kept(tmp_path, "memory://kept/model.bin")
    filled = Path(mine.uploads.filled)
    assert not mine.command_has_ended
    mine.begin_command()
    assert {path.name for path in filled.iterdir()} == {"o", "file"}
    assert not mine.command_has_ended
    written(filled, **{"o__a": "1", "file__model.bin": "2"})
    mine.finish_command()
    assert objects(store) == {"/kept/out/a": b"1", "/kept/model.bin": b"2"}
    assert said == ["uploading 50 %", "uploading 100 %"]
    assert not mine.command_has_ended and not filled.exists()


def test_a_command_whose_upload_was_broken_off_is_not_run_again(
    tmp_path: Path, store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _ = kept(tmp_path)
    mine.begin_command()
    written(Path(mine.uploads.filled), o__a="1", o__b="2")
    with monkeypatch.context() as away:
        away.setattr(step_uploads, "upload_file", lambda *_: (_ for _ in ()).throw(PermissionError("no")))
        with pytest.raises(InfrastructureLost, match=r"memory://kept/out/. can't be written: no"):
            mine.finish_command()
    assert mine.command_has_ended
    after, _ = kept(tmp_path, who="later")
    assert after.command_has_ended
    after.finish_command()
    assert objects(store) == {"/kept/out/a": b"1", "/kept/out/b": b"2"}
    assert judge(Path(after.uploads.log)).spare == []
    assert '["driver", -1' in Path(after.uploads.log, "counted.jsonl").read_text()  # as who ran it
    # One that begins anew has not ended.
    written(tmp_path / "uploads", ended="driver", filled__o__x="")
    after.begin_command()
    assert not after.command_has_ended and not list(Path(after.uploads.filled, "o").iterdir())


def test_several_at_a_time_and_the_first_error_in_words_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2, timeout=30)
    StepUploads._do_all(lambda _: together.wait(), [1, 2])
    monkeypatch.setattr(step_uploads, "THREADS", 1)
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        if item == 1:
            raise InputError("in words")

    with pytest.raises(InputError, match="in words"):
        StepUploads._do_all(work, [0, 1, 2, 3])
    assert done == [0, 1]
    StepUploads._do_all(work, [])


def test_an_error_in_words_comes_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=30)

    def work(item: str) -> None:
        both.wait()
        if item == "words":
            raise Interrupted("in words")
        raise KeyError("raw")

    with pytest.raises(Interrupted, match="in words"):
        StepUploads._do_all(work, ["raw", "words"])
    with pytest.raises(KeyError, match="raw"):
        StepUploads._do_all(lambda _: (_ for _ in ()).throw(KeyError("raw")), [1])


def test_a_stop_and_the_time_that_a_store_may_be_away_reach_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, said = kept(tmp_path)
    monkeypatch.setattr(
        step_uploads, "upload_file", lambda *_: (_ for _ in ()).throw(ConnectionRefusedError(111, "no"))
    )
    mine.begin_command()
    written(Path(mine.uploads.filled), o__a="1")
    mine.stopped = lambda: "stopped by you"
    with pytest.raises(Interrupted, match="stopped by you"):
        mine.finish_command()
    assert len(said) == 1 and "tried again for up to 300 s" in said[0]
    mine.outage = 0.0
    with pytest.raises(InfrastructureLost, match="memory://kept/out/a can't be written"):
        mine.finish_command()


def test_a_command_that_is_run_again_leaves_no_object_of_an_upload_that_was_broken_off(
    tmp_path: Path, store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _ = kept(tmp_path)
    mine.begin_command()
    written(Path(mine.uploads.filled), o__a="1", o__b="2")
    upload = step_uploads.upload_file

    def only_a(path: str, target: str) -> None:
        if not target.endswith("/a"):
            raise PermissionError("no")
        upload(path, target)

    with monkeypatch.context() as refused:
        refused.setattr(step_uploads, "THREADS", 1)
        refused.setattr(step_uploads, "upload_file", only_a)
        with pytest.raises(InfrastructureLost):
            mine.finish_command()
    assert [path.name for path in Path(mine.uploads.filled, "o").iterdir()] == ["b"], "a is not sent again"
    assert objects(store) == {"/kept/out/a": b"1"}
    again, _ = kept(tmp_path, who="later")
    again.begin_command()
    written(Path(again.uploads.filled), o__b="3")
    again.finish_command()
    assert objects(store) == {"/kept/out/b": b"3"}


def test_a_command_whose_end_was_lost_leaves_no_object_that_its_next_run_does_not_write(
    tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    """All was uploaded, and its driver was killed before it had said so: it is run again."""
    for who, files in (("first", {"o__a": "1", "o__both": "1"}), ("later", {"o__b": "2", "o__both": "2"})):
        mine, _ = kept(tmp_path, who=who)
        mine.begin_command()
        written(Path(mine.uploads.filled), **files)
        mine.finish_command()
    assert objects(store) == {"/kept/out/b": b"2", "/kept/out/both": b"2"}
