"""What a node and its processors use of the machine, for the memory watchdog and the files in `sys/perf`."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from daskpar.paths import process_name

if TYPE_CHECKING:
    from daskpar.processor.protocol import Sampled

_MB = 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")


def free_memory() -> tuple[int, int]:
    """(available, total) bytes of the machine's memory, or of the control group with the smallest share left.

    (0, 0) where none can be read.
    """
    total = available = 0
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo") as file:
        facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
        total, available = facts.get("MemTotal", 0), facts.get("MemAvailable", 0)
    found = [
        (max(0, limit - used), limit)
        for limit, used in map(_memory_of, control_groups("memory"))
        if 0 < limit < total
    ]
    return min([(available, total), *found], key=lambda pair: pair[0] / max(1, pair[1]))


def control_groups(
    controller: str, own: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup"
) -> list[Path]:
    """Folders of the control groups (cgroups(7), versions 1 and 2) of this process, from the innermost up."""
    try:
        lines = [line.split(":", 2) for line in Path(own).read_text().splitlines()]
    except OSError:
        lines = [["0", "", "/"]]
    folders: list[Path] = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers and controller not in controllers.split(","):
            continue
        base = Path(root, controller) if controllers else Path(root)
        # Within a container the path may be one of the machine's, of which only the end is seen here.
        names = [name for name in path.split("/") if name and name != ".."]
        folders += [base.joinpath(*names[:depth]) for depth in range(len(names), -1, -1)]
    return folders


def _memory_of(folder: Path) -> tuple[int, int]:
    for names in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            limit, used = ((folder / name).read_text().strip() for name in names)
            if not limit.isdigit():
                return 0, 0
            # Pages of files that are only cached count as used, but give way.
            cached = 0
            with contextlib.suppress(OSError, ValueError, IndexError):
                for line in (folder / "memory.stat").read_text().splitlines():
                    if line.startswith(("total_inactive_file ", "inactive_file ")):
                        cached = max(cached, int(line.split()[1]))
            return int(limit), max(0, int(used) - cached)
    return 0, 0


def cores() -> int:
    """Cores that this process may use by its affinity and the limits of its control groups, rounded up."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in control_groups("cpu") if (quota := cpu_quota(folder))]
    return max(1, min([found, *map(math.ceil, quotas)]))


def cpu_quota(folder: Path) -> float:
    """How many cores a control group may use at a time; 0 where that is not limited."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        quota, period = (folder / "cpu.max").read_text().split()[:2]
        return 0.0 if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, IndexError, ZeroDivisionError):
        quota, period = ((folder / name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        return max(0.0, int(quota) / int(period))
    return 0.0


def oom_kills() -> int:
    """How many processes of this machine or control group the kernel has killed for want of memory.

    0 where it does not count them.
    """
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(path) as file:
            counts = [int(line.split()[1]) for line in file if line.startswith("oom_kill ")]
            if counts:
                return counts[0]
    return 0


class OomKillCounter:
    """Notices that the kernel has killed processes for want of memory."""

    def __init__(self) -> None:
        self._last = oom_kills()

    def any_since_last_time(self) -> bool:
        """Whether there were any since this was asked last, or since the counter was made."""
        before, self._last = self._last, oom_kills()
        return self._last > before


def resident_bytes(pid: int) -> int:
    """Resident memory of one process; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def processor_seconds(pid: int) -> float:
    """Time that one process has spent on processors; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def proportional_bytes(pid: int) -> int:
    """The same with a page that N processes share counted as 1/N of it; what `resident_bytes` says where the
    kernel does not tell."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return resident_bytes(pid)


def sample(node: int, processors: Mapping[int, int]) -> Sampled:
    """One sample of the node and of its processors (number -> pid)."""
    import psutil

    memory, disk, network = psutil.virtual_memory(), psutil.disk_io_counters(), psutil.net_io_counters()
    kinds = [connection.type.name for connection in _connections(psutil)]
    # The names follow the columns of Azure ML's own files in `sys/perf`.
    node_usage = {
        "Cpu Percent": psutil.cpu_percent(),
        "Memory Total (MB)": memory.total / _MB,
        "Memory Available (MB)": memory.available / _MB,
        "Memory Used (MB)": memory.used / _MB,
        "Memory Used Percent": memory.percent,
        "Disk Io Read Count": float(disk.read_count) if disk else 0.0,
        "Disk Io Write Count": float(disk.write_count) if disk else 0.0,
        "Disk Io Read (MB)": disk.read_bytes / _MB if disk else 0.0,
        "Disk Io Write (MB)": disk.write_bytes / _MB if disk else 0.0,
        "Network Sent (MB)": network.bytes_sent / _MB,
        "Network Recv (MB)": network.bytes_recv / _MB,
        "# of TCP Connections": float(kinds.count("SOCK_STREAM")),
        "# of UDP Connections": float(kinds.count("SOCK_DGRAM")),
    }
    usage = psutil.disk_usage("/")
    disk_usage = {
        "Disk Total (MB)": usage.total / _MB,
        "Disk Used (MB)": usage.used / _MB,
        "Disk Free (MB)": usage.free / _MB,
    }
    rows = []
    for number, pid in processors.items():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                rows.append(
                    {
                        "Process": process_name(number),
                        "Pid": pid,
                        "Cpu Seconds": times.user + times.system,
                        "Memory Rss (MB)": process.memory_info().rss / _MB,
                        "Threads": process.num_threads(),
                        "Status": process.status(),
                    }
                )
    from daskpar.processor.protocol import Sampled  # not needed to start a fork server

    return Sampled(
        node=node, time=time(), node_usage=node_usage, disk_usage=disk_usage, processes=tuple(rows)
    )


def _connections(psutil: Any) -> Any:
    try:
        return psutil.net_connections(kind="inet")
    except (psutil.Error, OSError):
        return []
