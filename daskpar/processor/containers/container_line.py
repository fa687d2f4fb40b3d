"""The command line by which a runtime starts a container of ours. No value of a variable stands in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from daskpar.chosen_container import ChosenContainer
from daskpar.processor.containers.container_mounts import Mount
from daskpar.processor.containers.container_options import SAME, option_names
from daskpar.processor.containers.container_runtime import Runtime
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

    `own`: the folder here that is its own; `variables`: names of those of the client that it gets; `mark`:
    the same, or NAME=value. It goes when the program ends.
    """
    line = [runtime.program, "run", "--rm"]
    line += [f"{option}={value}" for option, value in _defaults(runtime, container.options)]
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


def _defaults(runtime: Runtime, options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What holds unless the user says otherwise: all but the files is as outside of the container."""
    own: list[tuple[str, str]] = [("--pid", "host"), ("--network", "host")]
    own.append(("--ipc", "host"))  # else shared memory ends at 64 MB
    if runtime.is_podman or not runtime.is_rootless:
        own.append(("--user", f"{os.geteuid()}:{os.getegid()}"))
    else:
        own.append(("--user", "0:0"))
    if runtime.is_podman and runtime.is_rootless:
        own.append(("--userns", "keep-id"))
    given = {SAME.get(option, option) for option in option_names(options)}
    yield from ((option, value) for option, value in own if option not in given)
    if not any(re.search("(^|=)label[=:]", option) for option in options):
        yield "--security-opt", "label=disable"  # SELinux would hide the folders of the user
    if not runtime.is_rootless and not runtime.is_podman and "--user" not in given:
        for group in sorted({*os.getgroups()} - {os.getegid()}):
            yield "--group-add", str(group)


def _mount(source: str, target: str, *, writable: bool = False) -> str:
    fields = ["type=bind", f"source={source}", f"target={target}", *([] if writable else ["readonly"])]
    return ",".join(
        f'"{field.replace(chr(34), chr(34) * 2)}"' if set(field) & set(',"') else field for field in fields
    )


def python_program(python: str, arguments: Sequence[str]) -> list[str]:
    """What runs Python in a container with `arguments`; `python` empty: whichever is on its PATH."""
    return [python, *arguments] if python else ["/bin/sh", "-c", _FIND_PYTHON, "sh", *arguments]


def container_name(what: str, token: str) -> str:
    """A name for a container that nobody else has."""
    word = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in what)[:40]
    return f"daskpar-{word.strip('-') or 'step'}-{token}"
