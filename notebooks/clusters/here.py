"""Clusters on this machine, for clusters.ipynb: each is a context that starts one and ends it."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep


def lacks(*, programs=(), packages=(), root=False):
    """What this machine lacks of what is asked for, as a text; empty where it has all."""
    found = [program for program in programs if not program_path(program)]
    found += [package for package in packages if importlib.util.find_spec(package) is None]
    return ", ".join(found + (["root"] if root and os.getuid() else []))


def program_path(name):
    """Where a program is; those that start by themselves lie where an ordinary PATH does not look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_port():
    """A port that nobody has."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@contextmanager
def program(*command, **more):
    """A program while it is needed."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def until(is_there, what):
    """Wait for something that was started."""
    end = monotonic() + 60
    while not is_there():
        if monotonic() > end:
            raise TimeoutError(f"{what} has not come within a minute")
        sleep(0.05)


@contextmanager
def by_hand(workers=2):
    """A Dask scheduler and its workers, as one starts them on the machines of a cluster; its file."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "scheduler.json"
        dask = (sys.executable, "-m", "dask")
        at = ("--scheduler-file", str(file), "--no-dashboard")
        stack.enter_context(program(*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *at))
        for _ in range(workers):
            more = ("--nthreads", "1", "--no-nanny", "--local-directory", folder)
            stack.enter_context(program(*dask, "worker", *at, *more))
        until(lambda: file.exists() and file.read_text().rstrip().endswith("}"), "the scheduler")
        yield str(file)


@contextmanager
def sshd():
    """An SSH server of this user on the loopback address: how SSHCluster connects to it."""
    with tempfile.TemporaryDirectory() as folder:
        key, port = f"{folder}/key", free_port()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        options = {
            "ListenAddress": "127.0.0.1",
            "HostKey": key,
            "AuthorizedKeysFile": f"{key}.pub",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
        }
        if not os.getuid():
            Path("/run/sshd").mkdir(exist_ok=True)
        said = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        with program(program_path("sshd"), "-D", "-f", "/dev/null", "-p", str(port), *said):
            until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "sshd")
            yield {"port": port, "client_keys": [key], "known_hosts": None}


SLURM = """
ClusterName=here
SlurmctldHost={host}
SlurmctldPort={one}
SlurmdPort={two}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory}
PartitionName=main Nodes=ALL Default=YES State=UP
"""


@contextmanager
def slurm():
    """A SLURM of one node, which is this machine; root alone can start one."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        written = SLURM.format(
            host=socket.gethostname().partition(".")[0],
            folder=folder,
            one=free_port(),
            two=free_port(),
            cores=os.cpu_count(),
            memory=memory * 9 // 10,
        )
        Path(folder, "slurm.conf").write_text(written)
        # Nothing here uses cgroups; how one says so has changed.
        version = int(output(program_path("slurmd"), "-V").split()[-1].split(".")[0])
        cgroup = "disabled" if version > 22 else "cgroup/v1"
        Path(folder, "cgroup.conf").write_text(f"CgroupPlugin={cgroup}\n")
        os.chmod(folder, 0o755)
        key = Path(folder, "munge.key")
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        munge = {"key-file": key, "socket": f"{folder}/munge.socket", "pid-file": f"{folder}/munge.pid"}
        munge |= {"log-file": f"{folder}/munge.log", "seed-file": f"{folder}/munge.seed"}
        said = [f"--{name}={value}" for name, value in munge.items()]
        stack.enter_context(program(program_path("munged"), "--foreground", "--force", *said))
        until(Path(folder, "munge.socket").exists, "munged")
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
        try:
            stack.enter_context(program(program_path("slurmctld"), "-D"))
            stack.enter_context(program(program_path("slurmd"), "-D"))
            until(lambda: "idle" in output("sinfo", "-h", "-o", "%T"), "the node of SLURM")
            yield
        finally:
            stack.close()
            os.environ.pop("SLURM_CONF")
            if before is not None:
                os.environ["SLURM_CONF"] = before


def output(*command):
    """What a program prints."""
    return subprocess.run(command, capture_output=True, text=True).stdout
