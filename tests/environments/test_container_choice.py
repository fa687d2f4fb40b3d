"""How a container is chosen, and what is said where it can't be had."""

from __future__ import annotations

from dataclasses import replace

import pytest

from container_stub import StubRuntime
from daskpar.chosen_container import ChosenContainer
from daskpar.chosen_python import TABLE_PACKAGES
from daskpar.driver.step_pythons import _image_of_spec
from daskpar.environments import container_choice
from daskpar.environments.container_choice import with_defaults
from daskpar.environments.container_probe import image_of, look_in
from daskpar.environments.environment_choices import as_kept, how_of
from daskpar.environments.python_probe import lacks
from daskpar.errors import UsageError
from daskpar.jobspec.named_environment import Environment
from daskpar.processor.containers.container_runtime import runtime_of

WRITTEN = [
    ("container", ChosenContainer(image="")),
    (" container:ghcr.io/x/y:1 ", ChosenContainer(image="ghcr.io/x/y:1")),
    ("podman:img@sha256:12", ChosenContainer(image="img@sha256:12", runtime="podman")),
    ("docker", ChosenContainer(image="", runtime="docker")),
    ({"container": True}, ChosenContainer(image="")),
    ({"container": "img", "options": "--gpus all"}, ChosenContainer(image="img", options=("--gpus", "all"))),
    (
        {
            "container": "img",
            "runtime": "/opt/podman",
            "options": ["--cpus", 2],
            "python": "/opt/py/bin/python",
        },
        ChosenContainer(
            image="img", runtime="/opt/podman", options=("--cpus", "2"), python="/opt/py/bin/python"
        ),
    ),
    ({"podman": "img"}, ChosenContainer(image="img", runtime="podman")),
]


@pytest.mark.parametrize(("written", "container"), WRITTEN, ids=[str(written) for written, _ in WRITTEN])
def test_what_may_be_written(written, container):
    how = how_of("x", written, "--environment x")
    assert how.container == container
    assert how_of("x", as_kept({"x": written})["x"], "--environment x") == how, "a run directory keeps it"
    assert ChosenContainer.of(container.text) == container


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("container:", "does not say how"),
        ("container:a b", "is no name of an image"),
        ("container:--privileged", "is no name of an image"),
        ({"container": 7}, "write `container: IMAGE`, or `true`"),
        ({"container": False}, "write `container: IMAGE`, or `true`"),
        ({"container": "i", "opions": []}, "'opions' says nothing of a container .* Did you mean 'options'"),
        ({"container": "i", "options": {"a": 1}}, "options are a list of texts"),
        ({"container": "i", "options": "--env 'x"}, "can't be read"),
        ({"container": "i", "options": ["--pid=host"]}, "the option --pid is not for its container"),
        ({"container": "i", "runtime": 3}, "runtime and python are texts"),
        ({"container": "i", "podman": "i"}, "container and podman are given"),
        ("contaner:i", "Did you mean 'container'"),
    ],
)
def test_what_means_nothing(written, words):
    with pytest.raises(UsageError, match=f"^--environment x: .*{words}"):
        how_of("x", written, "--environment x")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (None, "names no environment, so no image: name the image"),
        (Environment(name="e"), "the environment e has no image in this spec"),
        (
            Environment(name="e", dockerfile="f/Dockerfile"),
            "is to be built of f/Dockerfile: build it, and name",
        ),
        (Environment(image="i", conda="{}"), "is only what its conda file adds to"),
        (Environment(image="--privileged"), "'--privileged' is no name of an image"),
        (Environment(image="x y:1"), "'x y:1' is no name of an image"),
    ],
)
def test_images_that_the_spec_does_not_name(environment, words):
    with pytest.raises(UsageError, match=words):
        _image_of_spec(environment)
    assert _image_of_spec(Environment(image="mcr.microsoft.com/x:1")) == "mcr.microsoft.com/x:1"


def test_what_holds_for_all_containers(monkeypatch):
    written: dict[str, object] = {}
    monkeypatch.setattr(container_choice, "configured", lambda *_: written)
    own = ChosenContainer(image="i", options=("--gpus", "all"))
    assert with_defaults(own) == own
    written |= {"runtime": "docker", "options": "--cpus 4"}
    assert with_defaults(own) == replace(own, runtime="docker", options=("--cpus", "4", "--gpus", "all"))
    assert with_defaults(replace(own, runtime="podman")).runtime == "podman"
    written["image"] = "i"
    with pytest.raises(UsageError, match=r"daskpar\.containers .* may have runtime and options"):
        with_defaults(own)


def test_where_no_runtime_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, words in [
        ("", "neither podman nor docker here"),
        ("docker", "there is no docker here"),
        ("/x/y", "no program at /x/y"),
    ]:
        with pytest.raises(UsageError, match=words):
            runtime_of(name)
    stub = StubRuntime(tmp_path / "stub", "docker")
    monkeypatch.setenv("PATH", str(tmp_path / "stub"))
    found = runtime_of("")
    assert (found.program, found.is_podman) == (stub.program, False), "the one that is there"


def test_what_an_image_has(tmp_path):
    """Its Python is asked; what is missing is said in the words of the runtime where there are any."""
    stub = StubRuntime(tmp_path / "stub")
    scoring = ChosenContainer(image="scoring:1", runtime=stub.program)
    found = look_in(scoring, ("json", "no_such_module"))
    assert found.missing == ("no_such_module",)
    assert found.python.image_id == "0123456789ab" and found.python.version.startswith("3.")
    assert found.python.in_words.endswith(f" in a container of scoring:1 ({stub.program})")
    bare = replace(found.python, packages=())
    assert "the image scoring:1 has no pandas and no pyarrow" in lacks(bare, TABLE_PACKAGES)

    troubles = [
        (replace(scoring, image="bare:1"), "the image bare:1 has no Python, .*has no python3 and no python"),
        (replace(scoring, python="/no/python"), "the image scoring:1 has no /no/python"),
        (
            replace(scoring, image="none:1"),
            "none:1 is not here, and podman can't fetch it: Error: .*unauthorized",
        ),
        (
            replace(scoring, options=("--nonsense",)),
            "podman can't start a container of scoring:1: .*unknown flag",
        ),
    ]
    for container, words in troubles:
        with pytest.raises(UsageError, match=words):
            look_in(container)
    (tmp_path / "stub/down").touch()
    with pytest.raises(UsageError, match="does not work here: stub: the service does not run"):
        image_of(replace(scoring, image="none:1"))
    assert not stub.left()
