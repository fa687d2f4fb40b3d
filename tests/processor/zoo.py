"""An entry script that does to each mini-batch what `zoo.json` beside it says: {"index": "what"}; calls are counted in `calls`."""

import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).parent
TABLE = json.loads((HERE / "zoo.json").read_text())


def init():
    what = TABLE.get("init", "")
    if what == "raise":
        raise ValueError("no model here")
    if what == "exit":
        os._exit(5)
    if what == "hang":
        (HERE / "in-init").touch()
        time.sleep(3600)


def shutdown():
    what = TABLE.get("shutdown", "")
    (HERE / f"shutdown.{os.getpid()}").touch()
    if what == "raise":
        raise ValueError("no way down")
    if what == "hang":
        time.sleep(3600)


def run(mini_batch, context):
    index = context.minibatch_index
    with open(HERE / "calls", "a") as file:
        file.write(f"{index}\n")
    what = TABLE.get(str(index), "ok")
    return globals()[what.replace(" ", "_")](list(mini_batch))


def ok(rows):
    return [f"row {row}" for row in rows]


def throw(rows):
    raise ValueError("says no")


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("not even that")


def unspeakable(rows):
    raise Unspeakable


class Unlengthy:
    def __len__(self):
        raise RuntimeError("no length")

    def __iter__(self):
        return iter(())


def unlengthy(rows):
    return Unlengthy()


def short(rows):
    return []


def none(rows):
    return None


def text(rows):
    return "text"


def mapping(rows):
    return {"a": 1}


def generator(rows):
    yield from ok(rows)


def endless(rows):
    while True:
        yield "x"
        time.sleep(0.001)


def hang(rows):
    time.sleep(3600)


def hang_in_c(rows):
    ctypes.PyDLL(None).sleep(3600)


def leave(rows):
    os._exit(7)


def segfault(rows):
    ctypes.string_at(0)


def killed(rows):
    os.kill(os.getpid(), signal.SIGKILL)


def memory(rows):
    raise MemoryError


def fork_and_exit(rows):
    if os.fork() == 0:
        sys.exit(3)
    os.wait()
    return ok(rows)


def fork_and_return(rows):
    if os.fork() == 0:
        return ["from the child"]
    os.wait()
    return ok(rows)


def fork_and_throw(rows):
    if os.fork() == 0:
        raise RuntimeError("from the child")
    os.wait()
    return ok(rows)


def thread(rows):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return ok(rows)


def stdin(rows):
    assert sys.stdin.read() == ""
    return ok(rows)


def chatty(rows):
    for _ in range(100):
        print("x" * (1 << 20))
    return ok(rows)


def close_streams(rows):
    sys.stdout.close()
    sys.stderr.close()
    return ok(rows)


def close_descriptors(rows):
    os.close(1)
    os.close(2)
    return ok(rows)


def move(rows):
    os.chdir("/")
    return ok(rows)


def family(rows):
    """Grandchildren: one in the group, one in a session of its own; then hang with them."""
    for session in (False, True):
        child = subprocess.Popen(["sleep", "3600"], start_new_session=session)
        with open(HERE / "pids", "a") as file:
            file.write(f"{child.pid}\n")
    time.sleep(3600)


def daemon(rows):
    """A daemon of the classical kind: forked twice, in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        (HERE / "pids.new").write_text(f"{os.getpid()}\n")
        os.rename(HERE / "pids.new", HERE / "pids")
        time.sleep(3600)
    os.wait()
    return ok(rows)


def kill_parent(rows):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)


HELD = []
GREEDY = "import sys; held = bytearray(300 << 20); print('full', flush=True); sys.stdin.read()"


def swell(rows):
    child = subprocess.Popen([sys.executable, "-c", GREEDY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    (HERE / "swollen").touch()
    time.sleep(3600)


def heavy(rows):
    HELD.append(bytearray(100 << 20))
    (HERE / "heavy").touch()
    while not (HERE / "ended").exists():
        time.sleep(0.01)
    return ok(rows)
