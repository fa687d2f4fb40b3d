"""Imports what a run needs beside the main thread, which reads the job and waits for the plan of a table."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

AHEAD = (
    "daskpar.engine.plugins.node",
    "daskpar.engine.parallel_step",
    "daskpar.reports.live_facts",
    "daskpar.reports.watchers",
)
"""In this order: Dask, which the cluster waits for, then what the first step needs once its plan is there."""
_reading = threading.Lock()
"""Held while YAML is read fast: runs may start at the same time in one process."""


def import_ahead() -> None:
    """Import `AHEAD`, on a thread of its own."""
    with _configuration_read_fast():
        _import(AHEAD[0])
    for name in AHEAD[1:]:
        _import(name)


def _import(name: str) -> None:
    with suppress(Exception):  # the import that uses it fails too, and is reported
        importlib.import_module(name)


@contextmanager
def _configuration_read_fast() -> Iterator[None]:
    """Let `yaml.safe_load` use libyaml where it is there.

    Dask reads its configuration as it is imported, by the parser that is written in Python: that is a
    twentieth of the whole import, and libyaml needs a tenth of it (measured). What others read meanwhile has
    the same values; the loaders themselves stay as they are, for classes may be derived from them.
    """
    import yaml

    names, usual = vars(yaml), yaml.SafeLoader
    parser = getattr(yaml, "CSafeLoader", usual)
    own_tags = ("yaml_constructors", "yaml_multi_constructors", "yaml_implicit_resolvers")
    fast = type("FastLoader", (parser,), {name: getattr(usual, name) for name in own_tags})
    with _reading:
        read = names["safe_load"]
        names["safe_load"] = partial(yaml.load, Loader=fast)
        try:
            yield
        finally:
            names["safe_load"] = read
