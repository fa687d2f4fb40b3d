"""Environments are built once, by what is there, and known by their content."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import daskpar
from daskpar.cli import main
from daskpar.environments import build_tools, built
from daskpar.environments.build_order import BuildOrder, order_of
from daskpar.environments.build_tools import BuildPlan, plan_of
from daskpar.environments.built import built_environments, ensure_built, remove
from daskpar.environments.prefix_users import users_of
from daskpar.environments.tool_run import BuildStopped
from daskpar.errors import JobFailed, UsageError
from daskpar.jobspec.named_environment import Environment
from daskpar.processor.python_variables import activated
from waiting import until

WHERE = """
import os, sys
def run(mini_batch):
    return [f"{sys.prefix} {os.environ['GDAL_DATA']} {os.environ['CONDA_PREFIX']}"]
"""


def order(*dependencies, name: str = "scoring", also: tuple[str, ...] = ()) -> BuildOrder:
    conda = json.dumps({"dependencies": list(dependencies)})
    return order_of(Environment(name=name, conda=conda, where="job.yml:3"), also)


def test_content_alone_decides(micromamba, tmp_path):
    assert order("numpy").prefix == order("numpy").prefix
    different = {order("numpy").prefix, order("numpy=1").prefix, order("numpy", also=("pandas",)).prefix}
    assert len(different) == 3
    assert order("pandas=2", also=("pandas",)).also == (), "it is named already"
    assert order({"pip": ["pandas<3"]}, also=("pandas", "pyarrow")).also == ("pyarrow",)
    assert BuildOrder.of(order("numpy", also=("x",)).text) == order("numpy", also=("x",))


def test_it_is_built_once(micromamba, capsys):
    wanted = order("numpy")
    said: list[str] = []
    both = [
        threading.Thread(target=ensure_built, args=(wanted,), kwargs={"progress": said.append})
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    ensure_built(wanted)
    assert len(micromamba.read_text().splitlines()) == 1
    assert any("by micromamba: solving for ['numpy', 'python']" in line for line in said)
    asked = subprocess.run(
        [wanted.python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True
    )
    assert asked.stdout.strip() == wanted.prefix
    assert main(["environments"]) == 0
    assert "scoring" in capsys.readouterr().out
    assert main(["environments", "--remove", "scorin"]) == 2
    assert main(["environments", "--remove", "scoring"]) == 0
    assert not os.path.exists(wanted.prefix)


def test_a_failure_has_the_solvers_words(micromamba):
    with pytest.raises(JobFailed) as caught:
        ensure_built(order("nosuch"))
    assert "The following package could not be found: nosuch" in str(caught.value)
    assert "job.yml:3" in str(caught.value) and order("nosuch").log in str(caught.value)
    assert not os.path.exists(order("nosuch").prefix)


def test_a_build_is_stopped(micromamba, tmp_path, monkeypatch):
    monkeypatch.setenv("SLOW", str(tmp_path / "begun"))
    stopped = threading.Event()
    ended: list[object] = []

    def build() -> None:
        try:
            ensure_built(order("slow"), stopped=stopped.is_set)
        except BuildStopped:
            ended.append("stopped")

    thread = threading.Thread(target=build)
    thread.start()
    until((tmp_path / "begun").exists, "the build")
    stopped.set()
    thread.join()
    assert ended == ["stopped"] and not os.path.exists(order("slow").prefix)


BUILDER = """
import sys
from daskpar.environments.build_order import BuildOrder
from daskpar.environments.built import ensure_built
ensure_built(BuildOrder.of(sys.argv[1]))
"""


def test_what_a_killed_build_has_left_is_no_matter(micromamba, tmp_path, monkeypatch):
    """Its tools end with it, and `remove all` takes what lies there."""
    wanted = order("slow")
    variables = {**os.environ, "SLOW": str(tmp_path / "begun")}
    builder = subprocess.Popen([sys.executable, "-c", BUILDER, wanted.text], env=variables)
    until((tmp_path / "begun").exists, "the build")
    assert users_of(wanted.prefix)
    builder.kill()
    builder.wait()
    until(lambda: not users_of(wanted.prefix), "the end of its tools")
    os.makedirs(wanted.prefix)
    assert built_environments() == []
    assert remove(["all"]) == [os.path.basename(wanted.prefix)]
    assert os.listdir(os.path.dirname(wanted.prefix)) == []


def test_one_in_which_processes_run_is_not_removed(micromamba):
    wanted = order("numpy")
    ensure_built(wanted)
    assert not os.path.exists(f"{wanted.prefix}.yml"), "there may be secrets in it"
    path = f"{wanted.prefix}/bin:{os.environ['PATH']}"
    user = subprocess.Popen(["sleep", "1000"], env={"PATH": path})
    try:
        until(lambda: users_of(wanted.prefix) == [user.pid], "the process")
        with pytest.raises(UsageError, match=rf"processes run in the environment scoring .*: {user.pid}\."):
            remove(["all"])
        assert wanted.is_built()
    finally:
        user.kill()
        user.wait()
    assert remove(["scoring"]) == [os.path.basename(wanted.prefix)]


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path):
    lock = str(tmp_path / "x.lock")
    with built._try_lock(lock) as held:
        assert held
        with built._try_lock(lock) as second:
            assert not second
        os.unlink(lock)  # by `remove`
        with built._try_lock(lock) as another, open(lock) as file:
            assert another and built._is_at(lock, file)
            os.unlink(lock)
            assert not built._is_at(lock, file)


def test_a_disk_that_takes_nothing_is_named(micromamba, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DASKPAR_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        JobFailed, match=r"scoring can't be built \(job.yml:3\): Not a directory .*DASKPAR_CACHE"
    ):
        ensure_built(order("numpy"))


def test_a_conda_file_gets_what_is_needed_in_any_case(micromamba):
    def asked(*dependencies) -> list[object]:
        plan = plan_of(order(*dependencies, also=("pandas", "pyarrow")))
        assert len(plan.commands) == 1 and plan.tool == "micromamba"
        return json.loads(plan.conda_file)["dependencies"]

    assert asked("r-base") == ["r-base", "python", "pandas", "pyarrow"]
    assert asked("python=3.11", {"pip": ["pandas"]}) == ["python=3.11", {"pip": ["pandas"]}, "pyarrow"]


def test_variables_of_a_conda_file_are_set_without_conda_too(tmp_path, monkeypatch):
    monkeypatch.setenv("DASKPAR_CACHE", str(tmp_path))
    conda = json.dumps({"dependencies": ["numpy"], "variables": {"DEPTH": 3, "MODE": "fast"}})
    wanted = order_of(Environment(name="x", conda=conda, where="job.yml:3"))
    made = f"mkdir -p {wanted.prefix}; touch {wanted.prefix}/pyvenv.cfg"
    plan = BuildPlan(tool="pip", commands=(("sh", "-c", made),), requirements="numpy\n")
    monkeypatch.setattr(built, "plan_of", lambda order: plan)
    ensure_built(wanted)
    set_there = activated(wanted.python, {"PATH": "/bin", "MODE": "slow"})
    assert (set_there["DEPTH"], set_there["MODE"]) == ("3", "fast")
    state = Path(wanted.prefix, "conda-meta", "state")
    state.parent.mkdir()
    state.write_text(json.dumps({"env_vars": {"MODE": "kept", "GONE": "***unset***"}}))
    as_conda = activated(wanted.python, {"PATH": "/bin"})
    assert as_conda["MODE"] == "kept" and "GONE" not in as_conda


@pytest.mark.parametrize(
    ("named", "asked"),
    [("python=3.12.1", "==3.12.1.*"), ("python==3.12.9", "==3.12.9"), ("python>=3.12,<3.13", ">=3.12,<3.13")],
)
def test_uv_is_asked_for_the_release_that_is_named(micromamba, monkeypatch, named, asked):
    monkeypatch.setattr(build_tools, "_program", lambda name: "")
    monkeypatch.setattr(build_tools, "_uv", lambda: "/x/uv")
    monkeypatch.setattr(build_tools, "pythons_here", lambda: (("3.11.7", "/x/python3.11"),))
    assert plan_of(order(named)).commands[0][:5] == ("/x/uv", "venv", "-q", "--python", asked)


def test_without_conda_pip_builds_it(micromamba, monkeypatch):
    monkeypatch.setattr(build_tools, "_program", lambda name: "")
    monkeypatch.setattr(build_tools.shutil, "which", lambda name: None)
    here = ".".join(map(str, sys.version_info[:2]))
    plan = plan_of(order(f"python={here}", "pytorch=2.2", {"pip": ["requests"]}, also=("pandas",)))
    assert plan.tool == "pip" and plan.requirements == "torch==2.2.*\nrequests\npandas\n"
    assert plan.commands[0][1:3] == ("-m", "venv")
    monkeypatch.setattr(build_tools, "pythons_here", lambda: (("3.11.7", "/x/python3.11"),))
    with pytest.raises(UsageError, match=r"python=3.12, and there is no such Python here.*\(3.11.7\)"):
        plan_of(order("python=3.12"))
    with pytest.raises(UsageError, match=r"names python=3.8, and processors run in Python 3.9 and newer"):
        plan_of(order("python=3.8"))


def test_a_step_runs_in_what_is_built(work, micromamba):
    """As in an activated conda environment; one that can't be built fails its own step alone."""
    work.files(2)
    work.write("good.yml", "name: good\ndependencies: [python, numpy]\n")
    work.write("bad.yml", "dependencies: [nosuch]\n")
    steps = {
        name: work.parallel(WHERE, outputs={"rows": {"path": f"./{name}.txt", "type": "uri_file"}})
        for name in ("good", "bad")
    }
    for name, step in steps.items():
        step["task"]["environment"] = {"image": "some/image", "conda_file": f"./{name}.yml"}
    run = work.run(
        steps, environments={"default": "build"}, top={"settings": {"continue_on_step_failure": True}}
    )
    prefix = order("python", "numpy", name="good").prefix.rpartition("-")[0]
    (row,) = set(work.rows("good.txt"))
    own, data, conda = row.split()
    assert own.startswith(prefix) and data == f"{own}/share/gdal" and conda == own
    assert run.steps["good"].status == "completed"
    assert run.steps["bad"].status == "failed" and "could not be found: nosuch" in run.steps["bad"].reason


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ("azureml:scoring:1", "it has no conda file to build it from, only a name"),
        ({"image": "some/image"}, "only the image some/image"),
        ({"image": "x", "conda_file": "./gone.yml"}, "can't read gone.yml"),
        (
            {"image": "x", "conda_file": {"dependencies": ["python=3.7"]}},
            "names python=3.7, and processors run in",
        ),
        ({"image": "x", "conda_file": {"name": "no list"}}, "it has no list of dependencies"),
    ],
)
def test_what_can_not_be_built_is_said_at_once(work, micromamba, monkeypatch, environment, says):
    work.files(1)
    step = work.parallel()
    step["task"]["environment"] = environment
    monkeypatch.chdir(work.folder)
    with pytest.raises(daskpar.SpecError) as caught:
        daskpar.validate(work.spec({"work": step}), environments={"work": "build"})
    assert says in str(caught.value)
    assert not micromamba.exists()


def test_a_run_that_begins_forgets_a_failure_while_another_looks_at_it(monkeypatch, tmp_path):
    monkeypatch.setenv("DASKPAR_CACHE", str(tmp_path))

    class Forgotten(dict):
        def __contains__(self, prefix):
            built.forget_failures()
            return True

        def get(self, prefix):
            found = super().get(prefix)
            built.forget_failures()
            return found

    wanted = order("nosuch")
    monkeypatch.setattr(built, "_failed", Forgotten({wanted.prefix: "there is no such package"}))
    with pytest.raises(JobFailed, match="no such package"):
        ensure_built(wanted)
