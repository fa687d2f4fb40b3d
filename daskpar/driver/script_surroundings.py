"""What a script finds round it in a processor, for this process: variables, folders, arguments, inputs."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from daskpar import masking
from daskpar.driver.found_mini_batch import Found
from daskpar.engine.fetch_settings import fetching_of
from daskpar.engine.rules.gpu_shares import shares_of
from daskpar.engine.server_needs import local_threads
from daskpar.jobspec.env_references import resolved_values
from daskpar.jobspec.input_access import Access
from daskpar.paths import RunPaths, process_name
from daskpar.processor.fork_server import ALLOCATION, THREAD_VARIABLES
from daskpar.processor.gpus.gpu_readings import gpus_here
from daskpar.processor.private_mounts import Guard
from daskpar.processor.protocol import ProcessorSettings, SeenInput

AT_START = ("LD_", "PYTHON", "MALLOC_")
"""Beginnings of variables that a process takes from its environment only when it starts."""
PROCESSOR = 0
"""The number of the processor that this process stands for."""
_changing = threading.RLock()
"""Held by the thread whose try has changed the surroundings: a try within a try puts back in order."""


def set_variables(found: Found) -> tuple[str, ...]:
    """Set the variables of the step, and those that processors get; before numpy and the like are imported.

    Returns the names of those that come too late for this process.
    """
    step = found.step
    threads = local_threads(max(1, step.instance_count), step.max_concurrency_per_instance)
    own = resolved_values(step.environment_variables, os.environ)
    for name, value in {**dict.fromkeys(THREAD_VARIABLES, str(threads)), **ALLOCATION}.items():
        os.environ.setdefault(name, value)
    os.environ.update(own)
    sys.path[:] = (
        [*own.get("PYTHONPATH", "").split(os.pathsep), *sys.path] if "PYTHONPATH" in own else sys.path
    )
    return tuple(name for name in own if name.startswith(AT_START) and name != "PYTHONPATH")


def leave_current_folder_off_path() -> None:
    """`python -m` puts the current folder on the path of imports, where processors do not have it.

    This package stays importable where it was found there: behind all others.
    """
    here, root = os.getcwd(), str(Path(__file__).parents[2])
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if sys.path and sys.path[0] in ("", here) and here not in given:
        del sys.path[0]
        if root == here:
            sys.path.append(root)


def settings_here(found: Found, scratch: Path) -> ProcessorSettings:
    """The settings of the processor that this process stands for; makes its folders and outputs."""
    from daskpar.engine.processor_settings import settings_of
    from daskpar.outputs.output_folders import prepare

    step = found.step
    prepare(step.outputs)
    settings = settings_of(
        step, RunPaths(scratch).step(step.name), found.plan, run_id=found.run_id, tabular=found.tabular
    )
    shares = shares_of(settings)
    split = [step.inputs[name] for name in step.input_data]
    fetching = fetching_of(step, RunPaths(scratch).step(step.name), None if found.tabular else found.plan)
    return replace(
        settings,
        fetching=None if fetching is None else replace(fetching, root=fetching.folder),
        gpus=shares.dealt(seen, 1) if (seen := shares.seen(gpus_here())) else (),
        seen=tuple(
            SeenInput(path=data.path, seen=data.seen, copied=data.access == Access.COPY)
            for data in split
            if data.is_laid_out
        ),
    )


def lay_out(found: Found, scratch: Path) -> None:
    """Make the copies and links of inputs that scripts see in their place.

    Of the input that is split, only the files of the mini-batch are copied, when it is loaded.
    """
    from daskpar.data.fetch_file import fetch_all, remote_kind, whole_files
    from daskpar.engine.input_copies import lay_out_inputs

    step = found.step
    split = set(step.input_data)
    lay_out_inputs(
        [
            data
            for name, data in step.inputs.items()
            if not (name in split and data.access == Access.COPY and found.step.input_data)
        ],
        str(found.run or scratch),
    )
    fetching = fetching_of(step, RunPaths(scratch).step(step.name))
    for each in () if fetching is None else fetching.whole:
        fetch_all(whole_files(each.url, each.seen, remote_kind(each.url, each.type)))


def guard_here(found: Found, scratch: Path) -> Guard:
    """What this process can't change from now on: inputs that are read-only for scripts, and the run."""
    mounted = [data.path for data in found.step.inputs.values() if data.access == Access.MOUNT]
    if not mounted:
        return Guard()
    run = [str(found.run)] if found.run is not None else []
    return Guard(read_only=(*mounted, *run), writable=(str(scratch),))


def enter(settings: ProcessorSettings, scratch: Path) -> None:
    """Go to the working folder, and take over arguments, variables and logging of the processor."""
    from daskpar.processor.child_setup import ProcessorTask
    from daskpar.processor.leftovers import use_temporary_folder

    name = process_name(PROCESSOR)
    folder = settings.working_directory(PROCESSOR)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    if "TMPDIR" not in settings.environment:
        use_temporary_folder(str(scratch / "tmp"))
    task = ProcessorTask(settings, PROCESSOR)
    task.set_environment(name)
    masking.remember(value for name, value in settings.environment.items() if masking.is_secret(name))
    sys.argv = [settings.entry_script, *settings.arguments]
    multiprocessing.current_process().name = name
    task.set_up_logging(name)


@contextmanager
def restored(say: Callable[[str], object]) -> Iterator[None]:
    """Afterwards this process is as it was before: for a notebook, which goes on.

    What is changed meanwhile is of the whole process, so that a second thread waits here, and `say` gets told
    that it does.
    """
    if not _changing.acquire(blocking=False):
        say("waits for the mini-batch that another thread tries: folder and variables are the process's")
        _changing.acquire()
    with ExitStack() as afterwards:  # each of them is put back, whatever becomes of the others
        afterwards.callback(_changing.release)
        process = multiprocessing.current_process()
        afterwards.callback(setattr, tempfile, "tempdir", tempfile.tempdir)
        afterwards.callback(setattr, process, "name", process.name)
        afterwards.callback(sys.path.__setitem__, slice(None), list(sys.path))
        afterwards.callback(setattr, sys, "argv", sys.argv)
        root = logging.root
        afterwards.callback(_set_logging, list(root.handlers), root.level, logging.basicConfig)
        afterwards.callback(_set_environment, dict(os.environ))
        afterwards.callback(os.chdir, os.getcwd())
        yield


def _set_environment(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _set_logging(handlers: Sequence[logging.Handler], level: int, basic_config: Callable[..., None]) -> None:
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.basicConfig = basic_config
    # What the script's own logger was set up with lies in the folder of this try.
    logging.getLogger("EntryScript").handlers.clear()


def forget_modules(settings: ProcessorSettings) -> None:
    """Have the script and what lies beside it imported anew: they may have been changed since."""
    folders = [settings.code, os.path.dirname(settings.entry_script)]
    roots = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders if folder)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if (
            name.partition(".")[0] not in ("__main__", "daskpar")
            and file
            and os.path.realpath(file).startswith(roots)
            and "site-packages" not in file
        ):
            del sys.modules[name]
