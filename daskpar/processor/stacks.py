"""The stacks that a processor writes when it is killed or crashes, made readable: the user's frames alone."""

from __future__ import annotations

import re
import signal

from daskpar.processor.error_text import OUR_FOLDERS, TRACE_CHARACTERS
from daskpar.processor.protocol import ProcessorSettings

STACK_SIGNAL: int | None = (
    signal.SIGRTMIN + 13 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGUSR2", None)
)
"""A processor that gets it writes the stacks of all its threads.

That is done in C (faulthandler), so it works whichever thread holds the GIL. No script is likely to use a
real-time signal; where there are none, it is SIGUSR2.
"""
_HEAD = re.compile(r"^((?:Current t|T)hread) (0x[0-9a-f]+)(.*) \(most recent call first\):$")
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$')


def read_stacks(settings: ProcessorSettings, processor: int) -> str:
    """The stacks that a processor wrote when it was killed or crashed; empty where it ended otherwise."""
    try:
        with open(settings.log_paths.stacks(settings.node, processor), errors="replace") as file:
            return readable(file.read()[-TRACE_CHARACTERS:])
    except OSError:
        return ""


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
