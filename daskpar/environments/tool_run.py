"""Runs a tool that builds an environment. None of its processes outlives whoever asked for it."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence

from daskpar.processor.command_process import CommandRunner

WAIT_SECONDS = 0.2
"""Between two looks at what the tool says, and at whether it is to stop."""
_OURS = ("PYTHONPATH", "PYTHONHOME")
"""Variables that are for this Python."""
_QUIET = {"PIP_NO_INPUT": "1", "PIP_PROGRESS_BAR": "off", "PYTHONUNBUFFERED": "1"}


class BuildStopped(Exception):
    """The build was told to stop."""


def run_tool(
    command: Sequence[str],
    *,
    folder: str,
    log: str,
    heard: Callable[[str], object],
    stopped: Callable[[], object],
) -> int:
    """Run a command in `folder`, with what it says at the end of the file `log`; its exit code.

    `heard` gets each line of it, `stopped` is asked whether to end. Raises BuildStopped; where this process
    dies, the tool and all that it has started are ended too.
    """
    with open(log, "a") as file:
        print("$", shlex.join(command), file=file)
        start = file.tell()
    unset = [part for name in _OURS for part in ("-u", name)]
    runner = CommandRunner(
        command=f"exec </dev/null env {shlex.join([*unset, *command])}",
        cwd=folder if os.path.isdir(folder) else "/",
        environment=_QUIET,
        stdout_path=log,
        stderr_path=log,
    )
    codes: list[int] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            codes.append(runner.run())
        except BaseException as error:
            errors.append(error)

    lines = _new_lines(log, start)
    thread = threading.Thread(target=run, name="daskpar-build", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(WAIT_SECONDS)
            for line in next(lines):
                heard(line)
            if stopped():
                raise BuildStopped
    finally:
        runner.kill()
        thread.join()
    if errors:
        raise errors[0]
    for line in next(lines):
        heard(line)
    return codes[0]


def _new_lines(log: str, start: int) -> Iterator[list[str]]:
    """At each call, the whole lines that have come to a file since the last one."""
    rest = b""
    with open(log, "rb") as file:
        file.seek(start)
        while True:
            *lines, rest = (rest + file.read()).split(b"\n")
            yield [text for line in lines if (text := line.decode(errors="replace").strip())]
