"""A container runtime that starts no containers: it checks the command line, and runs the program on this machine.

As with a true one the program is no child of the runtime's own process: it goes on when that one is killed, and ends
by `rm -f NAME` alone. Only what is mounted may be named; `/.daskpar` stands for what is mounted there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:  # the stub itself is started often, and these take time
    from pathlib import Path

IMAGES = {"scoring:1": "sha256:0123456789abcdef", "bare:1": "sha256:aaaa", "odd,name:1": "sha256:bbbb"}
"""Those that are there; `bare:1` has no Python."""
FLAGS = ("--rm",)
VALUED = ("--pid", "--ipc", "--network", "--security-opt", "--user", "--userns", "--group-add", "--name", "--label",
          "--log-driver", "--stop-signal", "--env", "--mount", "--workdir", "--entrypoint", "--gpus")  # fmt: skip


class StubRuntime:
    """A stub in a folder of its own, which is made. `python`: what its images have as `python3`."""

    def __init__(self, folder: Path, name: str = "podman", python: str = sys.executable) -> None:
        (folder / "path").mkdir(parents=True)
        inside, program = folder / "path" / "python3", folder / name
        # A wrapper: by a link, a virtual environment would not be found.
        inside.write_text(f'#!/bin/sh\nexec {python} "$@"\n')
        program.write_text(
            f"#!{sys.executable} -IS\nimport sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
            f"import container_stub; container_stub.main({name!r}, {str(folder)!r})\n"
        )
        inside.chmod(0o755)
        program.chmod(0o755)
        self.folder, self.program = folder, str(program)

    def runs(self) -> list[dict[str, list[str]]]:
        """The options of each container of a step that was started, in order: name -> its values."""
        lines = (self.folder / "log").read_text().splitlines() if (self.folder / "log").exists() else []
        return [found for line in lines if "--mount" in (found := json.loads(line))]

    def left(self) -> list[str]:
        """Names of containers that are there."""
        return [path.name for path in self.folder.glob("*.container")]


def main(name: str, folder: str) -> None:
    """What the program does."""
    verb, *rest = sys.argv[1:]
    if verb == "--version":
        print(f"{name} version 0.0 (stub)")
    elif verb == "info":
        sys.exit("stub: the service does not run" if os.path.exists(f"{folder}/down") else 0)
    elif [verb, *rest[:3]] == ["image", "inspect", "--format", "{{.Id}}"]:
        if rest[3] not in IMAGES:
            _fail(f"no such image: {rest[3]}")
        print(IMAGES[rest[3]])
    elif [verb, *rest[:1]] == ["rm", "-f"]:
        _remove(f"{folder}/{rest[1]}.container")
    elif verb == "run":
        _run(folder, rest)
    else:
        _fail(f"no such command: {verb}")


def _fail(text: str) -> None:
    print(f"Error: {text}", file=sys.stderr)
    sys.exit(125)


def _remove(place: str) -> None:
    with suppress(OSError, ValueError):
        with open(place) as file:
            group = int(file.read())
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)
        os.unlink(place)


def _run(folder: str, words: list[str]) -> None:
    options: dict[str, list[str]] = {}
    while words and words[0].startswith("--"):
        name, sign, value = words.pop(0).partition("=")
        if name in VALUED:
            options.setdefault(name, []).append(value if sign else words.pop(0))
        elif name in FLAGS and not sign:
            options.setdefault(name, []).append("")
        else:
            _fail(f"unknown flag: {name}")
    image, *arguments = words
    if image not in IMAGES:
        _fail(f"initializing source docker://{image}: unauthorized")
    moved = dict(_mounted(option) for option in options.get("--mount", []))
    with open(f"{folder}/log", "a") as log:
        print(json.dumps({**options, "image": [image], "arguments": arguments}), file=log)
    path = f"{folder}/path" if image != "bare:1" else f"{folder}/nothing"
    environment = {
        "PATH": f"{path}:{os.defpath}" if image != "bare:1" else path,
        "OF_IMAGE": image,
        "HOME": "/root",
    }
    for each in options.get("--env", []):
        variable, sign, value = each.partition("=")
        if sign or variable in os.environ:
            environment[variable] = value if sign else os.environ[variable]
    os.chdir(options["--workdir"][0])
    _start(
        folder,
        options.get("--name", ["none"])[0],
        [options["--entrypoint"][0], *_here(arguments, moved)],
        environment,
    )


def _mounted(option: str) -> tuple[str, str]:
    fields = option.split(",")
    if '"' in option:
        import csv

        fields = next(csv.reader([option]))
    found = dict(field.partition("=")[::2] for field in fields)
    if found.pop("type") != "bind" or not {"source", "target"} <= set(found) <= {
        "source",
        "target",
        "readonly",
    }:
        _fail(f"invalid mount: {option}")
    if not os.path.exists(found["source"]):
        _fail(f"statfs {found['source']}: no such file or directory")
    source, target = found["source"], found["target"]
    if not target.startswith("/.daskpar") and source != target:
        _fail(f"{source} is mounted elsewhere: {target}")
    return (
        (os.path.dirname(target), os.path.dirname(source))
        if target.endswith("library/daskpar")
        else (target, source)
    )


def _here(arguments: list[str], moved: dict[str, str]) -> list[str]:
    return [moved.get(each, each) for each in arguments]


def _start(folder: str, name: str, program: list[str], environment: dict[str, str]) -> None:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork():  # the parent of the program is nobody of ours
            _, status = os.wait()
            os._exit(128 + status if 0 < status < 128 else status >> 8)
        with open(f"{folder}/{name}.container", "w") as file:
            file.write(str(os.getpgid(0)))
        try:
            os.execve(program[0], program, environment)
        except OSError as error:
            print(f"Error: {program[0]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        os.unlink(f"{folder}/{name}.container")
    sys.exit(128 + status if 0 < status < 128 else status >> 8)
