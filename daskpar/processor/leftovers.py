"""What a processor leaves behind: its working folder, its temporary files, and shared memory.

None of it may meet the processor that follows: what a killed call had half done would fail the retry too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.processor.fork_protocol import MARK

if TYPE_CHECKING:
    from daskpar.processor.protocol import ProcessorSettings


def fresh_folder(folder: Path) -> None:
    """Make an empty working folder; one that holds something is kept beside it, as `process000.before-1234`.

    Kept, since a script may have written results of earlier mini-batches there. OSError where it can't be
    made.
    """
    with contextlib.suppress(FileNotFoundError):
        if os.listdir(folder):
            os.rename(folder, f"{folder}.before-{os.getpid()}")
    folder.mkdir(parents=True, exist_ok=True)


def temporary_folder(settings: ProcessorSettings, pid: int) -> str:
    """Path of the folder for temporary files of processor process `pid`; empty where the user says TMPDIR.

    It is not below the working folder: the path of a unix socket has 107 characters at most, and Python's
    multiprocessing makes its sockets there.
    """
    if "TMPDIR" in settings.environment:
        return ""
    try:
        return os.path.join(_server_folder(os.environ.get(MARK, "")), str(pid))
    except OSError:
        return ""  # no folder for temporary files can be written: that is told to whoever needs one


def _server_folder(mark: str) -> str:
    """Path of the folder that holds those of all processors of a fork server, by the value of its mark."""
    return os.path.join(tempfile.gettempdir(), f"daskpar-{mark[:12]}")


def remove_server_folder(mark: str) -> None:
    """In a fork server that ends, or in what goes on after its death: remove what its processors left.

    `mark`: NAME=value, as in its environment.
    """
    with contextlib.suppress(OSError):
        remove_tree(_server_folder(mark.partition("=")[2]))


def use_temporary_folder(path: str) -> None:
    """In a new processor: have temporary files made in the folder `path`, which is made, as is its parent."""
    if not path or not _made_ours(os.path.dirname(path)) or not _made_ours(path):
        return  # temporary files then lie where they lie for everybody
    os.environ["TMPDIR"] = path
    tempfile.tempdir = None  # the server may have asked for it, and that answer was inherited


def _made_ours(path: str) -> bool:
    """Make a folder for this user alone; whether it is there, and is not somebody else's."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    except OSError:
        return False
    return True


def remove_tree(path: str) -> None:
    """Remove a folder with all that it holds, as far as that is allowed."""
    shutil.rmtree(path, ignore_errors=True)
