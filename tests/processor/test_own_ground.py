"""Whatever a script does to its own process: at worst it costs the mini-batch that did it, and the others' rows are all there."""

from __future__ import annotations

import os
import signal

import pytest

from daskpar.processor.exit_reasons import KillReason
from daskpar.processor.own_ground import OwnGround
from daskpar.processor.protocol import LogMessage, ReleaseReason
from daskpar.processor.shared_page import Announcement, Phase, SharedPage
from daskpar.results import Reason
from own_descriptors import opened_since, own_descriptors

COUNT = 6
MENDED = [
    "freeze clocks",
    "patch functions",
    "stray alarms",
    "walk modules",
    "garbage",
    "close low",
    "no files",
    "few descriptors",
    "umask",
    "nowhere",
    "no streams",
    "deaf streams",
    "shallow",
    "unload modules",
    "strict",
]
SUSPECTED = ["garbage everywhere", "close and reuse", "no files for good"]
"""Noticed later: those that have not been reported are run again, until the one to blame is alone."""


def rows(*indices: int) -> dict[int, str]:
    return {index: f"row {index}\n" for index in indices}


@pytest.mark.parametrize("fault", MENDED)
def test_what_can_be_mended_costs_nothing(zoo, fault):
    # Behind a limit on files, the script of this test could not write down its own calls.
    at = zoo({COUNT - 1 if fault == "no files" else 1: fault}, count=COUNT, run_timeout=10)
    at.submit(0, 3)
    at.wait_ended()
    at.submit(3, COUNT, block=2)
    at.wait_ended(2)
    assert at.failures == {}
    assert at.rows == rows(*range(COUNT))
    assert at.calls == list(range(COUNT)), "the processor lives on"
    at.pool.finish()


@pytest.mark.parametrize("fault", ["freeze clocks", "patch functions"])
def test_a_hang_behind_frozen_clocks_ends(zoo, fault):
    at = zoo({1: fault, 3: "hang"}, count=5, run_timeout=1.0)
    at.submit(0, 5)
    at.wait_ended()
    assert {index: failure.reason for index, failure in at.failures.items()} == {3: Reason.TIMEOUT}


def test_closed_descriptors_are_charged_to_the_call_that_closed_them(zoo):
    at = zoo({2: "close all"}, count=COUNT)
    at.submit(0, COUNT)
    at.wait_ended()
    assert at.accounted(0, COUNT)
    assert {index: failure.reason for index, failure in at.failures.items()} == {2: Reason.DIED}
    assert "closed descriptors" in at.failures[2].message
    for block, (low, high, _) in enumerate(at.released, 2):
        at.submit(low, high, block=block)
        at.wait_ended(block)
    assert at.rows == rows(0, 1, 3, 4, 5)


@pytest.mark.parametrize("fault", SUSPECTED)
def test_what_is_noticed_later_makes_suspects_and_no_row_is_wrong(zoo, fault):
    guilty = COUNT - 1
    at = zoo({guilty: fault}, count=COUNT)
    at.submit(0, COUNT)
    at.wait_ended()
    assert at.accounted(0, COUNT)
    assert at.failures == {}
    suspects = [set(range(low, high)) for low, high, why in at.released if why == ReleaseReason.UNWRITTEN]
    assert guilty in set().union(*suspects)
    again = [index for low, high, _ in at.released for index in range(low, high) if index != guilty]
    for block, index in enumerate(again, 2):
        at.submit(index, index + 1, block=block)
        at.wait_ended(block)
    assert at.rows == rows(*range(guilty))
    victim = at.folder / "code" / "victim"
    assert not victim.exists() or victim.read_bytes() == b"", "nothing of ours went into the script's file"


def test_stray_alarms_are_said_once(zoo):
    at = zoo({1: "stray alarms"}, count=1000)
    at.submit(0, 1000)
    at.wait_ended()
    said = [message.text for message in at.of(LogMessage) if "SIGALRM" in message.text]
    assert len(said) == 1 and "Late" in said[0] and "no mini-batch is charged" in said[0]
    assert at.failures == {}
    assert at.rows == rows(*range(1000))


@pytest.mark.parametrize(
    "nonsense",
    [Announcement(3, 7, 0.0), Announcement(-7, Phase.RUN, 0.0), Announcement(99, Phase.FLUSH, float("nan"))],
)
def test_a_page_with_nonsense_in_it_costs_the_processor_alone(zoo, nonsense):
    at = zoo({0: "call"}, count=2)
    at.submit(0, 2)
    zoo.wait_for((at.folder / "code" / "wanted").exists)
    at.pool.processors.find(1).page.announce(nonsense.index, nonsense.phase, nonsense.since)
    at.wait_ended()
    assert at.released == [(0, 2, ReleaseReason.UNWRITTEN)]
    (at.folder / "code" / "go").touch()
    at.submit(0, 2, block=2)
    at.wait_ended(2)
    assert at.rows == rows(0, 1)


def test_a_processor_whose_order_was_taken_away_does_not_wait_for_ever(zoo):
    at = zoo({}, count=2, overhead_timeout=0.5)
    at.submit(0, 1)
    at.wait_ended()
    processor = at.pool.processors.find(1)
    os.kill(processor.pid, signal.SIGSTOP)  # so that it takes no order
    at.submit(1, 2, block=2)
    at.wait_ended(2)
    assert processor.killed_for == KillReason.DAMAGED
    at.submit(1, 2, block=3)
    at.wait_ended(3)
    assert at.rows == rows(0, 1)


def test_the_processors_side_of_a_page_has_no_descriptor():
    page = SharedPage.create()
    before = own_descriptors()
    theirs = SharedPage.of_processor(os.dup(page.fd))
    assert not opened_since(before)
    theirs.announce(5, Phase.RUN, 1.0)
    assert page.announced() == Announcement(5, Phase.RUN, 1.0)


def test_limits_and_depth_are_the_scripts_again_afterwards():
    import resource
    import socket
    import sys

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ground = OwnGround(ours)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        depth = sys.getrecursionlimit()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 1, before[1]))
            sys.setrecursionlimit(300)
            with ground.restored():
                assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
                assert sys.getrecursionlimit() > 300
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[0] - 1
            assert sys.getrecursionlimit() == 300
        finally:
            sys.setrecursionlimit(depth)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
