"""Exceptions of user code as text: one sentence, and the traceback from the user's first line on."""

from __future__ import annotations

import errno
import importlib
import os
import traceback

TRACE_CHARACTERS = 64_000
MESSAGE_CHARACTERS = 4_000
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUR_FOLDERS = tuple(os.path.join(_PACKAGE, folder, "") for folder in ("processor", "rows", "driver"))
"""Folders whose frames say nothing to a user; they lie between the start of a processor, or of `debug`, and
user code.
"""
IMPORTERS = ("<frozen importlib", importlib.__file__)
"""Python's own code through which a script is imported."""


def describe_error(error: BaseException) -> str:
    """`ValueError: the file is empty`."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # an exception class of the script's
        text = "(its text can't be made)"
    described = f"{name}: {text[:MESSAGE_CHARACTERS]}" if text else name
    if isinstance(error, SystemExit):
        # argparse, for one, writes what is wrong to standard error alone.
        return f"{described} (the script ended itself; its log says what it printed before)"
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return (
            f"{described} (scripts can't change their inputs: write to an output, or give the input "
            "mode: download to have a private copy)"
        )
    return described


def user_traceback(error: BaseException) -> str:
    """The traceback without the frames of ours with which it begins; the middle of a long one is left out."""
    tb = error.__traceback__
    while tb is not None and is_ours(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, tb))
    except Exception as failed:  # what formats it is Python code, which a script may have broken
        text = f"(its traceback can't be made: {type(failed).__name__})\n"
    return text if len(text) <= TRACE_CHARACTERS else f"{text[:1000]}\n...\n{text[-TRACE_CHARACTERS:]}"


def comes_again(error: BaseException) -> bool:
    """Whether an error at the start of a script comes again in the next processor: a module, or a name in
    one, that is not there, or text that is no Python.
    """
    if isinstance(error, ModuleNotFoundError | SyntaxError):
        return True
    return isinstance(error, ImportError) and str(error).startswith("cannot import name")


def is_ours(filename: str) -> bool:
    """Whether a frame of that file says nothing to a user."""
    return filename.startswith((*IMPORTERS, *OUR_FOLDERS))
