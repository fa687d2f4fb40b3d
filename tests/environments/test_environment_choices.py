"""How an environment is had: what may be written, and whose word counts."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from daskpar.environments import conda_prefixes, environment_choices
from daskpar.environments.environment_choices import Choices, as_kept, how_of
from daskpar.errors import UsageError
from daskpar.jobspec.named_environment import Environment

HERE = os.getcwd()
WRITTEN = [
    ("ours", "ours", ""),
    ("check", "check", ""),
    (" build ", "build", ""),
    ("/opt/x/bin/python", "python", "/opt/x/bin/python"),
    ("./venv", "python", f"{HERE}/venv"),
    ("python:/opt/x", "python", "/opt/x"),
    ("venv:env", "venv", f"{HERE}/env"),
    ("conda:scoring", "conda", "scoring"),
    ("conda:./envs/scoring", "conda", f"{HERE}/envs/scoring"),
    ({"python": "/opt/x"}, "python", "/opt/x"),
    ({"conda": "scoring"}, "conda", "scoring"),
    ({"build": True}, "build", ""),
]


@pytest.mark.parametrize(("written", "kind", "place"), WRITTEN, ids=[str(written) for written, *_ in WRITTEN])
def test_what_may_be_written(written, kind, place):
    how = how_of("x", written, "--environment x")
    assert (how.kind, how.place) == (kind, place)
    kept = as_kept({"x": written})["x"]
    assert how_of("x", kept, "--environment x") == how, "a run directory keeps it"


@pytest.mark.parametrize(
    "written",
    ["", "biuld", "python:", "python", 7, {}, {"python": "/a", "conda": "b"}, {"dokcer": True}, None],
)
def test_what_means_nothing(written):
    with pytest.raises(UsageError, match=r"--environment x: .* does not say how the environment x is had"):
        how_of("x", written, "--environment x")


def step(name: str, environment: str = "") -> SimpleNamespace:
    named, _, version = environment.partition(":")
    return SimpleNamespace(
        name=name, environment=Environment(name=named, version=version) if environment else None
    )


def test_the_closest_word_counts(monkeypatch):
    """The step's own name, then name and version, then the name; what is given before what is configured."""
    choices = Choices({"azureml:env:2": "/given/2", "score": "/given/score", "default": "/given/all"})
    monkeypatch.setitem(
        vars(choices),
        "_configured",
        {"env": how_of("env", "/conf/env", "conf"), "alone": how_of("a", "/conf/a", "conf")},
    )
    chosen = {
        (name, env): choices.of(step(name, env)).place
        for name, env in [
            ("score", "env:2"),
            ("other", "env:2"),
            ("other", "env:1"),
            ("other", "alone:1"),
            ("other", ""),
            ("alone", ""),
        ]
    }
    assert list(chosen.values()) == [
        "/given/score",
        "/given/2",
        "/conf/env",
        "/conf/a",
        "/given/all",
        "/conf/a",
    ]
    assert Choices({}).of(step("a", "env:1")) is None, "this Python"


def test_a_name_that_no_step_has():
    with pytest.raises(UsageError, match=r"no step has an environment of that name .*Did you mean 'scoring'"):
        Choices({"scorng": "ours"}).check_names([step("work", "scoring:1")])


def test_names_that_steps_have_and_the_one_for_all_are_accepted():
    given = {"azureml:scoring:1": "ours", "scoring": "ours", "work": "ours", "default": "ours"}
    Choices(given).check_names([step("work", "scoring:1")])
    with pytest.raises(UsageError, match=r"\(there are: none\)\.$"):
        Choices({"scoring": "ours"}).check_names([])


def test_the_configuration_maps_names(monkeypatch):
    monkeypatch.setattr(environment_choices, "configured", lambda *_: {"azureml:env": "venv:/a", 7: "ours"})
    choices = Choices()
    assert (choices.of(step("x", "env:1")).place, choices.of(step("7")).kind) == ("/a", "ours")
    assert choices.of(step("x", "env:1")).source == "daskpar.environments.azureml:env"
    monkeypatch.setattr(environment_choices, "configured", lambda *_: ["env"])
    with pytest.raises(UsageError, match="has to map names"):
        Choices().of(step("x"))


def test_conda_environments_are_found_by_name(tmp_path, monkeypatch):
    for folder in ("root/envs/one", "root/envs/two", "elsewhere/three", "root"):
        (tmp_path / folder / "conda-meta").mkdir(parents=True)
    (tmp_path / "root/envs/none").mkdir()
    (tmp_path / ".conda").mkdir()
    (tmp_path / ".conda/environments.txt").write_text(f"{tmp_path}/elsewhere/three\n{tmp_path}/gone\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MAMBA_ROOT_PREFIX", str(tmp_path / "root"))
    found = conda_prefixes.conda_environments()
    assert {name: found[name] for name in ("one", "two", "three")} == {
        "one": f"{tmp_path}/root/envs/one",
        "two": f"{tmp_path}/root/envs/two",
        "three": f"{tmp_path}/elsewhere/three",
    }
    assert "none" not in found and "base" in found
