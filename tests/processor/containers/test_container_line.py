"""The command line of a container, and which options of the user's may stand there."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from daskpar.chosen_container import ChosenContainer
from daskpar.errors import UsageError
from daskpar.processor.containers.container_command import by_a_shell
from daskpar.processor.containers.container_line import container_name, python_program, run_line
from daskpar.processor.containers.container_mounts import Mount
from daskpar.processor.containers.container_options import check_options
from daskpar.processor.containers.container_runtime import Runtime, last_words
from daskpar.processor.shared_library import PACKAGE

PODMAN, DOCKER = Runtime("/usr/bin/podman", True), Runtime("/usr/bin/docker", False)
IMAGE = ChosenContainer(image="scoring:3")


def options_of(line: list[str], name: str) -> list[str]:
    found = [word.partition("=")[2] for word in line if word.startswith(f"{name}=")]
    return found + [line[at + 1] for at, word in enumerate(line) if word == name]


@pytest.mark.parametrize("rootless", [False, True], ids=["", "rootless"])
@pytest.mark.parametrize("runtime", [PODMAN, DOCKER], ids=["podman", "docker"])
def test_all_but_files_is_as_outside(monkeypatch, runtime, rootless):
    runtime, of_podman = replace(runtime, is_rootless=rootless), runtime is PODMAN
    monkeypatch.setattr(os, "geteuid", lambda: 55)
    monkeypatch.setattr(os, "getegid", lambda: 77)
    monkeypatch.setattr(os, "getgroups", lambda: [77, 88])
    line = run_line(runtime, IMAGE, ["/bin/x", "a"], name="n", mark="M=1", own="/tmp/own", folder="/at")
    assert line[:3] == [runtime.program, "run", "--rm"]
    assert line[-2:] == ["scoring:3", "a"]
    expected = {
        "--pid": ["host"], "--ipc": ["host"], "--network": ["host"], "--user": ["0:0" if rootless and not of_podman else "55:77"],
        "--entrypoint": ["/bin/x"], "--workdir": ["/at"], "--env": ["M=1"], "--name": ["n"],
        "--userns": ["keep-id"] if of_podman and rootless else [],
        "--group-add": [] if of_podman or rootless else ["88"],
        "--security-opt": ["label=disable"],
        "--log-driver": ["none"], "--stop-signal": ["SIGKILL"],
    }  # fmt: skip
    assert {name: options_of(line, name) for name in expected} == expected
    assert options_of(line, "--mount") == [
        "type=bind,source=/tmp/own,target=/.daskpar/own",
        f"type=bind,source={PACKAGE},target=/.daskpar/library/daskpar,readonly",
    ]


def test_a_users_option_takes_the_place_of_ours():
    given = ChosenContainer(
        image="i",
        options=(
            "--net",
            "none",
            "-u",
            "5",
            "--ipc=private",
            "--gpus",
            "all",
            "--security-opt",
            "label=type:x",
        ),
    )
    labelled = replace(IMAGE, options=("--label", "team=x"))
    assert options_of(run_line(PODMAN, labelled, ["x"]), "--security-opt") == ["label=disable"]
    line = run_line(PODMAN, given, ["x"])
    assert not options_of(line, "--network") and not options_of(line, "--user")
    assert options_of(line, "--security-opt") == ["label=type:x"]
    assert options_of(line, "--ipc") == ["private"] and options_of(line, "--gpus") == ["all"]
    assert line.index("none") < line.index("i")


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        (Mount(path="/a b"), "type=bind,source=/a b,target=/a b,readonly"),
        (Mount(path="/a", writable=True), "type=bind,source=/a,target=/a"),
        (Mount(path='/a,"b'), 'type=bind,"source=/a,""b","target=/a,""b",readonly'),
        (Mount(path="/a:b=c"), "type=bind,source=/a:b=c,target=/a:b=c,readonly"),
    ],
)
def test_mounts_of_any_name(mount, text):
    assert options_of(run_line(PODMAN, IMAGE, ["x"], mounts=[mount]), "--mount") == [text]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--pid=private"], "--pid is not for its container: its processes are watched"),
        (["--gpus", "all", "-d"], "-d is not for its container: it ends with the step"),
        (["-itd"], "-d is not for its container"),
        (["--name", "x"], "found by its name"),
        (["gpus=all"], "begin with 'gpus=all', which is no option"),
        (["--gpus", "all", "--"], "leave out `--`"),
    ],
)
def test_options_that_would_break_a_promise(options, why):
    with pytest.raises(UsageError, match=why.replace("(", r"\(")):
        check_options(options)


def test_which_python():
    assert python_program("/opt/x/bin/python", ["-c", "1"]) == ["/opt/x/bin/python", "-c", "1"]
    shell, flag, text, *rest = python_program("", ["-c", "1"])
    assert (shell, flag, rest) == ("/bin/sh", "-c", ["sh", "-c", "1"]) and "python3 python" in text


@pytest.mark.parametrize(
    ("step", "name"),
    [("score", "daskpar-score-7"), ("größe /x", "daskpar-gr--e--x-7"), ("__", "daskpar-step-7")],
)
def test_names_that_runtimes_take(step, name):
    assert container_name(step, "7") == name


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("", "it said nothing"),
        ("Trying to pull\nError: initializing source\n", "Error: initializing source"),
        (
            "docker: Error response from daemon: no\n\nRun 'docker run --help' for more\n",
            "docker: Error response from daemon: no",
        ),
        ("one\ntwo\n", "two"),
    ],
)
def test_the_words_of_a_runtime(said, line):
    assert last_words(said) == line


@pytest.mark.parametrize(
    ("name", "can"),
    [("TOKEN", True), ("_x1", True), ("UID", False), ("SHELLOPTS", False), ("odd.name", False)],
)
def test_variables_that_shells_can_set(name, can):
    assert by_a_shell(name) == can
