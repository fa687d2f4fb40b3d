"""Output folders: made before, moved aside, never deleted, never shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.errors import RunDirectoryError, UsageError
from daskpar.jobspec.model import CommandStep, Output
from daskpar.outputs.output_folders import move_aside, prepare, prepare_outputs, there_before, unchanged


def output(name: str, path: Path | str, type: str = "uri_folder") -> Output:
    return Output(
        name=name, type=type, mode="rw_mount", path=str(path), chosen_by_user=True, where="job.yml:7"
    )


def command(*outputs: Output) -> CommandStep:
    return CommandStep(
        name="make", code=None, command="true", inputs={}, outputs={o.name: o for o in outputs}
    )


def test_folders_and_the_parents_of_files_are_made(tmp_path: Path) -> None:
    made = [
        output("a", tmp_path / "x" / "a"),
        output("f", tmp_path / "y" / "f.csv", "uri_file"),
        output("u", "s3://b/c"),
    ]
    prepare({o.name: o for o in made})
    assert (
        (tmp_path / "x" / "a").is_dir()
        and (tmp_path / "y").is_dir()
        and not (tmp_path / "y" / "f.csv").exists()
    )


def test_what_is_in_the_way_is_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(UsageError, match=r"job.yml:7: The output a is a folder, and there is a file"):
        prepare({"a": output("a", tmp_path / "f")})
    with pytest.raises(UsageError, match="is a file, and there is a folder"):
        prepare({"a": output("a", tmp_path, "uri_file")})


@pytest.mark.parametrize("kind", ["uri_folder", "uri_file"])
def test_a_place_that_can_not_even_be_looked_at_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with pytest.raises(
        RunDirectoryError, match=r"job.yml:7: The output a can't be made at .*: File name too long"
    ):
        prepare({"a": output("a", tmp_path / ("n" * 300) / "x", kind)})

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(
        RunDirectoryError, match=r"job.yml:7: What lies at .* can't be looked at: File name too long"
    ):
        there_before(command(output("a", tmp_path / ("n" * 300), kind)))
    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(RunDirectoryError, match=r"can't be made at .*: Permission denied"):
        prepare({"a": output("a", tmp_path / "x", kind)})


def test_what_an_unfinished_command_left_is_moved_aside(tmp_path: Path) -> None:
    step = command(output("o", tmp_path / "o"), output("f", tmp_path / "f.txt", "uri_file"))
    assert prepare_outputs(step) == []
    (tmp_path / "o" / "half").write_text("1")
    (tmp_path / "f.txt").write_text("1")
    assert prepare_outputs(step) == [] and (tmp_path / "o" / "half").exists()
    for n in (1, 2):
        moved = prepare_outputs(step, again=True)
        assert len(moved) == 2 and f"o.unfinished-{n}" in moved[0]
        assert (tmp_path / f"o.unfinished-{n}" / "half").read_text() == str(n)
        assert list((tmp_path / "o").iterdir()) == [] and not (tmp_path / "f.txt").exists()
        (tmp_path / "o" / "half").write_text("2")
        (tmp_path / "f.txt").write_text("2")


def test_an_empty_or_missing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    assert move_aside(tmp_path / "o") is None and move_aside(tmp_path / "none") is None
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


def test_outputs_of_other_steps_inside_stay(tmp_path: Path) -> None:
    for name in ("mine", "deep/theirs/kept"):
        (tmp_path / "o" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "o" / name).write_text("x")
    prepare_outputs(
        command(output("o", tmp_path / "o")), again=True, keep=[str(tmp_path / "o" / "deep" / "theirs")]
    )
    assert (tmp_path / "o" / "deep" / "theirs" / "kept").exists() and not (tmp_path / "o" / "mine").exists()
    assert (tmp_path / "o.unfinished-1" / "mine").exists()


def test_only_what_the_step_made_is_moved_aside(tmp_path: Path) -> None:
    step = command(
        output("o", tmp_path / "o"),
        output("f", tmp_path / "f.txt", "uri_file"),
        output("g", tmp_path / "g.txt", "uri_file"),
    )
    (tmp_path / "o" / "sub").mkdir(parents=True)
    for name in ("o/mine", "o/sub/mine", "f.txt", "g.txt"):
        (tmp_path / name).write_text("mine")
    before = there_before(step)
    prepare_outputs(step)
    assert prepare_outputs(step, again=True, keep=unchanged(before)) == []
    (tmp_path / "o" / "half").write_text("1")
    (tmp_path / "g.txt").write_text("written over")
    assert len(prepare_outputs(step, again=True, keep=unchanged(before))) == 2
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"mine", "sub"}
    assert [path.name for path in (tmp_path / "o.unfinished-1").iterdir()] == ["half"]
    assert (tmp_path / "f.txt").read_text() == "mine" and not (tmp_path / "g.txt").exists()
    assert (tmp_path / "g.txt.unfinished-1").read_text() == "written over"


def test_a_file_in_a_folder_that_a_try_wrote_over_is_moved_aside(tmp_path: Path) -> None:
    out = tmp_path / "o"
    out.mkdir()
    for name in ("rows.csv", "other.csv", "becomes a folder"):
        (out / name).write_text("of an earlier run")
    (out / "nowhere").symlink_to(tmp_path / "gone")
    (out / "circle").symlink_to("circle")
    step = command(output("o", out))
    before = there_before(step)
    (out / "rows.csv").write_text("half of try 1")
    (out / "becomes a folder").unlink()
    (out / "becomes a folder").mkdir()
    assert len(prepare_outputs(step, again=True, keep=unchanged(before))) == 1
    assert {path.name for path in out.iterdir()} == {"other.csv", "nowhere", "circle"}
    assert (tmp_path / "o.unfinished-1" / "rows.csv").read_text() == "half of try 1"


def test_of_a_folder_with_very_many_things_nothing_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskpar.outputs.output_folders.NAMED", 2)
    step = command(output("o", tmp_path / "o"))
    (tmp_path / "o").mkdir()
    for name in "abc":
        (tmp_path / "o" / name).touch()
    before = there_before(step)
    assert list(before) == [str(tmp_path / "o")]
    (tmp_path / "o" / "half").touch()
    assert prepare_outputs(step, again=True, keep=unchanged(before)) == []
    assert len(list((tmp_path / "o").iterdir())) == 4


def test_what_is_kept_stays_whatever_its_spelling(tmp_path: Path) -> None:
    (tmp_path / "real" / "code").mkdir(parents=True)
    (tmp_path / "real" / "half").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert move_aside(tmp_path / "real", [tmp_path / "link"]) is None
    assert move_aside(tmp_path / "link", [str(tmp_path / "real")]) is None
    assert move_aside(tmp_path / "real", [f"{tmp_path}/real/code/../code/"]) == tmp_path / "real.unfinished-1"
    assert (tmp_path / "real" / "code").is_dir() and (tmp_path / "real.unfinished-1" / "half").exists()
