"""daskpar: Azure ML parallel jobs on Dask, dataframe-native, on a laptop or a cluster.

The public door; everything is loaded on first use, because processors import this package too and must start
fast.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from daskpar._version import __version__

if sys.version_info < (3, 11):  # noqa: UP036 - the processors of a step that has a Python of its own
    from daskpar import older_python

    older_python.install()

if TYPE_CHECKING:
    from daskpar.data.dask_collections import read_files as read_files
    from daskpar.data.dask_collections import read_mltable as read_mltable
    from daskpar.driver.debug import debug as debug
    from daskpar.driver.debug import mini_batch as mini_batch
    from daskpar.driver.result import Run as Run
    from daskpar.mapped.mini_batches import map_mini_batches as map_mini_batches
    from daskpar.pipeline import plan as plan
    from daskpar.pipeline import resume as resume
    from daskpar.pipeline import run as run
    from daskpar.pipeline import validate as validate

_HOMES = {
    "run": "daskpar.pipeline",
    "plan": "daskpar.pipeline",
    "map_mini_batches": "daskpar.mapped.mini_batches",
    "resume": "daskpar.pipeline",
    "validate": "daskpar.pipeline",
    "debug": "daskpar.driver.debug",
    "mini_batch": "daskpar.driver.debug",
    "Run": "daskpar.driver.result",
    "read_mltable": "daskpar.data.dask_collections",
    "read_files": "daskpar.data.dask_collections",
    "DaskparError": "daskpar.errors",
    "SpecError": "daskpar.errors",
    "UsageError": "daskpar.errors",
    "InputError": "daskpar.errors",
    "RunDirectoryError": "daskpar.errors",
    "JobFailed": "daskpar.errors",
    "InfrastructureLost": "daskpar.errors",
    "Interrupted": "daskpar.errors",
    "PartialRun": "daskpar.errors",
}
__all__ = ["__version__", *sorted(_HOMES)]


_OF_THE_SDK = ("parallel_run_function", "RunFunction", "Input", "Output", "command", "load_component", "dsl")


def __getattr__(name: str) -> object:
    if name in _OF_THE_SDK:
        raise ImportError(
            f"{name} is a name of azure-ai-ml, which installs beside daskpar and needs no workspace here: "
            "import it from there, and pass the job that it makes to daskpar.run(). Without that package, "
            "run() takes the job as a mapping or as YAML, and daskpar.map_mini_batches(function, data) a "
            "function."
        )
    if name not in _HOMES:
        raise AttributeError(f"module 'daskpar' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
