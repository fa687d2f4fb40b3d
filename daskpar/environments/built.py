"""Builds environments, each once on a host, and knows those that are there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from daskpar.atomic import replace_json
from daskpar.environments.build_order import READY, BuildOrder, environments_folder
from daskpar.environments.build_tools import BuildPlan, plan_of
from daskpar.environments.prefix_users import users_of
from daskpar.environments.tool_run import WAIT_SECONDS, BuildStopped, run_tool
from daskpar.errors import JobFailed, UsageError
from daskpar.masking import hidden
from daskpar.processor.python_variables import KEPT_VARIABLES
from daskpar.value_classes import frozen

TAIL_LINES = 15
"""Of what a tool said, in the message of a failure."""
LEAVE_SECONDS = 10.0
"""For the processes of a build whose driver was killed to end too, which takes them some ms."""
_LISTS = (".txt", ".yml")
"""What tools read, beside an environment: there may be secrets in it, so it goes when they have ended."""

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
    tool's own words, or that of the disk; UsageError where nothing here can build it; and BuildStopped.
    """
    if order.is_built():
        return
    try:
        os.makedirs(environments_folder(), mode=0o700, exist_ok=True)
        with _alone(f"{order.prefix}.lock", progress, stopped):
            if order.is_built():
                return
            if (why := _failed.get(order.prefix)) is not None:
                raise JobFailed(why)
            _build_anew(order, progress, stopped)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise JobFailed(
            f"the environment {order.name} can't be built ({order.where}): {error.strerror or error}{place}. "
            f"Environments are built in {environments_folder()}; DASKPAR_CACHE names another folder"
        ) from error


def _build_anew(order: BuildOrder, progress: Callable[[str], object], stopped: Callable[[], object]) -> None:
    plan = plan_of(order)
    # What an earlier process has left is not complete, and its tools may not have ended quite yet.
    end = time.monotonic() + LEAVE_SECONDS
    while os.path.isdir(order.prefix) and users_of(order.prefix) and time.monotonic() < end:
        if stopped():
            raise BuildStopped
        time.sleep(WAIT_SECONDS)
    shutil.rmtree(order.prefix, ignore_errors=True)
    began = time.time()
    try:
        _build(order, plan, progress, stopped)
        if plan.requirements and (variables := json.loads(order.conda).get("variables")):
            replace_json(Path(order.prefix) / KEPT_VARIABLES, {"variables": variables})
        about = {"name": order.name, "tool": plan.tool, "from": order.where}
        replace_json(Path(order.prefix) / READY, {**about, "built": began, "seconds": time.time() - began})
    except BaseException as error:
        shutil.rmtree(order.prefix, ignore_errors=True)
        if isinstance(error, JobFailed):
            _failed[order.prefix] = str(error)
        raise
    finally:
        for ending in _LISTS:
            Path(f"{order.prefix}{ending}").unlink(missing_ok=True)


@contextmanager
def _alone(lock: str, progress: Callable[[str], object], stopped: Callable[[], object]) -> Iterator[None]:
    """While this process holds the lock of an environment."""
    while True:
        with _try_lock(lock) as held:
            if held:
                yield
                return
        progress(_last_line(f"{lock.removesuffix('.lock')}.log"))
        if stopped():
            raise BuildStopped
        time.sleep(WAIT_SECONDS)


@contextmanager
def _try_lock(lock: str) -> Iterator[bool]:
    """Whether this process has the lock of an environment, for as long as it is within."""
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield _is_at(lock, file)


def _is_at(path: str, file: IO[str]) -> bool:
    """Whether an open file is still the one at `path`: whoever removes an environment removes its lock."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _last_line(log: str) -> str:
    """What who builds it has heard last."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 500))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return f"({hidden(lines[-2].strip())[:100]})" if len(lines) > 1 else ""


def _build(
    order: BuildOrder, plan: BuildPlan, progress: Callable[[str], object], stopped: Callable[[], object]
) -> None:
    for ending, content in ((".yml", plan.conda_file), (".txt", plan.requirements)):
        if content:
            _write_privately(f"{order.prefix}{ending}", content)
    Path(order.log).write_text("")
    progress(f"by {plan.tool}")
    for command in plan.commands:
        said: list[str] = []

        def heard(line: str, said: list[str] = said) -> None:
            said.append(hidden(line))
            del said[: -2 * TAIL_LINES]
            progress(f"by {plan.tool}: {said[-1][:100]}")

        code = run_tool(command, folder=order.folder, log=order.log, heard=heard, stopped=stopped)
        if code:
            words = "\n".join(f"  {line}" for line in said[-TAIL_LINES:])
            raise JobFailed(
                f"the environment {order.name} can't be built ({order.where}): {plan.tool} ended with "
                f"exit code {code}; all that it said is in {order.log}:\n{words}"
            )


def _write_privately(path: str, content: str) -> None:
    Path(path).unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)


# -- those that are there


@frozen(kw_only=True)
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


def remove(names: list[str]) -> list[str]:
    """Remove environments by name, or by the name of their folder; the names of the folders removed.

    `all` means all, and what builds have left that failed or were killed. UsageError for a name that none
    has, one that is being built, and one in which processes run: nothing is removed then.
    """
    there = built_environments(sizes=False)
    known = {name for each in there for name in (each.name, os.path.basename(each.prefix))}
    if unknown := [name for name in names if name not in known | {"all"}]:
        listed = ", ".join(sorted(known)) or "none"
        raise UsageError(f"no environment {unknown[0]!r} was built here (there are: {listed})")
    chosen = {
        each.prefix: each.name
        for each in there
        if "all" in names or {each.name, os.path.basename(each.prefix)} & set(names)
    }
    for prefix, name in chosen.items():
        if users := users_of(prefix):
            listed = ", ".join(map(str, users[:5]))
            raise UsageError(f"processes run in the environment {name} ({prefix}): {listed}. End them first")
    leftovers = {prefix: "" for prefix in _prefixes() if "all" in names}
    removed = []
    for prefix, name in {**leftovers, **chosen}.items():
        with _try_lock(f"{prefix}.lock") as held:
            if held:
                # Whoever looks for it meanwhile must not find half of it.
                Path(prefix, READY).unlink(missing_ok=True)
                shutil.rmtree(prefix, ignore_errors=True)
                for ending in (".log", *_LISTS, ".lock"):
                    Path(f"{prefix}{ending}").unlink(missing_ok=True)
                removed.append(os.path.basename(prefix))
            elif name:
                raise UsageError(f"the environment {name} is being built just now")
    return removed


def _prefixes() -> set[str]:
    """Of all environments that were ever begun here."""
    return {str(lock).removesuffix(".lock") for lock in Path(environments_folder()).glob("*.lock")}


def _size(folder: str) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
