"""A soak: jobs with random faults, one after the other, until so many faults were done: python tests/chaos/soak.py --faults 10000

Prints the seed of every job before it runs; `--seed N` begins with that one again.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # where `faults` is found when this file is the program

from chaos_cluster import Cluster
from chaos_job import KINDS, ChaosJob
from daskpar.rundir.fingerprint import INPUTS

QUICK_HARMS = ("kill", "segfault", "exit", "raise")
SLOW_HARMS = ("hang", "stop", "grow")
DAMAGING = ("write into descriptors", "close part", "cut part", "remove part", "flip bit", "turn clock")
NODE_HARMS = ("kill worker", "kill nanny", "kill node")
DRIVER_MOMENTS = (
    "torn commit",
    "before commit",
    "after commit",
    "early-copy",
    "assembling",
    "assembled",
    "step.json completed",
    "run.json completed",
)


def random_faults(chance: random.Random, mini_batches: int, *, nodes: bool) -> dict[str, list[str]]:
    """About every second mini-batch is hit, some more than once, few by what takes a second to be seen."""
    faults: dict[str, list[str]] = {}
    for index in range(mini_batches):
        if chance.random() < 0.5:
            moment = chance.choice(("load", "run", "write", "say"))
            harms = QUICK_HARMS if moment in ("load", "run") else QUICK_HARMS[:3]
            if chance.random() < 0.2:
                moment, harms = "run", DAMAGING
            # Rows that are damaged each time that they are run again rightly end the step.
            few = moment in ("write", "say") or harms is DAMAGING
            times = chance.choice((1, 1, 2) if few else (1, 1, 2, 3))
            faults[f"{moment} {index}"] = [chance.choice(harms) for _ in range(times)]
    slow = chance.sample(range(mini_batches), 2)
    for index in slow:
        faults[f"run {index}"] = [chance.choice(SLOW_HARMS)]
    # Never three in a row on one node, whichever of them gets which turn: that would rightly end the step.
    bad = (3, 7) if nodes else range(1, 12, 2)
    faults["init"] = [
        chance.choice(("ok", "ok", *QUICK_HARMS[:3])) if turn in bad else "ok" for turn in range(12)
    ]
    if nodes:
        # Far apart: three losses near each other may rightly be blamed on what ran at each of them.
        for index in range(5, mini_batches, 20):
            faults[f"{chance.choice(('load', 'run'))} {index}"] = [chance.choice(NODE_HARMS)]
    return faults


def damage_files(job: ChaosJob, chance: random.Random) -> None:
    """Flip a bit of what a dead driver has left on the disk: of a part file or the journal."""
    step = job.run_dir / "steps" / "work"
    files = [path for path in (*sorted((step / "parts").glob("*.part")), step / "journal") if path.exists()]
    files = [path for path in files if path.stat().st_size]
    if files:
        path = chance.choice(files)
        flip_bit(path, chance)
        note(job, f"flip-bit-of-{path.suffix[1:] or path.name}")


@contextmanager
def meanwhile(
    job: ChaosJob, harm: Callable[[ChaosJob, random.Random, threading.Event], None], seed: int
) -> Iterator[None]:
    """`harm` is done to the job's input by a thread of its own while the block runs; at its end the input is whole again."""
    ended, failures = threading.Event(), list[Exception]()

    def do_harm() -> None:
        try:
            harm(job, random.Random(seed), ended)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=do_harm)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]


def hide_input(job: ChaosJob, chance: random.Random, ended: threading.Event) -> None:
    """Up to three times the storage of the input goes away, until the driver says so or the job is over."""
    data, away = job.folder / "data", job.folder / "away"
    log = job.run_dir / "steps" / "work" / "logs" / "sys" / "master_role.txt"
    for _ in range(chance.randint(1, 3)):
        calls = len(job.lines("calls")) + chance.randint(1, 10)
        while len(job.lines("calls")) < calls and not ended.wait(0.01):
            pass
        said = log.read_text().count("can't reach its data") if log.exists() else 0
        data.rename(away)
        note(job, "hide-input")
        until_said = time.monotonic() + 3  # nothing more may be left to load: then nobody says anything
        while not ended.wait(0.01) and time.monotonic() < until_said:
            if log.exists() and log.read_text().count("can't reach its data") > said:
                break
        away.rename(data)


def replace_input(job: ChaosJob, chance: random.Random, ended: threading.Event) -> None:
    """A file of the input is another one for the rest of the job."""
    calls = chance.randint(1, 10)
    while (len(job.lines("calls")) < calls or not inputs_are_known(job)) and not ended.wait(0.01):
        pass
    path = chance.choice(sorted((job.folder / "data").glob("*.*")))
    kept = job.folder / path.name
    path.rename(kept)
    path.write_bytes(kept.read_bytes().replace(b"0", b"9") + chance.choice((b"", b"more\n")))
    note(job, "replace-input")
    ended.wait()
    kept.replace(path)


def inputs_are_known(job: ChaosJob) -> bool:
    """Whether the run has written down how its inputs are: what is changed earlier is refused by a resume."""
    state = job.run_dir / "steps" / "work" / "step.json"
    return state.exists() and INPUTS in json.loads(state.read_text())["fingerprint"]


def turn_clocks(job: ChaosJob, chance: random.Random, ended: threading.Event) -> None:
    """The wall clock of the driver and of its node jumps by up to a day, back and forth, every 50 ms."""
    clock, ahead = time.time, [0.0]

    def jumping() -> float:
        return clock() + ahead[0]

    holders = [
        (vars(module), name)
        for title, module in list(sys.modules.items())
        if title.partition(".")[0] in ("daskpar", "distributed", "tornado", "time")
        for name, value in list(vars(module).items())
        if value is clock
    ]
    for holder, name in holders:
        holder[name] = jumping
    jumps = 0
    while not ended.wait(0.05):
        ahead[0] = chance.uniform(-86_400, 86_400)
        jumps += 1
        if jumps <= chance.randint(1, 10):  # a job is to count for a few faults, however long it takes
            note(job, "turn-clock", "driver")
    ahead[0] = 0.0  # what was imported meanwhile goes on with this one
    for holder, name in holders:
        holder[name] = clock


def note(job: ChaosJob, harm: str, what: str = "disk") -> None:
    """Count a harm of the disk, or of `what`, among those that the script and the driver note down themselves."""
    with open(job.folder / "deaths", "a") as file:
        file.write(f"{what} 0 {harm} run -1 {time.monotonic()}\n")


def flip_bit(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def damaged_too_often(reason: str | None) -> bool:
    """Whether a run was rightly ended by rows that were damaged in each round of running them again."""
    return "Rows were damaged like that" in (reason or "")


def to_the_end(job: ChaosJob, ended: Any, **options: Any) -> Any:
    """Resume it, as its reason says, where its rows were damaged too often for one run."""
    resumes = 0
    while damaged_too_often(ended.reason) and resumes < 3:
        ended, resumes = job.resume(**options), resumes + 1
    return ended


def one_job(seed: int, folder: Path, cluster: Cluster | None = None) -> tuple[int, Counter[str]]:
    """Run and check one job; how many faults were done, by kind."""
    chance = random.Random(seed)
    here = ("processors", "processors", "processors", "storage", "inputs", "clocks")
    way = chance.choice((*here, "driver", "driver", "nodes", "supervisors") if cluster else here)
    job = ChaosJob(
        folder=folder, kind=chance.choice(KINDS), mini_batches=chance.choice((30, 60, 90)), processors=2
    )
    job.arguments, job.retries = "--processor-memory 1500mb", 6  # more than the faults of any one mini-batch
    job.faults = random_faults(chance, job.mini_batches, nodes=way == "nodes")
    if way == "driver":
        deaths, code = 0, -signal.SIGKILL
        said = ""
        while code == -signal.SIGKILL or (damaged_too_often(said) and deaths < 8):
            moment, count = (
                (chance.choice(DRIVER_MOMENTS), chance.randint(1, 5)) if deaths < 4 else ("never", 1)
            )
            code, said = (
                job.drive(moment=moment, count=count) if deaths == 0 else job.drive_resume(moment, count)
            )
            deaths += 1
            if code and chance.random() < 0.5:
                damage_files(job, chance)
        assert code == 0, said
        job.check_output()
        job.check_calls()
        job.check_leftovers()
    elif way == "supervisors":
        for index in chance.sample(range(job.mini_batches), 2):
            job.faults[f"run {index}"] = ["kill fork server"]
        ended, resumes = job.run(), 0
        while ended.status == "lost" and resumes < 6:
            ended, resumes = job.resume(), resumes + 1
        assert (ended.status, ended.exit_code) == ("completed", 0), ended.reason
        job.check_output()
        job.check_calls()
        job.check_leftovers()
    elif way == "storage":
        with meanwhile(job, hide_input, seed):
            ended = job.run()
        job.check(to_the_end(job, ended))
    elif way == "clocks":
        with meanwhile(job, turn_clocks, seed):
            ended = job.run()
        job.check(to_the_end(job, ended))
    elif way == "inputs":
        with meanwhile(job, replace_input, seed):
            ended = job.run()
        ended = to_the_end(job, ended)
        counts = ended.steps["work"].counts
        # Replaced before the first success, the only file of a table rightly fails every mini-batch.
        assert ended.exit_code == 0 or not counts.succeeded, ended.reason
        if counts.failed:
            assert "was not what was planned" in ended.summary
            ended = job.resume(retry_failed=True)
        assert (ended.status, ended.steps["work"].counts.failed) == ("completed", 0), ended.summary
        job.check_output()
        job.check_calls()
        job.check_leftovers()
    elif way == "nodes":
        assert cluster is not None
        job.nodes, job.processors = 2, 1
        where = {"scheduler": cluster.address}
        job.check(to_the_end(job, job.run(**where), **where))
    else:
        job.check(to_the_end(job, job.run()))
    done = Counter(f"{death[0]} {death[2]}" for death in job.deaths())
    return done.total(), done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no job after so many")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else time.time_ns() % 1_000_000
    began, total, kinds = time.monotonic(), 0, Counter[str]()
    base = Path(tempfile.mkdtemp(prefix="soak-"))
    cluster = Cluster(base)
    try:
        while total < given.faults and time.monotonic() - began < given.seconds:
            folder = base / f"job-{seed}"
            folder.mkdir()
            print(f"seed {seed}: {total} faults so far, {time.monotonic() - began:.0f} s", flush=True)
            done, by_kind = one_job(seed, folder, cluster)
            total, kinds, seed = total + done, kinds + by_kind, seed + 1
            shutil.rmtree(folder)
    finally:
        cluster.close()
    print(
        f"{total} faults in {time.monotonic() - began:.0f} s, all rows exactly once and in order: {dict(kinds)}"
    )


if __name__ == "__main__":
    main()
