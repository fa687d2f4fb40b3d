"""An entry script that does to each mini-batch what a table says: the first try does the first thing, and so on; then all is well.

--table FILE   JSON: {"index": ["fault", ...]}; what is not in it is well
--calls DIR    every call leaves a file INDEX.TRY there, made before anything else happens
"""

import argparse
import ctypes
import json
import os
import pathlib
import signal
import sys
import time

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--table")
parser.add_argument("--calls")
known, _ = parser.parse_known_args()
CALLS = pathlib.Path(known.calls)
TABLE = json.loads(pathlib.Path(known.table).read_text())


def init():
    with open(CALLS / "init", "a") as file:
        file.write(f"{os.getpid()}\n")


def called(index):
    """Which call of this mini-batch this is, from 0; safe against any death."""
    n = 0
    while True:
        try:
            os.close(os.open(CALLS / f"{index}.{n}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            n += 1
        else:
            return n


def run(mini_batch, context):
    index = int(context.minibatch_index)
    n = called(index)
    things = TABLE.get(str(index), [])
    thing = things[n] if n < len(things) else "ok"
    rows = (
        [f"{index} {os.path.basename(str(item))}" for item in mini_batch]
        if isinstance(mini_batch, list)
        else mini_batch
    )
    return FAULTS[thing](rows)


def ok(rows):
    return rows


def throw(rows):
    raise ValueError("the script says no")


def short(rows):
    return rows[:-1]


def none(rows):
    return None


def text(rows):
    return "one text"


def hang(rows):
    time.sleep(3600)


def hang_in_c(rows):
    # PyDLL keeps the GIL: no other thread of this process can run meanwhile.
    ctypes.PyDLL(None).sleep(3600)


def leave(rows):
    os._exit(7)


def segfault(rows):
    ctypes.string_at(0)


def memory(rows):
    held = []
    while True:
        held.append(bytearray(64 << 20))


def killed(rows):
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_exit(rows):
    if os.fork() == 0:
        sys.exit(3)
    os.wait()
    return rows


def fork_and_return(rows):
    if os.fork() == 0:
        return ["from the child"] * len(rows)
    os.wait()
    return rows


def fork_and_throw(rows):
    if os.fork() == 0:
        raise RuntimeError("from the child")
    os.wait()
    return rows


def exit_politely(rows):
    sys.exit(1)


def generator(rows):
    yield from rows


def chatty(rows):
    line = "x" * 1023
    for _ in range(1024):
        print(line)
    return rows


FAULTS = {
    "ok": ok,
    "raise": throw,
    "short": short,
    "none": none,
    "text": text,
    "hang": hang,
    "hang in C": hang_in_c,
    "exit": leave,
    "segfault": segfault,
    "memory": memory,
    "killed": killed,
    "fork + exit": fork_and_exit,
    "fork + return": fork_and_return,
    "fork + exception": fork_and_throw,
    "sys.exit": exit_politely,
    "generator": generator,
    "chatty": chatty,
}
