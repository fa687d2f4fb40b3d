"""Whole jobs whose scripts move, remove, truncate and append to their inputs: the user's files stay as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import daskpar
from conftest import Work
from daskpar.processor.private_mounts import can_mount

needs_mounts = pytest.mark.skipif(not can_mount(), reason="this user or kernel can't mount privately")
NOBODY = 65534
WAYS = [pytest.param("mount", marks=needs_mounts), "links"]

ATTACKS = """
import json, os
def tried(what, *arguments):
    try:
        what(*arguments)
        return "done"
    except OSError as error:
        return error.strerror
def append(path):
    with open(path, "a") as file:
        file.write("more")
def run(mini_batch):
    rows = []
    for path in mini_batch:
        with open(path) as file:
            text = file.read().strip()
        rows.append(json.dumps([text, [tried(*attack) for attack in ATTACKS(path)]]))
    return rows
"""
MOVES = (
    ATTACKS + "\nATTACKS = lambda path: [(os.rename, path, path + '.moved'), (os.remove, path + '.moved')]\n"
)
WRITES = (
    ATTACKS
    + "\nATTACKS = lambda path: [(append, path), (os.truncate, path, 0), (os.chmod, path, 0), (os.remove, path)]\n"
)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the inputs are kept: the ability to mount, or its absence."""
    monkeypatch.setenv("DASKPAR_INPUTS", "links" if request.param == "links" else "")
    return str(request.param)


def content(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (path.read_text(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def with_input(work: Work, command: str, *, mode: str = "ro_mount", **more: Any) -> dict[str, Any]:
    inputs = {"d": {"type": "uri_folder", "path": "./data", "mode": mode}}
    outputs = {"o": {"type": "uri_folder", "path": "./out"}}
    return work.command(command, **{"inputs": inputs, "outputs": outputs, **more})


def kept(work: Work, jobs: dict[str, Any], folder: str = "data", **options: Any) -> Any:
    """The run of a job, after which the input is as before and nothing is mounted."""
    before, mounted = content(work.folder / folder), Path("/proc/self/mountinfo").read_text()
    run = work.run(jobs, **options)
    assert content(work.folder / folder) == before
    assert Path("/proc/self/mountinfo").read_text() == mounted
    assert not list((work.folder / "run").glob("steps/*/input-copies"))
    return run


MODES = ("ro_mount", "download")
EMPTYING = (
    "mv ${{inputs.d}}/0000.txt ${{outputs.o}}/",
    "rm ${{inputs.d}}/0000.txt",
    "rm -r ${{inputs.d}}/*",
    'cd "${{inputs.d}}" && mv 0000.txt 9999.txt',
    "sed -i s/0/1/ ${{inputs.d}}/0000.txt",
    "D=${{inputs.d}} && python -c 'import os, sys; os.remove(sys.argv[1])' $D/0000.txt",
)
WRITING = (": > $F", "echo more >> $F", "truncate -s 0 $F", "touch -d 2001-01-01 $F")


def statuses(work: Work, commands: tuple[str, ...], modes: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """How each command ends that harms its input in each mode, as one step of a job that leaves the input as it was."""
    cases = [(command, mode) for command in commands for mode in modes]
    jobs = {}
    for number, (command, mode) in enumerate(cases):
        outputs = {"o": {"type": "uri_folder", "path": f"./out{number}"}}
        file = {"F": "${{inputs.d}}/0000.txt"}
        jobs[f"c{number}"] = with_input(work, command, mode=mode, outputs=outputs, environment_variables=file)
    ended = kept(work, jobs, top={"settings": {"continue_on_step_failure": True}})
    return {case: ended.steps[f"c{number}"].status for number, case in enumerate(cases)}


def test_a_command_can_not_empty_its_input(work: Work, way: str) -> None:
    work.files(3)
    for (command, mode), status in statuses(work, EMPTYING, MODES).items():
        wanted = "failed" if way == "mount" and mode == "ro_mount" else "completed"
        assert status == wanted, (command, mode)


def test_a_command_can_not_write_to_its_input(work: Work) -> None:
    """Where nothing can be mounted, what is written through a link arrives."""
    work.files(1)
    for (command, mode), status in statuses(work, WRITING, MODES if can_mount() else MODES[1:]).items():
        assert status == ("failed" if mode == "ro_mount" else "completed"), (command, mode)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_moved_from_an_input_arrives(work: Work, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASKPAR_INPUTS", "links")
    work.files(2)
    step = with_input(work, "mv ${{inputs.d}}/0000.txt ${{outputs.o}}/ && ls ${{inputs.d}}", mode=mode)
    run = kept(work, {"c": step})
    assert (work.folder / "out/0000.txt").read_text() == "0\n"
    assert not (work.folder / "out/0000.txt").samefile(work.folder / "data/0000.txt")
    assert run.status == "completed"


@pytest.mark.parametrize("mode", MODES)
def test_a_file_as_input(work: Work, way: str, mode: str) -> None:
    work.files(2)
    inputs = {"d": {"type": "uri_file", "path": "./data/0000.txt", "mode": mode}}
    kept(work, {"c": with_input(work, "mv ${{inputs.d}} ${{outputs.o}}/", inputs=inputs)})


def test_by_the_folder_of_the_code(work: Work, way: str) -> None:
    """Inputs below the code are links in the working directory of a command."""
    work.files(2, "code/data")
    inputs = {"d": {"type": "uri_folder", "path": "./code/data"}}
    kept(work, {"c": with_input(work, "rm data/*", inputs=inputs, code="./code")}, "code/data")


@pytest.mark.parametrize("place", ["./data/out", "./data/deep/out/rows.txt", "./data/rows.txt", "./beside"])
def test_an_output_near_the_input_is_written(work: Work, way: str, place: str) -> None:
    work.files(2)
    before = content(work.folder / "data")
    kind = "uri_file" if place.endswith(".txt") else "uri_folder"
    name = "" if kind == "uri_file" else "/new.txt"
    command = "echo new > ${{outputs.o}}" + name + "; rm ${{inputs.d}}/0000.txt"
    run = work.run(
        {"c": with_input(work, command, outputs={"o": {"type": kind, "path": place}})},
        run_dir=work.folder / "data/runs/now",
    )
    assert (work.folder / (place + name)).read_text() == "new\n"
    assert {name: content(work.folder / "data")[name] for name in before} == before
    assert run.steps["c"].status in ("completed", "failed")


def test_an_input_that_another_step_wrote(work: Work, way: str) -> None:
    made = "${{parent.jobs.make.outputs.o}}"
    jobs = {
        "make": work.command("echo 1 > ${{outputs.o}}/a.txt", outputs={"o": {"type": "uri_folder"}}),
        "use": work.command("rm ${{inputs.d}}/a.txt; true", inputs={"d": made}),
        "again": work.command(
            "cat ${{inputs.d}}/a.txt", inputs={"d": made, "after": "${{parent.jobs.use.outputs.x}}"}
        ),
    }
    jobs["use"] |= {"outputs": {"x": {"type": "uri_folder"}}}
    assert work.run(jobs).status == "completed"


@pytest.mark.parametrize("mode", MODES)
def test_parallel_scripts_can_not_move_their_files(work: Work, way: str, mode: str) -> None:
    work.files(6)
    inputs = {"files": {"type": "uri_folder", "path": "./data", "mode": mode}}
    run = kept(work, {"p": work.parallel(MOVES, inputs=inputs, max_concurrency_per_instance=2)})
    assert run.status == "completed"
    said = "Read-only file system" if way == "mount" and mode == "ro_mount" else "done"
    assert [row for row in work.rows() if said not in row] == []
    assert [row[1:4] for row in work.rows()] == [f'"{number}"' for number in range(6)]


@pytest.mark.parametrize("mode", [pytest.param("ro_mount", marks=needs_mounts), "download"])
def test_parallel_scripts_can_not_write_to_their_files(work: Work, mode: str) -> None:
    work.files(4)
    inputs = {"files": {"type": "uri_folder", "path": "./data", "mode": mode}}
    assert kept(work, {"p": work.parallel(WRITES, inputs=inputs)}).status == "completed"


@pytest.mark.parametrize("mode", MODES)
def test_a_retry_finds_what_the_try_before_has_removed(work: Work, way: str, mode: str) -> None:
    work.files(2)
    script = """
import os
from contextlib import suppress
def run(mini_batch):
    with open(mini_batch[0]) as file:
        text = file.read()
    with suppress(OSError):
        os.remove(mini_batch[0])
    tried = os.path.join(os.environ["TRIES"], os.path.basename(mini_batch[0]))
    if not os.path.exists(tried):
        open(tried, "w").close()
        raise ValueError("once more")
    return [text.strip()]
"""
    inputs = {"files": {"type": "uri_folder", "path": "./data", "mode": mode}}
    (work.folder / "tries").mkdir()
    step = work.parallel(
        script,
        inputs=inputs,
        retry_settings={"max_retries": 1, "timeout": 10},
        environment_variables={"TRIES": str(work.folder / "tries")},
    )
    assert kept(work, {"p": step}).status == "completed"
    assert work.rows() == ["0", "1"]


def test_the_folder_in_an_argument_is_where_the_items_are(work: Work, way: str) -> None:
    work.files(3)
    script = """
import os, sys
def run(mini_batch):
    return [os.path.relpath(path, sys.argv[sys.argv.index("--d") + 1]) + str(os.listdir(os.path.dirname(path)).__len__()) for path in mini_batch]
"""
    kept(work, {"p": work.parallel(script, arguments="--d ${{inputs.files}}")})
    assert work.rows() == ["0000.txt3", "0001.txt3", "0002.txt3"]


def test_one_folder_as_two_inputs(work: Work, way: str) -> None:
    work.files(2)
    inputs = {
        "kept": {"type": "uri_folder", "path": "./data"},
        "own": {"type": "uri_folder", "path": "./data", "mode": "download"},
    }
    command = "rm ${{inputs.own}}/0000.txt && cat ${{inputs.kept}}/0000.txt"
    assert kept(work, {"c": work.command(command, inputs=inputs)}).status == "completed"


def test_direct_mode_is_left_as_it_is(work: Work, way: str) -> None:
    work.files(2)
    run = work.run({"c": with_input(work, "rm ${{inputs.d}}/0000.txt", mode="direct")})
    assert run.status == "completed"
    assert sorted(content(work.folder / "data")) == ["0001.txt"]


def test_a_run_is_resumed_where_inputs_are_seen_in_another_way(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.files(3)
    script = """
import os
def run(mini_batch):
    if os.path.exists(os.environ["FAIL"]):
        raise ValueError("not yet")
    return [os.path.basename(mini_batch[0])]
"""
    flag = work.write("it/is there", "")
    step = work.parallel(script, arguments="--d ${{inputs.files}}", environment_variables={"FAIL": str(flag)})
    assert work.run({"p": step}).status == "failed"
    flag.unlink()
    monkeypatch.setenv("DASKPAR_INPUTS", "links")
    assert daskpar.resume(work.folder / "run", dashboard=None, display=False).status == "completed"
    assert len(work.rows()) == 3


@pytest.mark.parametrize("mode", MODES)
def test_plan_says_how_scripts_see_an_input(work: Work, way: str, mode: str) -> None:
    work.files(1)
    spec = work.spec({"c": with_input(work, "ls ${{inputs.d}}", mode=mode)})
    said = work.cli("plan", str(spec)).stdout
    ro = "read-only for its scripts" if way == "mount" else "its scripts see a tree of links"
    assert ("its scripts see a private copy" if mode == "download" else ro) in said


def test_an_unknown_choice_is_refused(work: Work) -> None:
    spec = work.spec({"c": work.command("true")})
    done = work.cli("run", str(spec), env={**os.environ, "DASKPAR_INPUTS": "mount"})
    assert done.returncode == 2 and "DASKPAR_INPUTS has to be links or unset" in done.stderr


READING = "-all,+dac_read_search"
AS_NOBODY = (
    *("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"),
    *("--inh-caps", READING, "--ambient-caps", READING),
)
"""Becomes an ordinary user, who may read any file: the Python that runs the tests may lie in a home folder."""


@pytest.fixture
def as_nobody() -> Iterator[Work]:
    """A folder of an ordinary user, who runs the command line."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can run a job as another user, by setpriv")
    with tempfile.TemporaryDirectory(prefix="daskpar-nobody-") as name:
        made = Work(Path(name))
        os.chmod(name, 0o755)
        probe = subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", "import daskpar, distributed"],
            check=False,
            capture_output=True,
        )
        if probe.returncode:
            pytest.skip(f"another user can't use this installation: {probe.stderr.decode()}")
        yield made


def test_an_ordinary_user(as_nobody: Work) -> None:
    """Commands and parallel steps, with inputs of both modes."""
    work = as_nobody
    work.files(3)
    jobs = {}
    for mode in MODES:
        inputs = {"files": {"type": "uri_folder", "path": "./data", "mode": mode}}
        rows = {"rows": {"type": "uri_file", "path": f"./{mode}.txt"}}
        jobs[f"moves_{mode}"] = work.command(
            "mv ${{inputs.files}}/0000.txt ${{outputs.o}}/ && id -u",
            inputs=inputs,
            outputs={"o": {"type": "uri_folder", "path": f"./{mode}"}},
        )
        jobs[f"scores_{mode}"] = work.parallel(MOVES, inputs=inputs, outputs=rows)
    spec = work.spec(jobs)
    for path in [work.folder, *work.folder.rglob("*")]:
        shutil.chown(path, NOBODY, NOBODY)
    before = content(work.folder / "data")
    done = subprocess.run(
        [*AS_NOBODY, *work.arguments("run", str(spec), "--run-dir", str(work.folder / "run"), "--quiet")],
        env={**os.environ, "HOME": str(work.folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert content(work.folder / "data") == before
    for mode in MODES:
        assert (work.folder / mode / "0000.txt").read_text() == "0\n"
        assert len(work.rows(f"{mode}.txt")) == 3
