"""Asks a program on this machine something that it answers soon."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from daskpar.errors import UsageError


def answer_of(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short command, without standard input; what it said, however it ended.

    `environment`: its variables, ours by default. UsageError where it can't be started, or does not answer
    within so many `seconds`.
    """
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{command[0]} does not answer within {seconds:g} s") from None
    except OSError as error:
        raise UsageError(f"{command[0]} can't be started: {error.strerror or error}") from None
