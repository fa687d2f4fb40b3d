"""Slow mini-batches run a second time elsewhere: rows are in order, each once, and only tries of the script are counted."""

from __future__ import annotations

import pytest

from daskpar.engine import backups
from daskpar.engine.rules.backup_rule import BackupRule
from daskpar.processor import long_calls

SCRIPT = """
import os, time
from pathlib import Path
def run(mini_batch):
    name = Path(mini_batch[0]).name
    calls = Path(os.environ["CALLS"])
    call = 1
    while True:  # the number of this call for this mini-batch, whichever process makes it
        try:
            (calls / f"{name}-{call}").touch(exist_ok=False)
            break
        except FileExistsError:
            call += 1
    does = FAULTS.get((int(name[:4]), call), "")
    while "waits" in does and not (calls / f"{name}-2").exists():
        time.sleep(0.02)
    if "hangs" in does:
        time.sleep(600)
    if "raises" in does:
        raise ValueError("no such luck")
    if "dies" in does:
        os._exit(3)
    if does:
        time.sleep(0.5)
    return [name]
"""


@pytest.fixture
def quick(monkeypatch):
    """Stragglers are seen within a fraction of a second."""
    rule = BackupRule(least_seconds=0.3, quiet_seconds=600.0)
    monkeypatch.setattr(backups, "BackupRule", lambda: rule)
    monkeypatch.setattr(backups, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(long_calls, "LONG_SECONDS", 0.2)
    monkeypatch.setattr(long_calls, "LOOK_SECONDS", 0.05)


def job(work, faults: dict[tuple[int, int], str], *, arguments: str = "", **more):
    work.files(24)
    (work.folder / "calls").mkdir()
    step = work.parallel(
        f"FAULTS = {faults!r}\n{SCRIPT}",
        arguments=arguments,
        max_concurrency_per_instance=2,
        resources={"instance_count": 3},
        retry_settings={"max_retries": 1, "timeout": 300},
        environment_variables={"CALLS": str(work.folder / "calls")},
        **more,
    )
    ended = work.run({"work": step})
    assert work.rows() == [f"{number:04}.txt" for number in range(24)]
    assert (ended.status, ended.steps["work"].counts.succeeded) == ("completed", 24)
    return ended.steps["work"].counts, sorted(path.name for path in (work.folder / "calls").iterdir())


def test_whoever_is_first_counts_and_failures_of_copies_count_nothing(work, quick):
    counts, calls = job(
        work,
        {
            (20, 1): "hangs",  # its copy is first
            (21, 1): "waits, raises",  # a failed try, although its copy goes on
            (21, 2): "hangs",
            (22, 1): "waits",  # first, for its copy raises
            (22, 2): "raises",
            (23, 1): "waits",  # first, for its copy dies
            (23, 2): "dies",
        },
    )
    assert (counts.tries_failed, counts.retried, counts.failed_items) == (1, 1, 0)
    others = counts.copies - 4  # on a busy machine any mini-batch may be slow, and its copy may be first
    assert others >= 0 and 1 <= counts.copies_first <= 1 + others
    assert {"0020.txt-2", "0021.txt-3", "0022.txt-2", "0023.txt-2"} <= set(calls)


def test_none_is_started_where_none_is_wanted(work, quick):
    counts, calls = job(work, {(23, 1): "slow"}, arguments="--backup False")
    assert counts.copies == 0 and len(calls) == 24
