"""Clusters that Dask's configuration describes: loaded, started, scaled; what is wrong is said."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import dask
import pytest

from daskpar.engine.computes import load_class, start_compute
from daskpar.errors import UsageError

HASTY = "import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\nclass Cluster:\n    pass\n"


def described(**entry: Any) -> Any:
    return dask.config.set({"daskpar.computes": {"mine": entry}})


class Scaled:
    """A cluster as far as its size goes."""

    def __init__(self, jobs: int = 0, adapt: bool = False, refuse: bool = False) -> None:
        self.worker_spec = {n: {} for n in range(jobs)}
        self._adaptive = object() if adapt else None
        self.refuse = refuse
        self.asked: list[int] = []

    def scale(self, count: int) -> None:
        if self.refuse:
            raise ValueError("the queue is closed")
        self.asked.append(count)

    def close(self) -> None:
        pass


class Failing:
    def __init__(self, **_: Any) -> None:
        try:
            raise TypeError("Job() got an unexpected keyword argument 'quue'")
        except TypeError as error:
            raise RuntimeError("Nanny failed to start.") from error


@pytest.mark.parametrize(
    ("entry", "asked"), [({}, [3]), ({"jobs": 2}, []), ({"adapt": True}, [])], ids=["none", "some", "adapts"]
)
def test_workers_are_asked_for_where_nobody_has_asked_yet(entry, asked):
    with described(**{"class": f"{__name__}.Scaled"}, **entry):
        assert start_compute("mine", 3).cluster.asked == asked


@pytest.mark.parametrize(
    ("adapt", "said"),
    [
        ({"minimum": 1}, "with a maximum"),
        ([1, 2], "with a maximum"),
        ({"maximum": 3, "minimun": 1}, "takes no 'minimun'.*'minimum'"),
        ({"maximum": "many"}, "adapt.maximum is a number of nodes, not 'many'"),
        ({"maximum": 0}, "at least 1"),
        ({"minimum": 5, "maximum": 3}, r"at least 1, and the minimum \(5\)"),
    ],
)
def test_adapt_is_checked_before_anything_is_started(adapt, said):
    entry = {"class": "distributed.LocalCluster", "adapt": adapt}
    with described(**entry), pytest.raises(UsageError, match=said):
        start_compute("mine", 1)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this())


def _this() -> Any:
    from types import ModuleType

    made = ModuleType(__name__)
    made.__dict__.update(Scaled=Scaled, Failing=Failing)
    return made


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"class": "distributed.LocalCluster", "processes": False, "n_wrokers": 1},
            "takes no 'n_wrokers'.*'n_workers'",
        ),
        (
            {"class": "distributed.LocalCluster", "memory_limt": "1GB"},
            "takes no 'memory_limt'.*'memory_limit'",
        ),
        ({"class": "distributed.SpecCluster", "wrokers": {}}, "takes no 'wrokers'.*'workers'"),
        ({"class": f"{__name__}.Failing", "quue": "x"}, "TypeError: .*'quue'"),
        (
            {"class": f"{__name__}.Scaled", "refuse": True},
            "can't be asked for: ValueError: the queue is closed",
        ),
        ({"class": "no_such_package.Cluster"}, "is the package that brings no_such_package installed"),
        ({"class": "distributed"}, "can't be loaded"),
        ({"clas": "distributed.LocalCluster"}, "Is 'clas' meant to be 'class'"),
    ],
)
def test_what_is_described_wrong_is_told_in_the_words_of_who_knows(entry, said):
    with described(**entry), pytest.raises(UsageError, match=said):
        start_compute("mine", 1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mien", "Did you mean 'mine'"), ("elsewhere", "is not described in Dask's configuration")],
)
def test_a_compute_that_nobody_described(name, hint):
    with described(**{"class": "distributed.LocalCluster"}), pytest.raises(UsageError, match=hint):
        load_class(name)


def test_a_compute_without_a_class_is_not_said_to_be_meant_itself():
    with described(n_workers=1), pytest.raises(UsageError) as caught:
        load_class("mine")
    assert "mean" not in str(caught.value)


def test_our_handlers_of_signals_stay_when_a_package_sets_its_own(tmp_path, monkeypatch):
    (tmp_path / "hasty_package.py").write_text(HASTY)
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    with described(**{"class": "hasty_package.Cluster"}):
        assert load_class("mine").__name__ == "Cluster"
    assert signal.getsignal(signal.SIGINT) is before


def test_elsewhere_than_on_the_main_thread_it_is_told_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "hastier_package.py").write_text(HASTY)
    monkeypatch.syspath_prepend(tmp_path)
    said: list[str] = []

    def load() -> None:
        try:
            load_class("mine")
        except UsageError as error:
            said.append(str(error))

    with described(**{"class": "hastier_package.Cluster"}):
        thread = threading.Thread(target=load)
        thread.start()
        thread.join()
    assert "import hastier_package there, before the run begins" in said[0]


def test_a_cluster_of_dask_jobqueue_is_started_scaled_and_used(work, capfd):
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    work.files(4)
    entry = {
        "class": "dask_jobqueue.local.LocalCluster",
        "cores": 1,
        "memory": "2GB",
        "log_directory": str(work.folder / "queue"),
        "scheduler_options": {"dashboard_address": ":0"},
        "adapt": {"minimum": 0, "maximum": 1},
    }
    step = work.parallel(max_concurrency_per_instance=None)
    before = signal.getsignal(signal.SIGINT)
    with described(**entry):
        ended = work.run({"work": step}, compute="mine", display=True)
    assert ended.status == "completed", ended.reason
    assert signal.getsignal(signal.SIGINT) is before
    assert work.rows() == [f"{n:04}.txt" for n in range(4)]
    # `cores: 1` is one thread of the worker, however many the machine has.
    assert "1 processor on 1 node" in "".join(capfd.readouterr())
