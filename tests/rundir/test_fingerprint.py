"""What a run refuses to go on with, what may change, and the words for it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daskpar.batches.by_size import plan_by_size
from daskpar.batches.plan import Plan
from daskpar.data.files import FileList
from daskpar.engine.planning import open_input
from daskpar.errors import DataUnreached, InputError
from daskpar.jobspec.model import BySize, CommandStep, DriverSettings, Input, Output, ParallelStep
from daskpar.rundir import seen_files
from daskpar.rundir.fingerprint import (
    INPUTS,
    differences,
    fingerprint_without_inputs,
    plans_the_same,
    seen_inputs,
    step_fingerprint,
)
from daskpar.rundir.run_directory import RunDirectory


@pytest.fixture
def step(tmp_path: Path) -> ParallelStep:
    (tmp_path / "code" / "pkg").mkdir(parents=True)
    (tmp_path / "code" / "score.py").write_text("def run(b): return b")
    (tmp_path / "code" / "pkg" / "help.py").write_text("x = 1")
    (tmp_path / "data").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "data" / name).write_text("1\n")
    return ParallelStep(
        name="score",
        code=tmp_path / "code",
        entry_script=str(tmp_path / "code" / "score.py"),
        arguments=(
            "--model",
            f"{tmp_path}/run/steps/train/outputs/m",
            "--error_threshold",
            "5",
            "--copy_logs_to_parent",
            "--rate",
            "2",
        ),
        environment_variables={"MODE": "fast"},
        inputs={
            "data": Input(name="data", type="uri_folder", mode="ro_mount", path=str(tmp_path / "data")),
            "rate": Input(name="rate", type="literal", value=2),
            "made": Input(
                name="made", type="uri_folder", mode="ro_mount", path=str(tmp_path / "none"), made_by="train"
            ),
        },
        outputs={
            "o": Output(
                name="o",
                type="uri_folder",
                mode="rw_mount",
                path=str(tmp_path / "code" / "out"),
                chosen_by_user=True,
            )
        },
        input_data=("data",),
        by_size=BySize(number=10, unit=1024),
        append_row_to=str(tmp_path / "out.csv"),
        settings=DriverSettings(),
    )


def seen(step: Any, tmp_path: Path, run: str = "run") -> dict[str, Any]:
    """As it comes back from step.json."""
    return json.loads(json.dumps(step_fingerprint(step, tmp_path / run)))


@pytest.mark.parametrize(
    "flags",
    [
        ("--allow_empty",),
        ("--allow-empty",),
        ("--allow-empty", "true"),
        ("--init-timeout", "9"),
        ("--processor-memory=2GB", "--nice", "3"),
    ],
    ids=" ".join,
)
def test_the_drivers_flags_may_change_however_they_are_spelt(
    step: ParallelStep, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    assert (
        differences(seen(step, tmp_path), seen(replace(step, arguments=(*step.arguments, *flags)), tmp_path))
        == []
    )


def test_all_but_the_input_files_is_known_at_once(step: ParallelStep, tmp_path: Path) -> None:
    without_inputs = fingerprint_without_inputs(step, tmp_path / "run")
    assert {**without_inputs, "inputs": seen_inputs(step)} == step_fingerprint(step, tmp_path / "run")
    assert INPUTS not in without_inputs
    (tmp_path / "data" / "c.csv").touch()
    assert differences(without_inputs, seen(step, tmp_path)) == []
    (tmp_path / "code" / "score.py").write_text("def run(b): return []")
    assert differences(without_inputs, seen(step, tmp_path)) == ["code: score.py is changed"]
    nothing = replace(step, inputs={"made": step.inputs["made"]})
    assert fingerprint_without_inputs(nothing, tmp_path / "run")[INPUTS] == {}


@pytest.mark.parametrize(
    ("named", "newer"), [(5000, ["b.csv", "c.csv"]), (1, ["c.csv"])], ids=["few", "very many"]
)
def test_files_that_changed_after_a_moment_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: int, newer: list[str]
) -> None:
    monkeypatch.setattr(seen_files, "NAMED", named)
    for name, time in (("a.csv", 1_700_000_000), ("b.csv", 1_700_000_020), ("c.csv", 1_700_000_030)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    found = seen_files.seen_data(str(tmp_path))
    assert seen_files.changed_after(found, 1_700_000_010.5) == newer
    assert seen_files.changed_after(found, 1_700_000_030.0) == []
    assert seen_files.changed_after({"count": 0, "digest": "", "files": {}}, 0) == []
    assert seen_files.changed_after({"count": 1, "digest": "", "files": {"s3://b/k": "etag 5"}}, 0) == []


def test_whether_a_plan_made_anew_is_the_same(step: ParallelStep, tmp_path: Path) -> None:
    old = seen(step, tmp_path)
    (tmp_path / "code" / "score.py").write_text("def run(b): return []")
    mended = replace(step, environment_variables={}, arguments=("--other",))
    assert plans_the_same(old, seen(mended, tmp_path))
    assert not plans_the_same(fingerprint_without_inputs(step, tmp_path / "run"), seen(step, tmp_path))
    assert not plans_the_same(old, seen(replace(step, by_size=BySize(number=11, unit=1024)), tmp_path))
    assert not plans_the_same(old, seen(replace(step, partition_keys=("a",)), tmp_path))
    (tmp_path / "data" / "c.csv").touch()
    assert not plans_the_same(old, seen(step, tmp_path))


def test_nothing_changed(step: ParallelStep, tmp_path: Path) -> None:
    assert differences(seen(step, tmp_path), seen(step, tmp_path)) == []


def test_thresholds_timeouts_logging_and_compute_may_change(step: ParallelStep, tmp_path: Path) -> None:
    now = replace(
        step,
        settings=DriverSettings(
            error_threshold=9, timeout=5, max_retries=0, logging_level="DEBUG", resource_monitor_interval=1
        ),
        arguments=(*step.arguments[:2], "--error_threshold=7", "--rate", "2", "--nice", "3", "--allow-empty"),
        instance_count=4,
        max_concurrency_per_instance=2,
        compute="big",
        append_row_to=str(tmp_path / "elsewhere.csv"),
    )
    assert differences(seen(step, tmp_path), seen(now, tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"by_size": BySize(number=20, unit=1024)}, "mini_batch_size was '10kb', is '20kb'"),
        ({"partition_keys": ("Store",)}, "partition_keys was [], is ['Store']"),
        ({"environment_variables": {"MODE": "slow"}}, "environment_variables.MODE was 'fast', is 'slow'"),
        ({"environment_variables": {}}, "environment_variables.MODE was 'fast' and is not given any more"),
        ({"arguments": ("--rate", "3")}, "program_arguments was"),
        ({"append_row_to": None}, "append_row_to was 'given', is None"),
        (
            {"settings": DriverSettings(append_row_dataframe_header=True)},
            "append_row_dataframe_header was False, is True",
        ),
        ({"settings": DriverSettings(rank_mini_batch_count=3)}, "rank_mini_batch_count was 0, is 3"),
    ],
)
def test_what_shapes_the_plan_or_reaches_the_script_is_named(
    step: ParallelStep, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    found = differences(seen(step, tmp_path), seen(replace(step, **change), tmp_path))
    assert any(text.startswith(said) for text in found), found


def test_a_literal_input_is_compared(step: ParallelStep, tmp_path: Path) -> None:
    now = replace(step, inputs={**step.inputs, "rate": replace(step.inputs["rate"], value=3)})
    assert differences(seen(step, tmp_path), seen(now, tmp_path)) == ["inputs.rate was 2, is 3"]


def test_changed_code_is_named_and_what_is_no_code_does_not_count(step: ParallelStep, tmp_path: Path) -> None:
    before = seen(step, tmp_path)
    for name in ("__pycache__/score.pyc", ".git/HEAD", "out/result.txt"):
        (tmp_path / "code" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "code" / name).write_text("x")
    RunDirectory.create(tmp_path / "code" / "runs" / "one", "j", "s").close()
    os.utime(tmp_path / "code" / "score.py", (1, 1))
    assert differences(before, seen(step, tmp_path)) == []
    (tmp_path / "code" / "pkg" / "help.py").write_text("x = 2")
    (tmp_path / "code" / "new.py").write_text("")
    (tmp_path / "code" / "score.py").unlink()
    assert differences(before, seen(step, tmp_path)) == [
        "code: pkg/help.py is changed",
        "code: new.py is new",
        "code: score.py is gone",
    ]


def test_a_link_in_a_circle_is_as_one_that_leads_nowhere(step: ParallelStep, tmp_path: Path) -> None:
    before = seen(step, tmp_path)
    for name in ("me", "me.py"):
        (tmp_path / "code" / name).symlink_to(name)
    assert differences(before, seen(step, tmp_path)) == []
    (tmp_path / "data" / "me").symlink_to("me")
    assert differences(before, seen(step, tmp_path)) == ["files of input data: me is new"]


def test_without_a_code_folder_the_script_is_the_code(step: ParallelStep, tmp_path: Path) -> None:
    step = replace(step, code=None)
    before = seen(step, tmp_path)
    (tmp_path / "code" / "pkg" / "help.py").write_text("other")
    assert differences(before, seen(step, tmp_path)) == []
    (tmp_path / "code" / "score.py").write_text("def run(b): return []")
    assert differences(before, seen(step, tmp_path)) == [f"code: {tmp_path}/code/score.py is changed"]


def test_changed_input_files_are_named(step: ParallelStep, tmp_path: Path) -> None:
    before = seen(step, tmp_path)
    os.utime(tmp_path / "data" / "b.csv", (1, 1))
    for i in range(5):
        (tmp_path / "data" / f"n{i}").write_text("")
    assert differences(before, seen(step, tmp_path)) == [
        "files of input data: b.csv is changed",
        "files of input data: n0, n1, n2 and 2 more are new",
    ]


def test_many_input_files_are_counted(
    step: ParallelStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_files, "NAMED", 1)
    before = seen(step, tmp_path)
    assert "files" not in before["inputs"]["data"]
    assert differences(before, seen(step, tmp_path)) == []
    os.utime(tmp_path / "data" / "a.csv", (9e9, 9e9))
    assert (
        "at least one of 2 files of 4 bytes is changed; the newest is a.csv"
        in differences(before, seen(step, tmp_path))[0]
    )
    (tmp_path / "data" / "c.csv").write_text("123")
    assert "was 2 files of 4 bytes, is 3 files of 7 bytes" in differences(before, seen(step, tmp_path))[0]


def test_the_files_that_an_mltable_names_are_watched(step: ParallelStep, tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "MLTable").write_text(
        "paths:\n  - pattern: ../data/*.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n"
    )
    table = Input(name="data", type="mltable", mode="direct", path=str(tmp_path / "table"))
    step = replace(step, inputs={"data": table})
    before = seen(step, tmp_path)
    (tmp_path / "data" / "b.csv").write_text("other\n")
    assert differences(before, seen(step, tmp_path)) == [
        f"files of input data: {tmp_path}/data/b.csv is changed"
    ]


def test_a_moved_run_directory_changes_nothing(step: ParallelStep, tmp_path: Path) -> None:
    moved = replace(step, arguments=tuple(text.replace("/run/", "/moved/") for text in step.arguments))
    assert differences(seen(step, tmp_path), seen(moved, tmp_path, "moved")) == []


def test_a_command_is_compared(tmp_path: Path) -> None:
    step = CommandStep(name="c", code=None, command="echo 1", inputs={}, outputs={})
    assert differences(seen(step, tmp_path), seen(replace(step, command="echo 2", timeout=3), tmp_path)) == [
        "command was 'echo 1', is 'echo 2'"
    ]


def test_files_at_a_url_are_watched(tmp_path: Path) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe("/watched/a", b"1")
    before = seen_files.seen_data("memory://watched")
    assert seen_files.changes("x", before, seen_files.seen_data("memory://watched")) == []
    files.pipe("/watched/a", b"12")
    assert seen_files.changes("x", before, seen_files.seen_data("memory://watched")) == [
        "x: /watched/a is changed"
    ]
    files.rm("/watched", recursive=True)


def test_a_store_that_can_not_be_asked_says_nothing_of_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where a script may have credentials of its own, a place that is closed to us is an empty one."""
    import fsspec

    files = fsspec.filesystem("memory")
    for error, closed in (
        (ConnectionError("refused"), False),
        (PermissionError("403"), True),
        (type("NoCredentialsError", (Exception,), {})("none"), True),
    ):

        def find(*_: Any, error: Exception = error, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(files, "find", find)
        with pytest.raises(InputError, match="memory://watched can't be read"):
            seen_files.seen_data("memory://watched")
        if closed:
            found = seen_files.seen_data("memory://watched", may_be_closed=True)
            assert found == seen_files.seen_data("memory://watched", may_be_closed=True)
        else:
            with pytest.raises(DataUnreached):
                seen_files.seen_data("memory://watched", may_be_closed=True)


def planned_files(given: Input, folder: Path) -> Any:
    """What the plan of a list keeps of its files, and what is found of them later."""
    opened = open_input(given, {})
    assert isinstance(opened, FileList)
    plan_by_size(opened, BySize(number=2, unit=1), folder)
    return Plan.open(folder).seen


def added(data: Path) -> None:
    (data / "c.csv").write_text("1\n")


def removed(data: Path) -> None:
    (data / "b.csv").unlink()


def changed(data: Path) -> None:
    os.utime(data / "b.csv", ns=(1, 2))


def renamed(data: Path) -> None:
    (data / "b.csv").rename(data / "a.cs")


@pytest.mark.parametrize("kind", ["uri_folder", "mltable"])
@pytest.mark.parametrize("change", [None, added, removed, changed, renamed])
def test_a_long_list_is_kept_as_it_was_planned_and_compared_with_what_is_there(
    step: ParallelStep, tmp_path: Path, kind: str, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_files, "NAMED", 1)
    data = tmp_path / "data"
    if kind == "mltable":
        (tmp_path / "MLTable").write_text("paths:\n- folder: ./data\n")
        place = str(tmp_path)
    else:
        place = str(data)
    given = Input(name="data", type=kind, mode="ro_mount", path=place)
    step = replace(step, inputs={"data": given})
    planned = planned_files(given, tmp_path / "plan")
    assert planned is not None
    before = {INPUTS: seen_inputs(step, planned=planned)}
    assert before[INPUTS]["data"]["count"] == 2
    if change is not None:
        change(data)
    now = step_fingerprint(step, tmp_path / "run", before=before)
    found = differences({**now, **before}, now)
    assert bool(found) == (change is not None), found
    assert all("files of input data" in text for text in found)


def test_a_list_that_may_hold_more_than_input_is_looked_at_apart(
    step: ParallelStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs and run directories among the files are no input; a plan takes them for it."""
    monkeypatch.setattr(seen_files, "NAMED", 1)
    planned = planned_files(step.inputs["data"], tmp_path / "plan")
    inside = replace(step.outputs["o"], path=str(tmp_path / "data" / "out"))
    seen = seen_inputs(replace(step, outputs={"o": inside}), planned=planned)
    assert seen_files.LISTED not in seen["data"]
    (tmp_path / "data" / "old").mkdir()
    for name in ("run.json", "lock"):
        (tmp_path / "data" / "old" / name).touch()
    assert planned_files(step.inputs["data"], tmp_path / "plan2") is None
