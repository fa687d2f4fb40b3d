"""Tells what this process was refused by a limit of its machine from a mistake of daskpar's."""

from __future__ import annotations

import errno

_REFUSED = {
    errno.EMFILE: "too many open files: raise `ulimit -n`",
    errno.ENFILE: "the machine has too many open files",
    errno.ENOMEM: "no memory is left, or `ulimit -v` is too low",
    errno.EAGAIN: "too many processes or threads: raise `ulimit -u`, or `ulimit -v` where that is set",
}


def refused_by_a_limit(error: BaseException | None) -> str:
    """What was refused and what to do, as a sentence; empty where the error is of another kind."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _REFUSED:
            return f"the machine refuses more ({_REFUSED[error.errno]}): {error}"
        text = str(error)
        if isinstance(error, MemoryError) or (
            isinstance(error, ImportError) and "failed to map segment" in text
        ):
            return f"the machine refuses more ({_REFUSED[errno.ENOMEM]}): {text or 'MemoryError'}"
        if isinstance(error, RuntimeError) and "start new thread" in text:
            return f"the machine refuses more ({_REFUSED[errno.EAGAIN]}): {text}"
        error = error.__cause__ or error.__context__
    return ""
