"""Environments are built once, by what is there, and known by their content."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

import daskpar
from daskpar.cli import main
from daskpar.environments import build_tools
from daskpar.environments.build_order import BuildOrder, order_of
from daskpar.environments.build_tools import plan_of
from daskpar.environments.built import ensure_built
from daskpar.environments.tool_run import BuildStopped
from daskpar.errors import JobFailed, UsageError
from daskpar.jobspec.named_environment import Environment
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
