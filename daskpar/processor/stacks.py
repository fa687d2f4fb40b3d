"""The stacks that a processor writes when it is killed or crashes, made readable: the user's frames alone."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

from daskpar.processor.error_text import OUR_FOLDERS, TRACE_CHARACTERS
from daskpar.processor.protocol import ProcessorSettings

STACK_SIGNAL: int | None = (
    signal.SIGRTMIN + 13 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGUSR2", None)
)
"""A processor that gets it writes the stacks of all its threads.

That is done in C (faulthandler), so it works whichever thread holds the GIL. No script is likely to use a
real-time signal; where there are none, it is SIGUSR2.
"""
_START = re.compile(r"^--- process \d+ started .* ---$", re.MULTILINE)
_HEAD = re.compile(r"^((?:Current t|T)hread) (0x[0-9a-f]+)(.*) \(most recent call first\):$")
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$')


def open_stacks(path: Path) -> int:
    """In a new processor: open the file for its stacks, below those of the processors before it.

    They have had the same number. Returns a close-on-exec descriptor; OSError where it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    os.write(fd, f"--- process {os.getpid()} started {now} ---\n".encode())
    return fd


def read_stacks(settings: ProcessorSettings, processor: int) -> str:
    """The stacks that the last processor of this number wrote when it was killed or crashed.

    Empty where it ended otherwise.
    """
    try:
        with open(settings.log_paths.stacks(settings.node, processor), "rb") as file:
            # A character of UTF-8 has four bytes at most.
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4 * TRACE_CHARACTERS))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return readable(_START.split(text)[-1].lstrip("\n")[-TRACE_CHARACTERS:])


def readable(text: str) -> str:
    """What faulthandler wrote, as a traceback: latest calls last, and without our own frames."""
    out: list[str] = []
    frames: list[str] = []

    def end_thread() -> None:
        kept = [line for line in frames if not _ours(line)]
        out.extend(reversed(kept or frames))
        frames.clear()

    for line in text.splitlines():
        if head := _HEAD.match(line):
            end_thread()
            out.append(f"{head[1]} {head[2]}{head[3]} (most recent call last):")
        elif line.startswith("  ") and out and out[-1].endswith("(most recent call last):"):
            frames.append(line)
        else:
            end_thread()
            out.append(line)
    end_thread()
    return "\n".join(line for line in out if line) + "\n" if text.strip() else ""


def _ours(line: str) -> bool:
    frame = _FRAME.match(line)
    return frame is not None and (frame[1] == "<string>" or frame[1].startswith(OUR_FOLDERS))
