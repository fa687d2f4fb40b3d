"""Workers are asked who they are: those that answer are had at once, and those that don't as soon as they do."""

from __future__ import annotations

import os
import signal
import threading
from time import monotonic

import pytest
from distributed import Client

from chaos.chaos_cluster import Cluster as Processes
from daskpar.engine import cluster as cluster_module
from daskpar.engine import introductions
from daskpar.engine.cluster import Cluster
from daskpar.engine.introductions import Introductions, in_words
from waiting import until


class Workers:
    """Some that answer with their name at once; others when they are let `go`, or that can't be reached."""

    def __init__(self, *frozen: str, unreached: tuple[str, ...] = ()) -> None:
        self.frozen, self.unreached = set(frozen), set(unreached)
        self.asked: list[str] = []
        self.heard = threading.Event()
        self.made = Introductions(self.ask, self.heard.set)

    def ask(self, workers, take) -> None:
        self.asked += workers
        for worker in workers:
            if worker in self.unreached:
                take({worker: OSError("no route")})
            elif worker not in self.frozen:
                take({worker: worker.upper()})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(introductions, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(introductions, "SILENT_SECONDS", 0.0)


@pytest.mark.parametrize("how", [{"unreached": ("b",)}, {}], ids=["unreached", "frozen"])
def test_one_that_does_not_answer_is_silent_until_it_does(how):
    workers = Workers(*([] if how else "b"), **how)
    assert workers.made.begin(["a", "b"]) == {"a", "b"}
    workers.made.wait({"a", "b"}, 600.0, after_the_first=0.0)
    assert (workers.made.take(), workers.made.silent) == ({"a": "A"}, {"b"})
    assert workers.made.begin(["b"]) == set(), "it is being asked"
    workers.frozen.clear()
    workers.unreached.clear()
    assert workers.heard.wait(60)
    assert (workers.made.take(), workers.made.silent) == ({"b": "B"}, set())


def test_who_has_gone_is_asked_no_more_and_is_another_one_when_it_comes_again():
    workers = Workers("b")
    workers.made.begin(["b"])
    until(lambda: "b" in workers.asked, "the question")
    workers.made.keep(["a"])
    assert workers.made.silent == set()
    assert workers.made.begin(["b"]) == {"b"}
    workers.made.close()
    until(lambda: not [t for t in threading.enumerate() if t.name == "daskpar-introductions"], "no thread")


def test_a_scheduler_that_can_not_be_asked_is_told_to_who_waits():
    def ask(workers, take) -> None:
        raise OSError("gone")

    made = Introductions(ask, lambda: None)
    asked = made.begin(["a"])
    with pytest.raises(OSError, match="gone"):
        made.wait(asked, 600.0, after_the_first=600.0)
    made.wait(set(), 600.0, after_the_first=600.0)  # whoever waits for nobody hears nothing of it
    made.close()


def test_what_is_said_of_them():
    assert in_words({"tcp://a:1"}).startswith("worker tcp://a:1 does not answer: the run goes on without it")
    assert in_words({f"w{n}" for n in range(7)}).startswith("workers w0, w1, w2, w3, w4 and 2 others do not")


def test_a_worker_that_stands_still_holds_up_no_run_and_is_there_once_it_goes_on(tmp_path, monkeypatch):
    """A real one, stopped before the run begins: nothing that the run does waits for it."""
    monkeypatch.setattr(cluster_module, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(introductions, "TOGETHER_SECONDS", 0.2)
    processes = Processes(tmp_path, nodes=2, nanny=False, replace=False)
    try:
        with Client(processes.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            frozen, fine = client.run(os.getpid).items()
            client.run(__import__, "daskpar.engine.plugins.joining")
            os.kill(frozen[1], signal.SIGSTOP)
            opened, answers = Cluster(run_id="frozen", client=client), threading.Event()
            opened.on_answer.add(answers.set)
            began = monotonic()
            opened.open()
            until(lambda: list(opened.facts) == [fine[0]] or opened.refresh() == [fine[0]], "the other one")
            assert monotonic() - began < cluster_module.ANSWER_SECONDS
            assert opened.silent == {frozen[0]}
            assert not answers.is_set()
            os.kill(frozen[1], signal.SIGCONT)
            assert answers.wait(60)
            assert set(opened.refresh()) == {frozen[0], fine[0]}
            assert opened.silent == set()
            opened.close()
            kept = client.run(lambda dask_worker: [name for name in dask_worker.plugins if "daskpar" in name])
            assert list(kept.values()) == [[], []]
    finally:
        processes.close()
