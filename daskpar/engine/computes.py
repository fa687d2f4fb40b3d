"""Starts a cluster that Dask's configuration describes below `daskpar.computes`: {class: package.Cluster,
...}.
"""

from __future__ import annotations

import importlib
import inspect
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from daskpar.engine.cluster_trouble import ClusterTrouble
from daskpar.errors import UsageError, nearest, nearest_name
from daskpar.value_classes import frozen


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


GIVE_UP_SECONDS = 10.0
"""How long a cluster that could not be started may take to close."""


@frozen(kw_only=True)
class StartedCompute:
    """A cluster that was started for a run."""

    cluster: Any
    asked: int
    """Nodes that were asked for; 0 where somebody else says how many there are."""
    bounds: tuple[int, int] | None = None
    """The least and the most nodes of one that adapts."""
    trouble: ClusterTrouble

    @property
    def resizable(self) -> bool:
        """Whether its size is for the run to choose."""
        return self.asked > 0

    def close(self) -> None:
        """End the cluster."""
        if self.trouble.error is not None:
            _give_up(self.cluster)
        else:
            self.cluster.close()

    def resize(self, nodes: int, there: Sequence[str] = ()) -> None:
        """Ask for so many nodes in all; what goes wrong is raised.

        `there`: addresses of those that are there, in the order in which steps take them. The last ones go.
        """
        from distributed import SpecCluster

        cluster, names = self.cluster, []
        if isinstance(cluster, SpecCluster):  # Dask's own `scale` would let any of them go
            known = cluster.scheduler_info["workers"]
            names = [known[address]["name"] for address in there[nodes:] if address in known]
        if names:
            cluster.sync(cluster.scale_down, names)
        cluster.scale(nodes)
        self.trouble.submit_now(cluster)


def start_compute(name: str, workers: int) -> StartedCompute:
    """The cluster of the compute `name`, started; where nothing says how large it is, `workers` are asked
    for.

    Raises UsageError where it can't be started as it is described.
    """
    described = {key: value for key, value in _described(name).items() if key != "class"}
    kind = load_class(name)
    own = "adapt" in (_keywords(kind) or ()) and not isinstance(described.get("adapt"), Mapping)
    bounds = None if own else _bounds(name, described.pop("adapt", None))
    _check_keywords(name, kind, described)
    try:
        cluster = kind(**described)
    except Exception as error:  # of whatever kind; the first cause says what was wrong
        raise UsageError(
            f"daskpar.computes.{name} can't be started as it is described: {_first_cause(error)}"
        ) from error
    asked, trouble = 0, ClusterTrouble()
    trouble.watch(cluster)
    try:
        if bounds is not None:
            cluster.adapt(minimum=bounds[0], maximum=bounds[1])
        elif hasattr(cluster, "scale") and not _asked_for(cluster):
            asked = workers
            cluster.scale(workers)
            trouble.submit_now(cluster)
    except Exception as error:
        _give_up(cluster)
        what = f"{workers} workers can't be asked for" if bounds is None else "it can't adapt"
        raise UsageError(f"daskpar.computes.{name}: {what}: {_first_cause(error)}") from error
    return StartedCompute(cluster=cluster, asked=asked, bounds=bounds, trouble=trouble)


def _give_up(cluster: Any) -> None:
    """Close a cluster whose workers could not be started; Dask's own would wait for these."""
    from distributed import Status

    for worker in getattr(cluster, "_created", ()):
        if getattr(worker, "status", None) == Status.created:
            worker.status = Status.failed
    if hasattr(cluster, "worker_spec"):
        cluster.worker_spec = {}
    closing = threading.Thread(target=_close, args=(cluster,), daemon=True, name="daskpar-give-up")
    closing.start()
    closing.join(GIVE_UP_SECONDS)
    cluster.shutdown_on_close = False  # nor at the end of this process


def _close(cluster: Any) -> None:
    with suppress(Exception):
        cluster.close()


def _bounds(name: str, written: Any) -> tuple[int, int] | None:
    """The least and the most nodes of a cluster that adapts; None for one that does not."""
    form = f"daskpar.computes.{name}.adapt: {{minimum: 0, maximum: 10}}"
    if written is None:
        return None
    if not isinstance(written, Mapping) or "maximum" not in written:
        raise UsageError(f"{form} is how adapt is written, with a maximum, not {written!r}")
    for key, value in written.items():
        if key not in ("minimum", "maximum"):
            known = nearest(str(key), ["minimum", "maximum"])
            raise UsageError(f"daskpar.computes.{name}.adapt takes no {key!r} ({form}). {known}".rstrip())
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UsageError(
                f"daskpar.computes.{name}.adapt.{key} is a number of nodes, not {value!r} ({form})"
            )
    least, most = written.get("minimum", 0), written["maximum"]
    if most < max(1, least):
        raise UsageError(
            f"daskpar.computes.{name}.adapt.maximum is {most}; it is at least 1, and the minimum ({least})"
        )
    return least, most


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
