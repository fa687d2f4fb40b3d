"""Sets up a forked child before it runs user code or a command: streams, folder, variables, limits."""

from __future__ import annotations

import functools
import logging
import os
import resource
import signal
import socket
import sys
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from daskpar import masking
from daskpar.datastores import take_options
from daskpar.own_calls import moved_up
from daskpar.paths import process_name
from daskpar.processor import own_disk
from daskpar.processor.azure_variables import azure_variables
from daskpar.processor.fork_protocol import ChildTask
from daskpar.processor.leftovers import fresh_folder, temporary_folder, use_temporary_folder
from daskpar.processor.output_sweep import Uploads
from daskpar.processor.private_mounts import NO_GUARD, Guard
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.rate_page import RatePage
from daskpar.processor.shared_page import SharedPage
from daskpar.processor.slot_page import SlotPage
from daskpar.processor.stacks import open_stacks
from daskpar.processor.std_streams import redirect, text_stream
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.processor.host import Host

LOG_FORMAT = "%(asctime)s|%(levelname)s|%(process)d|%(name)s|%(message)s"
"""Of what a script logs without setting anything up."""


@frozen
class CommandTask(ChildTask):
    """Become `/bin/sh -c command`."""

    command: str
    cwd: str
    stdout: str
    stderr: str
    environment: dict[str, str] = field(default_factory=dict)
    guard: Guard = NO_GUARD

    def run(self, fds: list[int]) -> None:
        """In the forked child; does not return."""
        _apply(self.guard)
        redirect(self.stdout, 1)
        redirect(self.stderr, 2)
        os.chdir(self.cwd)
        # Python ignores these, for it has exceptions in their place; programs count on dying by them.
        for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ"):
            if number := getattr(signal, name, None):
                signal.signal(number, signal.SIG_DFL)
        shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
        os.execve(shell, [shell, "-c", self.command], {**os.environ, **self.environment})


@frozen
class ProcessorTask(ChildTask):
    """Become processor `number`. Descriptors: control socket, page, that of a rate limit."""

    settings: ProcessorSettings
    number: int
    keep_folder: bool = False
    """Whether it goes on in the working folder of the processor before it, which has ended in order."""

    def run(self, fds: list[int]) -> None:
        """In the forked child; returns when the processor has ended well."""
        sock = socket.socket(fileno=moved_up(fds[0]))
        try:
            host = self._set_up(sock, fds)
        except OSError as error:
            own_disk.tell_of(error, sock, "a processor can't be started")
            return
        host.run()

    def _set_up(self, sock: socket.socket, fds: list[int]) -> Host:
        from daskpar.processor.host import Host

        settings, name = self.settings, process_name(self.number)
        if settings.uploads is not None:
            settings = self._with_own_outputs(settings.uploads)
        if settings.container is None:  # else what is mounted there is read-only already
            _apply(settings.guard)
        logs, node = settings.log_paths, settings.node
        redirect(logs.stdout(node, self.number), 1)
        redirect(logs.stderr(node, self.number), 2)
        stacks = moved_up(open_stacks(logs.stacks(node, self.number)))
        # Fresh stream objects: what the server's ones hold is the server's to write.
        sys.stdout, sys.stderr = text_stream(1), text_stream(2)
        directory = settings.working_directory(self.number)
        if not self.keep_folder:
            fresh_folder(directory)
        directory.mkdir(parents=True, exist_ok=True)
        os.chdir(directory)
        use_temporary_folder(temporary_folder(settings, os.getpid()))
        self.set_environment(name)
        self._set_limits()
        take_options(settings.storage)
        # What it takes from its environment is not repeated in our own lines of its stderr.
        masking.remember(value for name, value in settings.environment.items() if masking.is_secret(name))
        sys.argv = [settings.entry_script, *settings.arguments]
        import multiprocessing

        multiprocessing.current_process().name = name
        if (numpy_random := sys.modules.get("numpy.random")) is not None:
            # Forked copies of numpy's generator would give the same numbers in every processor; Python's
            # own `random` seeds itself again after a fork.
            numpy_random.seed()
        self.set_up_logging(name)
        page = (SlotPage if settings.in_flight else SharedPage).of_processor(fds[1])
        rate_page = RatePage(moved_up(fds[2])) if len(fds) > 2 else None
        return Host(settings, self.number, sock, page, stacks, rate_page)

    def _with_own_outputs(self, uploads: Uploads) -> ProcessorSettings:
        """The settings with arguments and variables that name this processor's own, empty output folders."""
        settings = self.settings
        folders = uploads.of(settings.node, self.number)
        folders.make()
        for name, value in os.environ.items():
            if uploads.filled in value:  # set in the fork server, for all processors
                os.environ[name] = folders.named_in(value)
        return replace(
            settings,
            arguments=tuple(map(folders.named_in, settings.arguments)),
            environment={name: folders.named_in(value) for name, value in settings.environment.items()},
        )

    def watched_page(self, fds: list[int]) -> tuple[ProcessorSettings, SharedPage]:
        """In the fork server, which reads the page once more should the node be killed."""
        return self.settings, (SlotPage if self.settings.in_flight else SharedPage)(os.dup(fds[1]))

    def temporary_folder(self, pid: int) -> str:
        """In the fork server, which removes it."""
        return temporary_folder(self.settings, pid)

    def set_environment(self, name: str) -> None:
        """Set what scripts find in their environment, beside the step's own variables."""
        settings = self.settings
        variables = azure_variables(
            run_id=settings.run_id, step=settings.step, folder=settings.working_dir, logs=settings.logs
        )
        for variable, value in {**variables, "AZUREML_BI_OUTPUT_PATH": settings.output_dir}.items():
            os.environ.setdefault(variable, value)
        os.environ["DASKPAR_PROCESSOR"] = name
        if settings.gpus:
            device = settings.gpus[self.number] if self.number < len(settings.gpus) else ""
            if "CUDA_VISIBLE_DEVICES" not in os.environ:
                # Numbers are ours then: as the driver and its tools count, not by which is the fastest.
                os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            os.environ["CUDA_VISIBLE_DEVICES"] = device
            known = {gpu for text in settings.gpus for gpu in text.split(",") if gpu}
            os.environ["AZ_BATCHAI_GPU_COUNT_FOUND"] = str(len(known))

    def _set_limits(self) -> None:
        if self.settings.nice:
            os.nice(self.settings.nice)
        if self.settings.memory_limit:
            # RLIMIT_DATA counts private memory that is only reserved, too (setrlimit(2)): libraries have
            # reserved address space at their import, Arrow's allocator a gigabyte, which comes on top.
            limit = self.settings.memory_limit + _reserved_bytes()
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        # A core file of each crash would fill the working folders.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def set_up_logging(self, name: str) -> None:
        """Have `logging` write to the output, and `azureml_user.parallel_run` importable."""
        from daskpar.processor.context import provide_helper

        settings = self.settings
        logging.basicConfig(
            stream=sys.stdout,
            level=settings.logging_level,
            format=LOG_FORMAT,
            force=True,
        )
        _step_aside_for_scripts(logging.getLogger().handlers[0])
        provide_helper(
            logging_level=settings.logging_level,
            log_dir=str(settings.log_paths.script_log(settings.node)),
            output_dir=settings.output_dir,
            working_dir=settings.working_dir,
            agent_name=name,
        )


def _step_aside_for_scripts(ours: logging.Handler) -> None:
    """Let `logging.basicConfig` of the script have the effect that it has in a fresh Python.

    It does nothing where the root logger has a handler, and there is `ours`.
    """
    plain = logging.basicConfig

    @functools.wraps(plain)
    def basic_config(**options: Any) -> None:
        root = logging.getLogger()
        if options and root.handlers == [ours]:
            if not any(options.get(place) for place in ("filename", "stream", "handlers")):
                # It names no place: that stays the log of the processor's output.
                options = {"format": LOG_FORMAT, **options, "stream": sys.stdout}
            root.removeHandler(ours)
        plain(**options)

    logging.basicConfig = basic_config


def _apply(guard: Guard) -> None:
    """Before the working directory is entered: through one that was entered before, mounts are not seen."""
    try:
        guard.apply()
    except OSError as error:
        raise RuntimeError(
            f"the inputs can't be made read-only on this node ({error}); "
            "with DASKPAR_INPUTS=links in the environment of the driver, scripts see a tree of links instead"
        ) from error


def _reserved_bytes() -> int:
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
