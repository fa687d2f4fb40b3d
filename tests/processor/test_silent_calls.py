"""Calls in flight that wait for files which do not answer: nothing is charged, whatever becomes of the call."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daskpar.batches.plan_writer import write_plan
from daskpar.processor import silent_data
from daskpar.processor.protocol import Released
from daskpar.results import Reason

SCRIPT = """
import asyncio, os
from daskpar.processor import silent_data
from daskpar.processor.in_flight import in_flight_runner

silent_data.ANSWER_SECONDS = in_flight_runner.CANCEL_SECONDS = {patience}

async def run(mini_batch):
    for path in mini_batch:
        if path.endswith("silent"):
            await {how}(path)
    return [os.path.basename(path) for path in mini_batch]

async def heeds(path):
    await asyncio.sleep(3600)  # as one that waits for a thread which reads

async def goes_on(path):
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def blocks(path):
    open(path)
"""


def called(zoo, monkeypatch, how: str, *, silent: bool):
    """A pool that has run three calls at once, the second of which waits; a pipe that nobody writes to is silent."""
    patience = 0.2 if silent else 60.0
    monkeypatch.setattr(silent_data, "ANSWER_SECONDS", patience)
    made = zoo({}, in_flight=3, run_timeout=0.5 if silent else 1.0)
    paths = [made.folder / name for name in ("a", "silent", "b")]
    for path in paths:
        path.touch()
    if silent:
        paths[1].unlink()
        os.mkfifo(paths[1])
    write_plan(made.folder / "plan", kind="files", paths=[str(path) for path in paths])
    Path(made.settings.entry_script).write_text(SCRIPT.format(how=how, patience=0.2 if silent else 60.0))
    made.submit(0, 3)
    made.wait_ended()
    return made


@pytest.mark.parametrize("how", ["heeds", "goes_on", "blocks"])
def test_a_call_that_waits_for_its_files_is_not_charged(zoo, monkeypatch, how):
    made = called(zoo, monkeypatch, how, silent=True)
    assert made.failures == {}
    [back] = [one for one in made.of(Released) if one.start <= 1 < one.stop]
    assert (back.reason, (back.start, back.stop)) == ("unreached", (1, 2))
    assert f"{made.folder / 'silent'} does not answer" in back.trouble
    # The others have ended, or run again where their processor had to be killed.
    assert made.rows.items() <= {0: "a\n", 2: "b\n"}.items()
    assert made.accounted(0, 3)


def test_one_whose_files_answer_is(zoo, monkeypatch):
    made = called(zoo, monkeypatch, "heeds", silent=False)
    assert {index: failure.reason for index, failure in made.failures.items()} == {1: Reason.TIMEOUT}
    assert {index: text.strip() for index, text in made.rows.items()} == {0: "a", 2: "b"}
