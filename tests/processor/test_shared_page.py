"""The shared page: what is announced is read whole, and a range is handed back exactly, whoever moves first."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.processor.shared_page import Announcement, Phase, SharedPage

ROUNDS = 1000
RANGE = 2000

PROCESSOR = """
import os, sys
from daskpar.processor.shared_page import SharedPage, Phase
page = SharedPage(int(sys.argv[1]))
for line in sys.stdin.buffer:
    stop = int(line)
    index = 0
    while index < stop:
        page.announce(index, Phase.LOAD, 0.0)
        if index >= page.allowed():
            break
        page.announce(index, Phase.RUN, 0.0)
        index += 1
    page.announce(-1, Phase.IDLE, 0.0)
    sys.stdout.buffer.write(b"%d\\n" % index)
    sys.stdout.buffer.flush()
"""


def test_a_range_is_handed_back_exactly_however_both_sides_race():
    """The processor has run precisely the mini-batches below the limit that its node believes in: none lost, none twice."""
    page = SharedPage.create()
    os.set_inheritable(page.fd, True)
    child = subprocess.Popen(
        [sys.executable, "-c", PROCESSOR, str(page.fd)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[page.fd],
        bufsize=0,
    )
    assert child.stdin is not None and child.stdout is not None
    rng = random.Random(5)
    wrong, taken = [], 0
    try:
        for _ in range(ROUNDS):
            page.set_limit(RANGE)
            child.stdin.write(b"%d\n" % RANGE)
            aim = rng.randrange(RANGE)
            for _ in range(RANGE):  # until it has come about as far as we want it
                if page.announced().index >= aim:
                    break
            said = page.announced()
            held = page.lower_limit(said.index + 1) if said.index >= 0 else None
            ran = int(child.stdout.readline())
            taken += held is not None and held < RANGE
            # It may stop one short of the limit where both moved at once; it never goes beyond, and says itself where it stopped.
            if held is not None and ran not in (min(held, RANGE), held - 1):
                wrong.append((ran, held))
    finally:
        child.stdin.close()
        child.wait(30)
        child.stdout.close()
        page.close()
    assert wrong == []
    assert taken > ROUNDS // 50, "the race was never run"


@given(st.integers(-1, 2**59), st.sampled_from(Phase), st.floats(0, 1e12))
def test_what_is_announced_is_what_is_read(index, phase, since):
    page = SharedPage.create()
    page.announce(index, phase, since)
    assert page.announced() == Announcement(index, phase, since)
    page.close()


@pytest.mark.parametrize(
    ("phase", "at", "asked", "holds"),
    [
        (Phase.RUN, 4, 5, 5),
        (Phase.RUN, 5, 5, 6),
        (Phase.LOAD, 7, 5, 8),
        (Phase.FLUSH, 7, 5, 8),
        (Phase.FLUSH, 3, 5, 5),
        (Phase.IDLE, -1, 5, None),
        (Phase.SHUTDOWN, -1, 5, None),
    ],
)
def test_a_limit_is_never_below_what_has_begun(phase, at, asked, holds):
    page = SharedPage.create()
    page.set_limit(100)
    page.announce(at, phase, 1.0)
    assert page.lower_limit(asked) == holds
    assert page.allowed() == (asked if holds is None else holds)
    page.close()


def test_both_sides_see_one_page():
    ours = SharedPage.create()
    theirs = SharedPage(os.dup(ours.fd))
    theirs.announce(3, Phase.RUN, 2.5)
    assert ours.set_limit(9) == Announcement(3, Phase.RUN, 2.5)
    assert theirs.allowed() == 9
    theirs.close()
    ours.close()
    ours.close()
    with pytest.raises(OSError):
        os.fstat(ours.fd)
