"""What a forked child does before it hosts user code, or becomes a command: streams, folder, environment,
limits.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import sys
from dataclasses import dataclass, field
from typing import TextIO

from daskpar.paths import process_name
from daskpar.processor.fork_server import Order
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Page


def _redirect(path: str, target: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    os.dup2(fd, target)
    os.close(fd)


def _text_stream(fd: int) -> TextIO:
    return os.fdopen(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


@dataclass(frozen=True)
class CommandOrder(Order):
    """Become `/bin/sh -c command`."""

    command: str
    cwd: str
    stdout: str
    stderr: str
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, fds: list[int]) -> None:
        """In the forked child; does not return."""
        _redirect(self.stdout, 1)
        _redirect(self.stderr, 2)
        os.chdir(self.cwd)
        shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
        os.execve(shell, [shell, "-c", self.command], {**os.environ, **self.environment})


@dataclass(frozen=True)
class ProcessorOrder(Order):
    """Become processor `number`. File descriptors: control socket, page."""

    settings: ProcessorSettings
    number: int

    def run(self, fds: list[int]) -> None:
        """In the forked child; returns when the processor has ended well."""
        from daskpar.processor.host import Host

        settings, name = self.settings, process_name(self.number)
        logs, node = settings.log_paths, settings.node
        _redirect(str(logs.stdout(node, self.number)), 1)
        _redirect(str(logs.stderr(node, self.number)), 2)
        logs.stacks(node, self.number).parent.mkdir(parents=True, exist_ok=True)
        stacks = os.open(
            logs.stacks(node, self.number), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666
        )
        # The server's stream objects may be shared with nothing here: fresh ones, line by line, so that the
        # order of prints is kept.
        sys.stdout, sys.stderr = _text_stream(1), _text_stream(2)
        cwd = os.path.join(settings.work, str(node), name)
        os.makedirs(cwd, exist_ok=True)
        os.chdir(cwd)
        self._environment(name)
        self._limits()
        sys.argv = [settings.entry_script, *settings.arguments]
        import multiprocessing

        multiprocessing.current_process().name = name
        if (numpy_random := sys.modules.get("numpy.random")) is not None:
            # Python's own `random` sees to that itself; numpy's would give the same numbers in every
            # processor
            numpy_random.seed()
        self._logging(name)
        for fd in fds:
            os.set_inheritable(fd, False)
        sock, page = socket.socket(fileno=fds[0]), Page(fds[1])
        Host(settings, self.number, sock, page, stacks).live()

    def watch(self, fds: list[int]) -> tuple[ProcessorSettings, Page]:
        """In the fork server: the page is read once more should the node be killed."""
        return self.settings, Page(os.dup(fds[1]))

    def _environment(self, name: str) -> None:
        settings = self.settings
        os.environ.setdefault("AZUREML_RUN_ID", f"{settings.run_id}-{settings.step}")
        os.environ.setdefault("AZUREML_BI_OUTPUT_PATH", settings.output_dir)
        os.environ.setdefault("MLFLOW_TRACKING_URI", f"file://{settings.working_dir}/mlruns")
        os.environ["DASKPAR_PROCESSOR"] = name
        if settings.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = (
                settings.gpus[self.number] if self.number < len(settings.gpus) else ""
            )
            os.environ["AZ_BATCHAI_GPU_COUNT_FOUND"] = str(len([gpu for gpu in settings.gpus if gpu]))

    def _limits(self) -> None:
        if self.settings.nice:
            os.nice(self.settings.nice)
        if self.settings.memory_limit:
            limit = self.settings.memory_limit
            # Private memory. Address space that the libraries have only reserved so far (a gigabyte by
            # Arrow's allocator) comes on top.
            limit += _reserved()
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        # A core file of each crash would fill the working folders.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def _logging(self, name: str) -> None:
        from daskpar.processor.context import offer_helper

        settings = self.settings
        logging.basicConfig(
            stream=sys.stdout,
            level=settings.logging_level,
            format="%(asctime)s|%(levelname)s|%(process)d|%(name)s|%(message)s",
            force=True,
        )
        offer_helper(
            logging_level=settings.logging_level,
            log_dir=str(settings.log_paths.script_log(settings.node)),
            output_dir=settings.output_dir,
            working_dir=settings.working_dir,
            agent_name=name,
        )


def _reserved() -> int:
    """Bytes of private address space that hold nothing yet."""
    try:
        with open("/proc/self/status") as file:
            kilobytes = {
                line.split(":")[0]: int(line.split()[1])
                for line in file
                if line.startswith(("VmData:", "RssAnon:"))
            }
    except OSError:
        return 0
    return max(0, kilobytes.get("VmData", 0) - kilobytes.get("RssAnon", 0)) * 1024
