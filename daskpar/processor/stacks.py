"""The stacks that a processor writes when it is killed or crashes, from C, made readable: the user's frames,
the latest call last.
"""

from __future__ import annotations

import os
import re

_OURS = os.path.dirname(os.path.abspath(__file__))
_HEAD = re.compile(r"^((?:Current t|T)hread) (0x[0-9a-f]+)(.*) \(most recent call first\):$")
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$')


def readable(text: str) -> str:
    """`text` as faulthandler writes it, each thread's frames in the order of a traceback and without ours,
    with which all begin.
    """
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
    return frame is not None and (frame[1] == "<string>" or frame[1].startswith(_OURS + os.sep))
