"""Cuts a traceback to the frames of the user's own code; what lies in libraries is counted. Pure."""

from __future__ import annotations

import re

_FRAME = re.compile(r'^( *)File "(.*)", line (?:\d+|\?\?\?)(?:,)? in ')
_INSTALLED = re.compile(r"/(?:site|dist)-packages/([^/]+)")
_OF_PYTHON = re.compile(r"/lib(?:64)?/python3(?:\.\d+)?t?/([^/]+)|^<frozen ([^>]+)>")


def library_of(path: str) -> str:
    """The library that a file belongs to: `pandas`, `json`; empty for a user's own file."""
    if found := _INSTALLED.search(path):
        return found[1].removesuffix(".py")
    if found := _OF_PYTHON.search(path):
        return (found[1] or found[2]).removesuffix(".py")
    return ""


def users_frames(trace: str) -> str:
    """The traceback with one line in the place of each row of frames in libraries.

    Unchanged where no frame is the user's: then the libraries' say most.
    """
    lines = trace.split("\n")
    if not any((found := _FRAME.match(line)) and not library_of(found[2]) for line in lines):
        return trace
    kept: list[str] = []
    libraries: list[str] = []
    inner = ""
    """Indentation of the frame that is left out; empty while none is."""

    def say_what_is_left_out() -> None:
        if libraries:
            names = ", ".join(dict.fromkeys(libraries))
            frames = "1 frame" if len(libraries) == 1 else f"{len(libraries)} frames"
            kept.append(f"{inner}... {frames} in {names}")
            libraries.clear()

    for line in lines:
        found = _FRAME.match(line)
        if found and (library := library_of(found[2])):
            inner = found[1] or "  "
            libraries.append(library)
        elif found or not libraries or not line.startswith(inner):
            say_what_is_left_out()
            kept.append(line)
    say_what_is_left_out()
    return "\n".join(kept)
