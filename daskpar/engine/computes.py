"""Starts a cluster that Dask's configuration describes below `daskpar.computes`: {class: package.Cluster,
...}.
"""

from __future__ import annotations

import importlib
import inspect
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from daskpar.errors import UsageError, nearest, nearest_name


def load_class(name: str) -> Any:
    """The class of the compute `name`; our handlers of signals stay, whatever its module does to them.

    The first call belongs on the main thread: packages set handlers when they are imported, which is possible
    nowhere else. Raises UsageError where it is not described, or can't be loaded.
    """
    import distributed  # noqa: F401  # whole, before a module asks for a part of it: another thread may be at it

    written = str(_described(name)["class"])
    module, _, attribute = written.rpartition(".")
    try:
        with _same_handlers():
            return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        advice = ""
        if threading.current_thread() is not threading.main_thread():
            advice = f"; on the main thread it may be: import {module} there, before the run begins"
        elif isinstance(error, ModuleNotFoundError) and error.name:
            advice = f"; is the package that brings {error.name} installed here?"
        raise UsageError(
            f"daskpar.computes.{name}.class {written!r} can't be loaded: {error}{advice}"
        ) from error


def start_compute(name: str, workers: int) -> Any:
    """The cluster of the compute `name`, started; where nothing says how large it is, `workers` are asked
    for.

    Raises UsageError where it can't be started as it is described.
    """
    described = {key: value for key, value in _described(name).items() if key != "class"}
    kind = load_class(name)
    _check_keywords(name, kind, described)
    try:
        cluster = kind(**described)
    except Exception as error:  # of whatever kind; the first cause says what was wrong
        raise UsageError(
            f"daskpar.computes.{name} can't be started as it is described: {_first_cause(error)}"
        ) from error
    try:
        if hasattr(cluster, "scale") and not _asked_for(cluster):
            cluster.scale(workers)
    except Exception as error:
        cluster.close()
        raise UsageError(
            f"daskpar.computes.{name}: {workers} workers can't be asked for: {_first_cause(error)}"
        ) from error
    return cluster


def _described(name: str) -> Mapping[str, Any]:
    import dask

    computes = dask.config.get("daskpar.computes", {}) or {}
    form = f"daskpar.computes.{name}: {{class: package.ClusterClass, ...}}"
    if name not in computes:
        raise UsageError(
            f"compute {name!r} is not described in Dask's configuration ({form}). "
            f"{nearest(name, computes)}".rstrip()
        )
    entry = computes[name]
    if not isinstance(entry, Mapping) or "class" not in entry:
        found = nearest_name("class", map(str, entry)) if isinstance(entry, Mapping) else ""
        raise UsageError(
            f"compute {name!r} is not described in Dask's configuration with its class ({form})."
            + (f" Is {found!r} meant to be 'class'?" if found else "")
        )
    return entry


@contextmanager
def _same_handlers() -> Iterator[None]:
    """Signals are handled afterwards as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: set by something other than Python, which can't be set again from here, nor was it
            # changed.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _check_keywords(name: str, kind: Any, described: Mapping[str, Any]) -> None:
    """Raises UsageError for a keyword that the class certainly does not take."""
    known = _keywords(kind)
    if known is None:
        return
    for key in described:
        if key not in known:
            raise UsageError(
                f"daskpar.computes.{name}: {kind.__name__} takes no {key!r}. "
                f"{nearest(str(key), known)}".rstrip()
            )


def _keywords(kind: Any) -> set[str] | None:
    """The keywords that a class takes; None where only it knows."""
    from distributed import LocalCluster, Nanny, Worker

    try:
        own = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return None
    names = {one.name for one in own if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if all(one.kind != one.VAR_KEYWORD for one in own):
        return names
    if kind is not LocalCluster:
        return None
    # What it does not know itself it hands on to its workers, which say no more than that they failed to
    # start.
    for called in (Nanny, Worker, *Worker.__mro__):
        names |= (
            set(inspect.signature(called).parameters)
            if isinstance(called, type) and called is not object
            else set()
        )
    return names


def _asked_for(cluster: Any) -> bool:
    """Whether somebody has said how many workers the cluster is to have: a number, or that it adapts."""
    if getattr(cluster, "_adaptive", None) is not None:
        return True
    for attribute in ("worker_spec", "plan", "requested"):
        found = getattr(cluster, attribute, None)
        if isinstance(found, Mapping | set | list | tuple) and found:
            return True
    return bool(getattr(cluster, "scheduler_info", {}).get("workers"))


def _first_cause(error: BaseException) -> str:
    """The error that led to `error`, in words."""
    while (
        cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    ) is not None:
        error = cause
    return f"{type(error).__name__}: {error}"
