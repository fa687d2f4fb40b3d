"""The named faults: each is a function of the rows that run() would return, and gives what run() returns instead, if it returns."""

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time

from fault_world import WORKER, WORLD, line, parent_of

HELD = []


def ok(rows):
    return rows


# -- returns ---------------------------------------------------------------------------------------------------------


def short(rows):
    return rows[:-1]


def none(rows):
    return None


def text(rows):
    return "one text"


def mapping(rows):
    return {"a": 1}


class Unlengthy:
    def __len__(self):
        raise RuntimeError("no length")

    def __iter__(self):
        return iter(())


def unlengthy(rows):
    return Unlengthy()


def generator(rows):
    yield from rows


def endless(rows):
    while True:
        yield "x"
        time.sleep(0.001)


# -- exceptions ------------------------------------------------------------------------------------------------------


def throw(rows):
    raise ValueError("the script says no")


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("not even that")


def unspeakable(rows):
    raise Unspeakable


def sys_exit(rows):
    sys.exit(1)


def memory_error(rows):
    raise MemoryError


# -- hanging ---------------------------------------------------------------------------------------------------------


def hang(rows):
    time.sleep(3600)


def hang_in_c(rows):
    # PyDLL keeps the GIL: no other thread of this process can run meanwhile.
    ctypes.PyDLL(None).sleep(3600)


def stop(rows):
    os.kill(os.getpid(), signal.SIGSTOP)
    return rows


# -- sudden ends -----------------------------------------------------------------------------------------------------


def leave(rows):
    os._exit(7)


def segfault(rows):
    ctypes.string_at(0)


def kill(rows):
    os.kill(os.getpid(), signal.SIGKILL)


# -- memory ----------------------------------------------------------------------------------------------------------


def memory(rows):
    held = []
    while True:
        held.append(bytearray(64 << 20))


def grow(rows):
    # Unlike `memory`, this stays allocated when the call has failed.
    while True:
        HELD.append(bytearray(64 << 20))


GREEDY = "import sys; held = bytearray(300 << 20); print('full', flush=True); sys.stdin.read()"


def swell(rows):
    """A child that holds 300 MB; then hang."""
    child = subprocess.Popen([sys.executable, "-c", GREEDY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    (WORLD / "swollen").touch()
    time.sleep(3600)


def heavy(rows):
    """Hold 100 MB until the test has made the file `ended`."""
    HELD.append(bytearray(100 << 20))
    (WORLD / "heavy").touch()
    wait_for_file("ended")
    return rows


# -- children --------------------------------------------------------------------------------------------------------


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


def family(rows):
    """Two children, one in the process group and one in a session of its own; then hang."""
    for session in (False, True):
        child = subprocess.Popen(["sleep", "3600"], start_new_session=session)
        line("pids", child.pid)
    time.sleep(3600)


def daemon(rows):
    """A daemon of the classical kind: forked twice, in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        # Renamed, so that who sees the file sees the number in it.
        (WORLD / "pids.new").write_text(f"{os.getpid()}\n")
        os.rename(WORLD / "pids.new", WORLD / "pids")
        time.sleep(3600)
    os.wait()
    return rows


# -- habits ----------------------------------------------------------------------------------------------------------


def thread(rows):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return rows


def stdin(rows):
    assert sys.stdin.read() == ""
    return rows


def print_lines(rows):
    for _ in range(1024):
        print("x" * 1023)
    return rows


def print_much(rows):
    for _ in range(100):
        print("x" * (1 << 20))
    return rows


def close_streams(rows):
    sys.stdout.close()
    sys.stderr.close()
    return rows


def close_descriptors(rows):
    os.close(1)
    os.close(2)
    return rows


def move(rows):
    os.chdir("/")
    return rows


# -- rows that are committed, and clocks -----------------------------------------------------------------------------


def descriptors_of_parts():
    """As a script may find them that looks through its numbers."""
    found = []
    for number in range(3, 2048):
        try:
            if os.readlink(f"/proc/self/fd/{number}").endswith(".part"):
                found.append(number)
        except OSError:
            continue
    return found


def write_into_descriptors(rows):
    for number in descriptors_of_parts():
        os.write(number, b"!")
    return rows


def close_part(rows):
    for number in descriptors_of_parts():
        os.close(number)
    return rows


def cut_part(rows):
    for number in descriptors_of_parts():
        os.ftruncate(number, os.fstat(number).st_size // 2)
    return rows


def remove_part(rows):
    parts = sorted((WORLD / "run" / "steps" / "work" / "parts").glob("*.part"))
    if parts:
        random.choice(parts).unlink(missing_ok=True)
    return rows


def flip_bit(rows):
    """In the part of any processor."""
    for path in (WORLD / "run" / "steps" / "work" / "parts").glob("*.part"):
        with contextlib.suppress(OSError):
            flip_bit_of(path)
    return rows


def flip_bit_of(path):
    fd = os.open(path, os.O_RDWR)
    try:
        size = os.fstat(fd).st_size
        if size:
            at = random.randrange(size)
            os.pwrite(fd, bytes([os.pread(fd, 1, at)[0] ^ 1 << random.randrange(8)]), at)
    finally:
        os.close(fd)


def turn_clock(rows):
    """As the wall clock is set back a day, for this process."""
    now = time.time
    time.time = lambda: now() - 86_400
    return rows


# -- its own process -------------------------------------------------------------------------------------------------


def only_for_the_script(function, fake):
    """`function` where a module of the script's calls it, `fake` for daskpar."""

    def patched(*arguments, **options):
        ours = sys._getframe(1).f_globals.get("__name__", "").startswith("daskpar")
        return (fake if ours else function)(*arguments, **options)

    return patched


def refuse(*arguments, **options):
    raise RuntimeError("patched")


def freeze_clocks(rows):
    """As date-freezing packages do: in the module, and in every module that has the functions by name."""
    frozen = {}
    for name in ("time", "monotonic", "process_time", "perf_counter"):
        frozen[getattr(time, name)] = only_for_the_script(getattr(time, name), lambda: 1.0)
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if callable(value) and type(value) is type(len) and value in frozen:
                setattr(module, name, frozen[value])
    return rows


def patch_functions(rows):
    """All that a mock, a fake file system or a cooperative library takes over, in one."""
    import builtins
    import pickle
    import socket

    for module, names in (
        (os, "open write read close fstat ftruncate getpid get_inheritable"),
        (time, "sleep time monotonic process_time"),
        (pickle, "dumps loads"),
        (builtins, "print open"),
    ):
        for name in names.split():
            setattr(module, name, only_for_the_script(getattr(module, name), refuse))
    for name in ("send", "sendall", "recv", "fileno"):
        setattr(socket.socket, name, only_for_the_script(getattr(socket.socket, name), refuse))
    return rows


class Late(Exception):
    pass


def stray_alarms(rows):
    """An alarm every half millisecond from here on, whose handler raises wherever it is."""

    def in_our_code(number, frame):  # but for what runs on behalf of the script
        path = frame.f_code.co_filename
        if os.sep + "daskpar" + os.sep in path and not path.endswith(("context.py", "signal_guard.py")):
            raise Late

    signal.signal(signal.SIGALRM, in_our_code)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    return rows


def walk_modules(rows):
    for module in list(sys.modules.values()):
        for name in dir(module) + list(getattr(module, "__all__", [])):
            try:
                getattr(module, name)
            except Exception:  # other people's modules
                pass
    return rows


def on_descriptors(first, last, do):
    for fd in range(first, last):
        try:
            do(fd)
        except OSError:
            pass


def garbage(rows):
    on_descriptors(3, 60, lambda fd: os.write(fd, b"garbage\n"))
    return rows


def garbage_everywhere(rows):
    on_descriptors(3, 4096, lambda fd: os.write(fd, b"\xff" * 100))
    return rows


def cut_everything(rows):
    on_descriptors(3, 4096, lambda fd: os.ftruncate(fd, 0))
    return rows


def close_low(rows):
    os.closerange(3, 256)
    return rows


def close_all(rows):
    os.closerange(3, 65536)
    return rows


def close_and_reuse(rows):
    os.closerange(3, 65536)
    HELD.extend(os.open(WORLD / "victim", os.O_RDWR | os.O_CREAT) for _ in range(1021))
    return rows


def no_files(rows):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return rows


def no_files_for_good(rows):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return rows


def few_descriptors(rows):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (8, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return rows


def umask(rows):
    os.umask(0o777)
    return rows


def nowhere(rows):
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir("../gone")
    return rows


def no_streams(rows):
    sys.stdout = sys.stderr = None
    return rows


class Deaf:
    def write(self, text):
        raise KeyError(text)

    def flush(self):
        time.sleep(3600)


def deaf_streams(rows):
    sys.stdout = sys.stderr = Deaf()
    return rows


def shallow(rows):
    sys.setrecursionlimit(50)
    return rows


def unload_modules(rows):
    for name in list(sys.modules):
        if name.startswith("daskpar"):
            del sys.modules[name]
    return rows


def strict(rows):
    """What libraries may be told to be strict about."""
    import decimal
    import gc
    import locale
    import warnings

    warnings.simplefilter("error")
    decimal.getcontext().prec = 1
    decimal.getcontext().traps[decimal.Inexact] = True
    locale.setlocale(locale.LC_ALL, "C")
    gc.disable()
    threading.settrace(refuse)
    threading.setprofile(refuse)
    os.nice(1)
    return rows


# -- nodes -----------------------------------------------------------------------------------------------------------


def kill_worker(rows):
    os.kill(WORKER, signal.SIGKILL)
    time.sleep(3600)


def kill_worker_and_go_on(rows):
    # It may be through with its block before its end reaches it.
    os.kill(WORKER, signal.SIGKILL)
    return rows


def stop_worker(rows):
    os.kill(WORKER, signal.SIGSTOP)
    return rows


def nanny():
    """The process that keeps the Dask worker; between them may be the one from which Dask forks its workers."""
    above = parent_of(WORKER)
    with open(f"/proc/{above}/cmdline") as file:
        return parent_of(above) if "forkserver" in file.read() else above


def kill_nanny(rows):
    os.kill(nanny(), signal.SIGKILL)
    return rows


def kill_fork_server(rows):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)


def kill_node(rows):
    os.kill(nanny(), signal.SIGKILL)
    kill_worker(rows)


# -- the test acts ---------------------------------------------------------------------------------------------------


def call(rows):
    """Tell the test which process this is, and go on when it has made the file `go`."""
    line("wanted", os.getpid())
    wait_for_file("go")
    return rows


def wait_for_file(name):
    while not (WORLD / name).exists():
        time.sleep(0.01)


FAULTS = {
    "ok": ok,
    "short": short,
    "none": none,
    "text": text,
    "mapping": mapping,
    "unlengthy": unlengthy,
    "generator": generator,
    "endless": endless,
    "raise": throw,
    "unspeakable": unspeakable,
    "sys.exit": sys_exit,
    "memory error": memory_error,
    "hang": hang,
    "hang in C": hang_in_c,
    "stop": stop,
    "exit": leave,
    "segfault": segfault,
    "kill": kill,
    "memory": memory,
    "grow": grow,
    "swell": swell,
    "heavy": heavy,
    "fork + exit": fork_and_exit,
    "fork + return": fork_and_return,
    "fork + exception": fork_and_throw,
    "family": family,
    "daemon": daemon,
    "thread": thread,
    "stdin": stdin,
    "print lines": print_lines,
    "print much": print_much,
    "close streams": close_streams,
    "close descriptors": close_descriptors,
    "move": move,
    "write into descriptors": write_into_descriptors,
    "close part": close_part,
    "cut part": cut_part,
    "remove part": remove_part,
    "flip bit": flip_bit,
    "turn clock": turn_clock,
    "freeze clocks": freeze_clocks,
    "patch functions": patch_functions,
    "stray alarms": stray_alarms,
    "walk modules": walk_modules,
    "garbage": garbage,
    "garbage everywhere": garbage_everywhere,
    "cut everything": cut_everything,
    "close low": close_low,
    "close all": close_all,
    "close and reuse": close_and_reuse,
    "no files": no_files,
    "no files for good": no_files_for_good,
    "few descriptors": few_descriptors,
    "umask": umask,
    "nowhere": nowhere,
    "no streams": no_streams,
    "deaf streams": deaf_streams,
    "shallow": shallow,
    "unload modules": unload_modules,
    "strict": strict,
    "kill worker": kill_worker,
    "kill worker, go on": kill_worker_and_go_on,
    "stop worker": stop_worker,
    "kill nanny": kill_nanny,
    "kill node": kill_node,
    "kill fork server": kill_fork_server,
    "call": call,
}
OF_THE_NODE = {
    "kill worker",
    "kill worker, go on",
    "stop worker",
    "kill nanny",
    "kill node",
    "kill fork server",
}
"""Faults that hit the whole node and not the processor alone."""
