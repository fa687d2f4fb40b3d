"""Builds environments, each once on a host, and knows those that are there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from daskpar.atomic import replace_json
from daskpar.environments.build_order import READY, BuildOrder, environments_folder
from daskpar.environments.build_tools import BuildPlan, plan_of
from daskpar.errors import JobFailed, UsageError

TAIL_LINES = 15
"""Of what a tool said, in the message of a failure."""
WAIT_SECONDS = 0.2
"""Between two looks at whether another process has built it, or the build is to stop."""


_OURS = ("PYTHONPATH", "PYTHONHOME")
"""Variables that are for this Python."""


class BuildStopped(Exception):
    """The build was told to stop."""


_failed: dict[str, str] = {}
"""Where a build of this process has failed -> why: another try would end the same way a moment later."""


def forget_failures() -> None:
    """Try again what has failed: a new run begins."""
    _failed.clear()


def ensure_built(
    order: BuildOrder,
    *,
    progress: Callable[[str], object] = lambda _: None,
    stopped: Callable[[], object] = lambda: False,
) -> None:
    """Build an environment unless it is there; waits where another process is at it.

    `progress` gets what is being done, in words; `stopped` is asked whether to end. Raises JobFailed with the
    tool's own words, UsageError where nothing here can build it, and BuildStopped.
    """
    if order.is_built():
        return
    os.makedirs(environments_folder(), mode=0o700, exist_ok=True)
    with _alone(f"{order.prefix}.lock", progress, stopped):
        if order.is_built():
            return
        if order.prefix in _failed:
            raise JobFailed(_failed[order.prefix])
        plan = plan_of(order)
        # What an earlier process has left is not complete.
        shutil.rmtree(order.prefix, ignore_errors=True)
        began = time.time()
        try:
            _build(order, plan, progress, stopped)
        except BaseException as error:
            shutil.rmtree(order.prefix, ignore_errors=True)
            if isinstance(error, JobFailed):
                _failed[order.prefix] = str(error)
            raise
        about = {"name": order.name, "tool": plan.tool, "conda": json.loads(order.conda), "from": order.where}
        replace_json(Path(order.prefix) / READY, {**about, "built": began, "seconds": time.time() - began})


@contextmanager
def _alone(lock: str, progress: Callable[[str], object], stopped: Callable[[], object]) -> Iterator[None]:
    """While this process holds the lock of an environment."""
    with open(lock, "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress(_last_line(f"{lock.removesuffix('.lock')}.log"))
            if stopped():
                raise BuildStopped
            time.sleep(WAIT_SECONDS)
        yield


def _last_line(log: str) -> str:
    """What who builds it has heard last."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 500))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return f"({lines[-2].strip()[:100]})" if len(lines) > 1 else ""


def _build(
    order: BuildOrder, plan: BuildPlan, progress: Callable[[str], object], stopped: Callable[[], object]
) -> None:
    if plan.conda_file:
        Path(plan.conda_file).write_text(order.conda)  # JSON is YAML
    if plan.requirements:
        Path(f"{order.prefix}.txt").write_text(plan.requirements)
    with open(order.log, "w") as log:
        for command in plan.commands:
            print("$", *command, file=log, flush=True)
            progress(f"by {plan.tool}")
            said: list[str] = []
            heard = partial(_heard, said, log, f"by {plan.tool}", progress)
            if code := _run(command, order.folder, heard, stopped):
                words = "\n".join(f"  {line}" for line in said[-TAIL_LINES:])
                raise JobFailed(
                    f"the environment {order.name} can't be built ({order.where}): {plan.tool} ended with "
                    f"exit code {code}; all that it said is in {order.log}:\n{words}"
                )


def _heard(said: list[str], log: IO[str], by: str, progress: Callable[[str], object], line: str) -> None:
    if text := line.strip():
        said.append(text)
        del said[: -2 * TAIL_LINES]
        print(line, file=log, flush=True)
        progress(f"{by}: {text[:100]}")


def _run(
    command: tuple[str, ...], folder: str, heard: Callable[[str], object], stopped: Callable[[], object]
) -> int:
    """Run a command, and end it with all that it has started where it is stopped."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder if os.path.isdir(folder) else "/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name not in _OURS},
        )
    except OSError as error:
        heard(f"{command[0]} can't be started: {error.strerror}")
        return 127
    assert process.stdout is not None
    lines = threading.Thread(target=lambda: [heard(line.rstrip("\n")) for line in process.stdout or ()])
    lines.daemon = True
    lines.start()
    try:
        while process.poll() is None:
            if stopped():
                raise BuildStopped
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(WAIT_SECONDS)
    finally:
        if process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        lines.join(5)
        process.stdout.close()
    return process.returncode


# -- those that are there


@dataclass(frozen=True, kw_only=True)
class Built:
    """An environment that is there."""

    name: str
    prefix: str
    tool: str
    built: float
    """When, in seconds since the epoch."""
    size: int
    """Bytes."""

    @property
    def python(self) -> str:
        """The executable."""
        return os.path.join(self.prefix, "bin", "python")


def built_environments(*, sizes: bool = True) -> list[Built]:
    """All that this user has on this host, the oldest first."""
    found = []
    for ready in Path(environments_folder()).glob(f"*/{READY}"):
        try:
            about = json.loads(ready.read_text())
            prefix = str(ready.parent)
            found.append(
                Built(
                    name=str(about["name"]),
                    prefix=prefix,
                    tool=str(about["tool"]),
                    built=float(about["built"]),
                    size=_size(prefix) if sizes else 0,
                )
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being removed, or damaged: it is built anew
    return sorted(found, key=lambda each: each.built)


def remove(names: list[str]) -> list[Built]:
    """Remove environments by name, or by the name of their folder; `all` means all. Those that were removed.

    UsageError for a name that none has, or one that is being built.
    """
    there = built_environments(sizes=False)
    chosen = [
        each for each in there if "all" in names or {each.name, os.path.basename(each.prefix)} & set(names)
    ]
    known = {name for each in there for name in (each.name, os.path.basename(each.prefix))}
    if unknown := [name for name in names if name not in known | {"all"}]:
        listed = ", ".join(sorted(known)) or "none"
        raise UsageError(f"no environment {unknown[0]!r} was built here (there are: {listed})")
    for each in chosen:
        with open(f"{each.prefix}.lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"the environment {each.name} is being built just now") from None
            # Whoever looks for it meanwhile must not find half of it.
            Path(each.prefix, READY).unlink(missing_ok=True)
            shutil.rmtree(each.prefix, ignore_errors=True)
        for ending in (".lock", ".log", ".txt", ".yml"):
            Path(f"{each.prefix}{ending}").unlink(missing_ok=True)
    return chosen


def _size(folder: str) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
