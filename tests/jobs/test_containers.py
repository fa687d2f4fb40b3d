"""Steps in containers: the same rows, kills, limits, logs and resume; by a runtime that is a stub, and by a true one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import dask
import pytest

import daskpar
from container_stub import StubRuntime
from daskpar.reports.run_facts import facts_of
from waiting import until

SECRET = "s3cret-of-the-container"
FILES = """
import os, signal, sys, time
def init():
    print("image", os.environ.get("OF_IMAGE"), os.environ["TOKEN"][:6], "HOST" in os.environ, flush=True)
def run(mini_batch):
    number = int(os.path.basename(mini_batch[0])[:4])
    if number == 2 and not os.path.exists(os.environ["SEEN"]):
        open(os.environ["SEEN"], "w").close()
        time.sleep(1000)
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return ["%d %s" % (number, os.environ["TOKEN"] + os.environ["TMPDIR"] != "")]
"""
SLOW = """
import os, time
def run(mini_batch):
    open(os.path.join(os.environ["BEGUN"], str(os.getpid())), "w").close()
    time.sleep(1000)
"""
COMMAND = (
    'echo "$TOKEN" | wc -c; cat ${{inputs.files}}/0001.txt; echo "${OF_IMAGE-true one}" > ${{outputs.made}}/image; '
    "touch $TMPDIR/x && exit 7"
)


def files_step(work, **more):
    work.files(6)
    return work.parallel(
        FILES,
        environment_variables={"SEEN": str(work.folder / "seen"), "TOKEN": "${env:OUR_TOKEN}"},
        retry_settings={"max_retries": 1, "timeout": 1},
        mini_batch_error_threshold=2,
        **more,
    )


def told_step(work):
    files = {"type": "uri_folder", "path": "./data", "mode": "ro_mount"}
    return work.command(
        COMMAND,
        inputs={"files": files},
        outputs={"made": {"type": "uri_folder", "path": "./made"}},
        environment_variables={"TOKEN": "${env:OUR_TOKEN}", "odd.name": "'\n\""},
    )


@pytest.fixture
def boxes(work, monkeypatch):
    """The folders of containers that are there: in a temporary folder of the test's own, for others run beside it."""
    folder = work.folder / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return lambda: list(folder.glob("daskpar-box-*"))


def check_files(work, run) -> None:
    """What all runtimes have to bring about: one hang that is retried, one mini-batch that always crashes."""
    assert (run.status, run.counts["work"].failed) == ("completed", 1), run.summary
    assert work.rows() == [f"{number} True" for number in (0, 1, 2, 4, 5)]
    assert "SIGSEGV" in run.failures().message[0]


def test_kills_a_crash_secrets_and_a_resume(work, monkeypatch, boxes):
    """A parallel step and a command by the stub."""
    monkeypatch.setenv("OUR_TOKEN", SECRET)
    monkeypatch.setenv("HOST", "of this machine")
    stub = StubRuntime(work.folder / "stub")
    how = {"container": "scoring:1", "runtime": stub.program, "options": ["--gpus", "all"]}
    steps = {"work": files_step(work), "told": told_step(work)}
    with dask.config.set({"daskpar.environments.any": how}):
        plan = daskpar.plan(work.spec(steps))
        first = work.run({"work": steps["work"]}, limit=2)
        assert (first.status, first.counts["work"].succeeded) == ("partial", 2), first.summary
        run = daskpar.resume(first, dashboard=None, display=False)
        told = daskpar.run(work.spec({"told": steps["told"]}), run_dir=work.folder / "told", display=False)
    assert plan.count(f"a container of scoring:1 ({stub.program})") == 2
    check_files(work, run)
    printed = (run.path / "steps/work/logs/user").rglob("*.stdout.txt")
    assert {path.read_text().splitlines()[0] for path in printed} == {"image scoring:1 s3cret False"}
    shown = {row[0]: row[1] for row in facts_of(run.path).steps["work"].sources}
    assert "in a container of scoring:1" in shown["python"]

    assert (told.status, told.steps["told"].exit_code) == ("failed", 7), told.summary
    said = (told.path / "steps/told/logs/user/std_out.txt").read_text().split()
    assert said == [str(len(SECRET) + 1), "1"] and (work.folder / "made/image").read_text() == "scoring:1\n"

    assert (stub.left(), boxes()) == ([], []), "nothing stays"
    assert SECRET not in (stub.folder / "log").read_text(), "on no command line"
    runs = stub.runs()
    assert [(each["--gpus"], each["--pid"]) for each in runs] == [(["all"], ["host"])] * 3
    mounts = {mount for each in runs for mount in each["--mount"]}
    assert f"type=bind,source={work.folder},target={work.folder}" in mounts, "where the rows go"
    assert f"type=bind,source={work.folder}/data,target={work.folder}/data,readonly" in mounts
    assert not any(mount.endswith(f"={work.folder}/data") for mount in mounts), "an input can't be changed"


def test_what_can_not_be_had_is_said_before_anything_runs(work, monkeypatch):
    work.files(1)
    step = {"work": work.parallel("import no_such_module\ndef run(mini_batch):\n    return mini_batch\n")}
    stub = StubRuntime(work.folder / "stub")
    for how, words in [
        ({"container": "none:1", "runtime": stub.program}, "none:1 is not here, and podman can't fetch it"),
        ({"container": "scoring:1", "runtime": "/no/podman"}, "there is no program at /no/podman"),
        (
            {"container": "scoring:1", "runtime": stub.program},
            "imports 'no_such_module', which the image scoring:1",
        ),
        ("container", "the environment any has no image"),
    ]:
        with pytest.raises(daskpar.SpecError, match=words):
            work.run(step, environments={"work": how})
    assert not (work.folder / "run").exists() and not stub.runs()


@pytest.mark.parametrize("kind", ["parallel", "command"])
def test_nothing_outlives_a_killed_driver(work, boxes, kind):
    """Not a container, nor its folder; a fork server in one takes its processors along."""
    stub, begun = StubRuntime(work.folder / "stub"), work.folder / "begun"
    begun.mkdir()
    work.files(2)
    variables = {"BEGUN": str(begun)}
    steps = {
        "parallel": work.parallel(SLOW, environment_variables=variables),
        "command": work.command('echo > "$BEGUN/$$"; exec sleep 1000', environment_variables=variables),
    }
    work.spec({"work": steps[kind]})
    variables = {**os.environ, "PATH": f"{stub.folder}:{os.environ['PATH']}"}
    driver = work.start(
        "job.yml", "--run-dir", "run", "--environment", "any=container:scoring:1", env=variables
    )
    until(lambda: list(begun.iterdir()), "the first call", process=driver)
    pid = int(next(begun.iterdir()).name)
    os.kill(driver.pid, signal.SIGKILL)
    until(lambda: not _is_alive(pid) and not stub.left() and not boxes())


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# What a container of this machine needs to have this machine's own Python: an empty image will do then.
HERE = [path for path in ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc") if os.path.isdir(path)]
OFTEN_NEEDED = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
"""Where this machine is a container itself, whose limits can't be raised."""


@pytest.fixture(scope="module")
def true_container():
    """A way to have a container by a true runtime; skipped with the reason where there is none."""
    program = shutil.which("podman") or shutil.which("docker")
    if program is None:
        pytest.skip("there is neither podman nor docker here")
    image = f"daskpar-test:{os.getpid()}"
    with tempfile.TemporaryDirectory() as empty:
        packed = subprocess.run(["tar", "-C", empty, "-c", "."], capture_output=True, check=True).stdout
    made = subprocess.run([program, "import", "-", image], input=packed, capture_output=True, timeout=60)
    if made.returncode:
        pytest.skip(f"{program} makes no images here: {made.stderr.decode(errors='replace').strip()[-300:]}")
    own = sorted({sys.prefix, sys.base_prefix} - {"/usr"})
    mounts = [word for path in [*HERE, *own] for word in ("-v", f"{path}:{path}:ro")]
    try:
        for more in ([], ["--runtime", "runc", *OFTEN_NEEDED], ["--runtime", "crun", *OFTEN_NEEDED]):
            options = [*more, *mounts]
            line = [
                program,
                "run",
                "--rm",
                "--pid=host",
                "--network=host",
                *options,
                image,
                sys.executable,
                "-c",
                "",
            ]
            tried = subprocess.run(line, capture_output=True, timeout=60)
            if tried.returncode == 0:
                break
        else:
            pytest.skip(
                f"{program} starts no container here: {tried.stderr.decode(errors='replace').strip()[-300:]}"
            )
        yield {"container": image, "runtime": program, "options": options, "python": sys.executable}
    finally:
        subprocess.run([program, "rmi", "-f", image], capture_output=True, timeout=60)


def test_in_a_true_container(work, monkeypatch, boxes, true_container):
    """The same kills, crash and secrets; inputs that can't be changed; nothing of it stays."""
    monkeypatch.setenv("OUR_TOKEN", SECRET)
    steps = {"work": files_step(work), "told": told_step(work)}
    steps["told"]["command"] += "; touch ${{inputs.files}}/no"
    run = work.run({"work": steps["work"]}, environments={"any": true_container})
    check_files(work, run)
    steps["told"]["command"] = "touch ${{inputs.files}}/no || exit 9"
    told = daskpar.run(
        work.spec({"told": steps["told"]}),
        run_dir=work.folder / "told",
        display=False,
        environments={"any": true_container},
    )
    assert (told.status, told.steps["told"].exit_code) == ("failed", 9), told.summary
    own = ["--filter", f"ancestor={true_container['container']}"]
    left = subprocess.run(
        [true_container["runtime"], "ps", "-a", "-q", *own], capture_output=True, text=True, timeout=60
    )
    assert (left.returncode, left.stdout) == (0, ""), left.stderr
    assert not boxes()
