"""A command with the paths of a node that does not see the run directory."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from daskpar.engine.shipped.sent_command import (
    SentCommand,
    brought_trees,
    check_root,
    command_here,
    places_of_command,
    returned_outputs,
)
from daskpar.errors import InfrastructureLost
from daskpar.jobspec.model import CommandStep, Input, Output
from daskpar.processor.command_settings import CommandSettings
from daskpar.processor.output_sweep import Uploads

RUN = '/home/you/it\'s "a" $run'
ROOT = "/tmp/dask/daskpar-node-1"


def output(name: str, path: str, kind: str = "uri_folder", **more: str) -> Output:
    return Output(name=name, type=kind, mode="rw_mount", path=path, chosen_by_user=True, **more)


def step(code: str | None = "/code") -> CommandStep:
    return CommandStep(
        name="s",
        code=Path(code) if code else None,
        command="",
        inputs={
            "seen": Input(
                name="seen", type="uri_folder", path="/code/data", seen=f"{RUN}/c/seen", access="links"
            ),
            "made": Input(name="made", type="uri_file", path="/out/rows.txt", made_by="before"),
            "url": Input(
                name="url", type="uri_file", path="s3://box/x", seen=f"{RUN}/c/url/x", access="fetched"
            ),
        },
        outputs={
            "own": output("own", f"{RUN}/steps/s/outputs/own"),
            "far": output("far", "/out/model.bin", "uri_file"),
            "near": output("near", "/shared/near"),
            "kept": output("kept", "s3://box/kept", seen=f"{RUN}/steps/s/uploads/filled/kept"),
        },
    )


def sent(unseen: tuple[str, ...] = ("/out",)) -> SentCommand:
    return SentCommand(
        run_directory=RUN,
        code="code-1",
        includes=("code-2/beside.txt",),
        inputs=(("/out/rows.txt", "input-3/rows.txt"),),
        returned=returned_outputs(step(), RUN, unseen),
    )


def settings(command: str) -> CommandSettings:
    return CommandSettings(
        run_id="r",
        step="s",
        command=command,
        cwd=f"{RUN}/steps/s/work",
        environment={"WHERE": f"file://{RUN}/steps/s/mlruns", "OTHER": f"{RUN}-2/x"},
        stdout=f"{RUN}/steps/s/logs/out",
        stderr=f"{RUN}/steps/s/logs/err",
    )


@pytest.mark.parametrize(
    "written",
    [
        shlex.quote,
        lambda path: "'" + path.replace("'", "'\\''") + "'",
        lambda path: '"' + path.replace('"', '\\"').replace("$", "\\$") + '"',
    ],
)
def test_paths_are_found_however_they_are_quoted(written):
    there = f"{RUN}/steps/s/outputs/own"
    here = command_here(
        settings(f"ls {written(there)} /out/rows.txt /shared/near"), sent(), ROOT, step(), None
    )
    assert shlex.split(here.command) == [
        "ls",
        f"{ROOT}/run/steps/s/outputs/own",
        f"{ROOT}/input-3/rows.txt",
        "/shared/near",
    ]


def test_what_a_node_lays_out_and_what_it_is_told():
    uploads = Uploads(root=f"{RUN}/steps/s/uploads", outputs=(("kept", "s3://box/kept"),))
    here = command_here(settings("true"), sent(), ROOT, step(), uploads)
    run = f"{ROOT}/run/steps/s"
    assert here.cwd == f"{run}/work"
    assert here.environment == {"WHERE": f"file://{run}/mlruns", "OTHER": f"{RUN}-2/x"}
    layout = here.layout
    assert layout is not None and here.uploads is not None
    assert (layout.code, layout.includes) == (f"{ROOT}/code-1", (f"{ROOT}/code-2/beside.txt",))
    assert [(data.path, data.seen) for data in layout.inputs] == [("/code/data", f"{ROOT}/run/c/seen")]
    assert layout.links == (("data", f"{ROOT}/run/c/seen"),)
    assert layout.folders == (
        f"{run}/outputs/own",
        f"{ROOT}/outputs/far",
        f"{here.uploads.filled}kept",
    )
    assert set(layout.stale) == {
        f"{run}/outputs/own",
        f"{ROOT}/outputs/far/model.bin",
        f"{run}/uploads",
        f"{run}/logs/out",
        f"{run}/logs/err",
    }
    places = places_of_command(sent(), ROOT)
    assert places.text_here("/out/model.bin") == f"{ROOT}/outputs/far/model.bin"
    assert places.back(f"{ROOT}/outputs/far/model.bin") == "/out/model.bin"
    assert (f"{run}/work/outputs", f"{RUN}/steps/s/work/outputs") in brought_trees(sent(), settings(""), ROOT)


def test_outputs_that_the_node_sees_stay_in_their_places():
    assert [each.name for each in sent(()).returned] == ["own"]
    assert [each.name for each in sent(("/out", "/shared/near")).returned] == ["own", "far", "near"]


@pytest.mark.parametrize("root", ["/a b/x", "/it's", "/$x"])
def test_a_folder_that_a_shell_would_take_apart_is_refused(root):
    check_root(ROOT)
    with pytest.raises(InfrastructureLost, match="--local-directory"):
        check_root(root)
