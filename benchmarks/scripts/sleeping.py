"""Waits as long as the file's name says: `0001-0.02` for 20 ms, `0002-sleep` and `0003-gil` for ever."""

import ctypes
import os
import time


def run(mini_batch):
    """One line for each file."""
    for path in mini_batch:
        wait(os.path.basename(path).split("-")[1])
    return [os.path.basename(path) for path in mini_batch]


def wait(what):
    """`sleep`: for ever in Python; `gil`: for ever in C with the interpreter's lock held; else seconds."""
    if what == "sleep":
        time.sleep(1e6)
    elif what == "gil":
        # A mutex locked twice: a call that no signal ends, made without letting go of the interpreter's lock.
        mutex = ctypes.create_string_buffer(64)
        for _ in range(2):
            ctypes.PyDLL(None).pthread_mutex_lock(mutex)
    else:
        time.sleep(float(what))
