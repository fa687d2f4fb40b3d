"""Runs a command in a container: what runs here is the runtime's own process, below a fork server as ever."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from daskpar.chosen_container import ChosenContainer
from daskpar.errors import UsageError
from daskpar.processor.command_process import CommandRunner
from daskpar.processor.containers.container_keeper import ContainerKeeper
from daskpar.processor.containers.container_line import OWN, container_name, run_line
from daskpar.processor.containers.container_links import led_to
from daskpar.processor.containers.container_mounts import Mount, arranged
from daskpar.processor.containers.container_runtime import runtime_of
from daskpar.processor.containers.container_variables import handed_on, names_of_user, umask_now
from daskpar.processor.fork_protocol import MARK

_START = '. "$2/variables"; if [ -x /bin/bash ]; then exec /bin/bash -c "$1"; else exec /bin/sh -c "$1"; fi'
"""Its variables, and then the same shell as outside of a container; `$2` is the container's own folder."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Of a variable that a shell can set."""
_FIXED = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})
"""But for these, at which a shell would end."""


class ContainerCommandRunner(CommandRunner):
    """As `CommandRunner`, in a container. `environment` comes on top of the image's own variables."""

    def __init__(
        self,
        container: ChosenContainer,
        *,
        step: str,
        mounts: Sequence[Mount],
        command: str,
        cwd: str,
        environment: Mapping[str, str],
        stdout_path: str,
        stderr_path: str,
        timeout: float | None = None,
    ) -> None:
        super().__init__(
            command=command,
            cwd=cwd,
            environment={},
            stdout_path=stdout_path,
            stderr_path=stderr_path,
            timeout=timeout,
        )
        self._container, self._step, self._mounts = container, step, mounts
        self._variables = {**handed_on(), **environment}
        self._keeper: ContainerKeeper | None = None

    def _begin(self) -> None:
        """Put down what the command is told, and let the runtime's process take its place."""
        try:
            runtime = runtime_of(self._container.runtime)
            name = container_name(self._step, os.urandom(4).hex())
            mounts = arranged(self._mounts)
            mounts = arranged([*mounts, *led_to(mounts)])
            self._keeper = keeper = ContainerKeeper(runtime, name)
            odd = {name: value for name, value in self._variables.items() if not by_a_shell(name)}
            _write(os.path.join(keeper.folder, "variables"), self._script(odd))
            line = run_line(
                runtime,
                self._container,
                ["/bin/sh", "-c", _START, "sh", self._task.command, OWN],
                name=name,
                mark=MARK,  # that of the fork server here, whose guardian finds it in the container too
                own=keeper.folder,
                mounts=mounts,
                folder=self._task.cwd,
                variables=odd,
            )
        except UsageError as error:
            raise OSError(str(error)) from None
        self._task = replace(self._task, command=f"exec {shlex.join(line)}", environment=odd)

    def _script(self, without: Mapping[str, str]) -> str:
        lines = [f"umask {umask_now():03o}"]
        if folder := os.path.dirname(self._container.python):
            lines.append(f'PATH={shlex.quote(folder)}:"$PATH"')
        for name, value in names_of_user().items():
            lines.append(f'[ -n "${name}" ] || export {name}={shlex.quote(value)}')
        lines.append('[ -w "$HOME" ] || HOME="$2/tmp"; TMPDIR="$2/tmp"; export HOME PATH TMPDIR')
        lines += [
            f"export {name}={shlex.quote(value)}"
            for name, value in self._variables.items()
            if name not in without
        ]
        return "\n".join([*lines, ""])

    def _after_end(self, code: int | None) -> None:
        """Killed by the fork server, the runtime's processes leave the container to itself.

        It is removed once they have gone: one that starts while it is removed would stay.
        """
        if self._keeper is not None:
            if code != 0:
                self._keeper.remove()
            self._keeper.close()


def by_a_shell(name: str) -> bool:
    """Whether any shell can set a variable of that name; the others are handed on by the runtime."""
    return name not in _FIXED and _NAME.fullmatch(name) is not None


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
