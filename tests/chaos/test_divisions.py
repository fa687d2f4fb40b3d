"""Drivers, nodes and processors killed amid the division of mini-batches: the output is that of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from dataclasses import dataclass

import pytest
import yaml

from chaos_cluster import Cluster
from chaos_job import ChaosJob
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal_reader import read_journal
from daskpar.outputs.pieces import Divided

ITEMS, SIZE = 40, 20
RAISES, DIES, SHORT = {3}, {27}, {39}
BAD = RAISES | DIES | SHORT

SCRIPT = """
import os, signal, time
from pathlib import Path

world = Path(os.environ["WORLD"])

def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

WORKER = parent_of(os.getppid())

def run(batch):
    numbers = [int(os.path.basename(path)[:-4]) for path in batch]
    with open(world / "calls", "a") as file:
        file.write(f"{numbers[0]} {numbers[-1] + 1}\\n")
    for what, pid in (("kill-processor", os.getpid()), ("kill-worker", WORKER)):
        for mark in world.glob(f"{what}-*"):
            start, stop = map(int, mark.name.split("-")[2:])
            if (numbers[0], numbers[-1] + 1) == (start, stop):
                mark.rename(world / f"done-{mark.name}")
                os.kill(pid, signal.SIGKILL)
                time.sleep(60)
    rows = []
    for number in numbers:
        if number in RAISES:
            raise ValueError(f"{number} is bad")
        if number in DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if number not in SHORT:
            rows.append(f"row {number}")
    return rows
"""


@dataclass
class DividedJob(ChaosJob):
    """Two mini-batches of 20 files, each with bad ones."""

    timeout: float = 30
    retries: int = 0

    def write(self):
        code, data = self.folder / "code", self.folder / "data"
        if not data.exists():
            code.mkdir()
            data.mkdir()
            sets = {"RAISES": RAISES, "DIES": DIES, "SHORT": SHORT}
            text = "".join(f"{name} = {numbers}\n" for name, numbers in sets.items())
            (code / "divided.py").write_text(text + SCRIPT)
            for number in range(ITEMS):
                (data / f"{number:03}.txt").touch()
        step = self.step()
        step |= {"mini_batch_size": str(SIZE), "environment_variables": {"WORLD": str(self.folder)}}
        step["task"]["entry_script"] = "divided.py"
        step["task"]["program_arguments"] += " --isolate_failed_items True"
        spec = self.folder / "job.yml"
        spec.write_text(yaml.safe_dump({"type": "pipeline", "jobs": {"work": step}}))
        return spec

    def undisturbed(self) -> bytes:
        return "".join(f"row {number}\n" for number in range(ITEMS) if number not in BAD).encode()

    def spans(self) -> Counter[tuple[int, int]]:
        """Calls of run() so far, by the items they were given."""
        return Counter((int(start), int(stop)) for start, stop in self.lines("calls"))

    def known(self) -> set[tuple[int, int]]:
        """The pieces whose outcome is in the journal."""
        contents = read_journal(self.run_dir / "steps" / "work" / "journal")
        divided, commits = Divided.load(contents), Commits.load(ITEMS // SIZE, contents)
        return {
            (SIZE * index + start, SIZE * index + stop)
            for index in divided
            for (start, stop), found in [((0, SIZE), divided.whole(index)), *divided.outcomes(index).items()]
            # A resume runs once more what has failed, as it does with whole mini-batches.
            if found.good or stop - start > 1 or not commits.is_final(index)
        }

    def check_failed(self) -> None:
        """The failed items are exactly the bad ones, in order and once."""
        lines = (self.run_dir / "steps" / "work" / "failed_items.jsonl").read_text().splitlines()
        values = [json.loads(line) for line in lines]
        found = [(v["mini_batch"], v["position"], os.path.basename(v["path"])) for v in values]
        assert found == [(bad // SIZE, bad % SIZE, f"{bad:03}.txt") for bad in sorted(BAD)]
        reasons = {v["mini_batch"] * SIZE + v["position"]: v["reason"] for v in values}
        wanted = ((RAISES, "EXCEPTION"), (DIES, "DIED"), (SHORT, "SHORT"))
        assert reasons == {bad: reason for bads, reason in wanted for bad in bads}


@pytest.fixture
def divided(tmp_path):
    return DividedJob(folder=tmp_path)


def test_a_driver_that_dies_again_and_again_amid_divisions(divided):
    """Each resume goes on with the pieces that are left: what was heard of is not called again."""
    for at, (moment, count) in enumerate([("torn commit", 6), ("before commit", 1), ("never", 1)]):
        before = divided.spans()
        known = divided.known() if at else set()
        drive = divided.drive if at == 0 else divided.drive_resume
        code, said = drive(moment=moment, count=count)
        again = {span for span in known if divided.spans()[span] > before[span]}
        assert not again, f"called again although their outcome was known: {again}"
        if code != -signal.SIGKILL:
            assert code == 0, said
            break
        assert not divided.output.exists()
    assert at == 2, "it was done before it could die"
    divided.check_output()
    divided.check_failed()


def test_nodes_and_processors_die_amid_divisions(divided, tmp_path_factory):
    """What takes them down by chance is charged to nobody else; items that are not bad are all there."""
    # The processor that runs items 10 to 19 dies once: that piece has failed, and its halves are good.
    for what in ("kill-processor-10-20", "kill-worker-20-30", "kill-worker-35-37"):
        (divided.folder / what).touch()
    divided.nodes, divided.processors = 2, 1
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        ended = divided.run(scheduler=cluster.address)
    finally:
        cluster.close()
    assert (ended.status, ended.counts["work"].failed_items) == ("completed", len(BAD)), ended.reason
    assert len(list(divided.folder.glob("done-*"))) == 3
    divided.check_output()
    divided.check_failed()
