"""Where the logs of a step are, what each of them is, and the beginning or end of one."""

from __future__ import annotations

from pathlib import Path

from daskpar.paths import LogPaths


def log_places(logs: LogPaths) -> list[tuple[str, Path]]:
    """What is in the log tree of a step, and where."""
    return [
        ("how it ended", logs.job_result),
        *(("progress", path) for path in sorted(logs.root.glob(logs.ALL_OVERVIEWS))[-1:]),
        ("errors by kind", logs.job_error),
        ("failed mini-batches", logs.failed_mini_batches),
        ("full traces", logs.traces),
        ("stdout", logs.all_stdout),
        ("stderr", logs.all_stderr),
        ("stdout", logs.command_stdout),
        ("stderr", logs.command_stderr),
        ("the script's logger", logs.script_logs),
        ("every try", logs.processed),
        ("the orchestrator", logs.master_role),
        ("resources", logs.resources),
    ]


def head_of(path: Path, size: int = 16_000) -> str:
    """The beginning of a text file, empty where it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(size).decode("utf-8", "replace")
    except OSError:
        return ""


def tail_of(path: Path, size: int = 16_000) -> str:
    """The end of a text file, from the beginning of a line on; empty where it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            length = file.tell()
            file.seek(max(length - size, 0))
            data = file.read(size)
    except OSError:
        return ""
    if length > size:
        data = data.partition(b"\n")[2] or data
    return data.decode("utf-8", "replace")
