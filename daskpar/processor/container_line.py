"""The command line by which a runtime starts a container of ours. No value of a variable stands in it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence

from daskpar.chosen_container import ChosenContainer
from daskpar.errors import UsageError
from daskpar.processor.container_mounts import Mount
from daskpar.processor.container_runtime import Runtime
from daskpar.processor.shared_library import PACKAGE

INSIDE = "/.daskpar"
"""Where it finds what is ours."""
OWN = f"{INSIDE}/own"
"""The container's own folder, with its temporary files and what it is told."""
LIBRARY = f"{INSIDE}/library"
"""A folder that holds our package and nothing else."""
LABEL = "daskpar"
"""By which `podman ps --filter label=daskpar` shows them."""
_FIND_PYTHON = (
    'for name in python3 python; do if found=$(command -v "$name"); then exec "$found" "$@"; fi; done; '
    'echo "the image has no python3 and no python on its PATH: name one (python: PATH)" >&2; exit 127'
)
_OURS_ALONE = {
    "--pid": "its processes are watched and ended by their numbers",
    "--name": "it is found by its name",
    "--entrypoint": "it is what starts the step",
    "--detach": "it ends with the step",
    "-d": "it ends with the step",
    "--restart": "it ends with the step",
    "--workdir": "a step has a folder of its own",
    "-w": "a step has a folder of its own",
}
"""Options that are not for users, and why."""
_SAME = {"-u": "--user", "--net": "--network"}


def check_options(options: Sequence[str]) -> None:
    """UsageError for an option that would break what daskpar promises, and for what is none."""
    for option in _names(options):
        if why := _OURS_ALONE.get(option):
            raise UsageError(f"the option {option} is not for its container: {why}")
    if options and not options[0].startswith("-"):
        raise UsageError(f"the options of its container begin with {options[0]!r}, which is no option")
    if "--" in options:
        raise UsageError("the options of its container end before the image: leave out `--`")


def _names(options: Iterable[str]) -> list[str]:
    return [option.partition("=")[0] for option in options if option.startswith("-")]


def run_line(
    runtime: Runtime,
    container: ChosenContainer,
    program: Sequence[str],
    *,
    name: str = "",
    mark: str = "",
    own: str = "",
    mounts: Iterable[Mount] = (),
    folder: str = "/",
    variables: Iterable[str] = (),
) -> list[str]:
    """The command that runs `program` (the first word is an executable of the image) in a new container.

    `own`: the folder here that is its own; `mark`: NAME=value, or a name as those of `variables`; `variables`: names
    of those of the client that it gets. It goes when the program ends.
    """
    check_options(container.options)
    given = {_SAME.get(option, option) for option in _names(container.options)}
    line = [runtime.program, "run", "--rm"]
    line += [f"{option}={value}" for option, value in _defaults(runtime) if option not in given]
    if name:
        # The runtimes keep what a container says, too: that may be much, and is the user's alone.
        line += [f"--name={name}", f"--label={LABEL}=1", "--log-driver=none"]
        line += ["--stop-signal=SIGKILL"]  # our main process takes no notice of the usual one
    if mark:
        line += ["--env", mark]
    for variable in variables:
        line += ["--env", variable]
    if own:
        line += ["--mount", _mount(own, OWN, writable=True)]
        line += ["--mount", _mount(PACKAGE, f"{LIBRARY}/daskpar")]
    for mount in mounts:
        line += ["--mount", _mount(mount.path, mount.path, writable=mount.writable)]
    line += [*container.options, f"--workdir={folder}", f"--entrypoint={program[0]}"]
    return [*line, container.image, *program[1:]]


def _defaults(runtime: Runtime) -> Iterable[tuple[str, str]]:
    """What holds unless the user says otherwise: all but the files is as outside of the container."""
    yield "--pid", "host"
    yield "--ipc", "host"  # else shared memory ends at 64 MB
    yield "--network", "host"
    yield "--security-opt", "label=disable"  # SELinux would hide the folders of the user
    yield "--user", f"{os.geteuid()}:{os.getegid()}"
    if runtime.maps_users:
        yield "--userns", "keep-id"
    elif not runtime.is_podman:
        for group in sorted({*os.getgroups()} - {os.getegid()}):
            yield "--group-add", str(group)


def _mount(source: str, target: str, *, writable: bool = False) -> str:
    fields = ["type=bind", f"source={source}", f"target={target}", *([] if writable else ["readonly"])]
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()


def python_program(python: str, arguments: Sequence[str]) -> list[str]:
    """What runs Python in a container with `arguments`; `python` empty: whichever is on its PATH."""
    return [python, *arguments] if python else ["/bin/sh", "-c", _FIND_PYTHON, "sh", *arguments]


def container_name(what: str, token: str) -> str:
    """A name for a container that nobody else has."""
    word = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in what)[:40]
    return f"daskpar-{word.strip('-') or 'step'}-{token}"
