"""Jobs of the chaos suite: a folder with data, a script that harms itself as a table says, and a strict look at what is left."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

import warm_python
from chaos_cluster import QUICK
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal_reader import read_journal
from faults import SCRIPT, install, schedule
from waiting import until

HERE = Path(__file__).parent
KINDS = ("files", "table", "grouped")
GROUP_OF = 4
"""Rows of each key in a grouped table."""
ROW_BYTES = 256
UNSAID_SECONDS = 1.0
"""For a failed try to be heard of by the driver, on a machine that is busy with other tests."""
CHARGED = {"kill", "segfault", "exit", "stop", "hang", "raise", "grow"}
"""Harms of a processor that cost a try when they come while a mini-batch is loaded or run."""
DAMAGING = {"cut-part", "remove-part", "flip-bit", "write-into-descriptors"}
"""Harms of committed rows: their mini-batches are run again, at no charge."""


@dataclass
class ChaosJob:
    """One parallel step of about `mini_batches` mini-batches over files, a delimited table, or a table grouped by a key."""

    folder: Path
    kind: str = "files"
    mini_batches: int = 60
    faults: dict[str, list[str]] = field(default_factory=dict)
    retries: int = 3
    timeout: float = 1
    overhead: int = 1
    processors: int = 2
    nodes: int = 1
    arguments: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        return self.folder / "rows.txt"

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    def write(self) -> Path:
        """Data, script and spec; the spec's path."""
        install(self.folder / "code")
        self.set_faults(self.faults)
        if not (self.folder / "data").exists():
            self._write_data()
        job = {"type": "pipeline", "jobs": {"work": self.step()}}
        spec = self.folder / "job.yml"
        spec.write_text(yaml.safe_dump(job))
        return spec

    def step(self) -> dict[str, Any]:
        task = {
            "type": "run_function",
            "code": "./code",
            "entry_script": SCRIPT,
            "environment": "azureml:any:1",
            "append_row_to": "${{outputs.rows}}",
            "program_arguments": f"--world {self.folder} --resource_monitor_interval 0 --task_overhead_timeout {self.overhead} "
            + self.arguments,
        }
        files = self.kind == "files"
        how = (
            {"partition_keys": ["key"]}
            if self.kind == "grouped"
            else {"mini_batch_size": "2" if files else "1kb"}
        )
        return {
            "type": "parallel",
            "inputs": {
                "data": {
                    "type": "uri_folder" if files else "mltable",
                    "path": "./data",
                    "mode": "ro_mount" if files else "direct",
                }
            },
            "outputs": {"rows": {"type": "uri_file", "path": "./rows.txt"}},
            "input_data": "${{inputs.data}}",
            "resources": {"instance_count": self.nodes},
            "max_concurrency_per_instance": self.processors,
            "retry_settings": {"max_retries": self.retries, "timeout": self.timeout},
            "task": task,
            **how,
            **self.settings,
        }

    def set_faults(self, faults: dict[str, list[str]]) -> None:
        """What is to happen from now on."""
        self.faults = faults
        schedule(self.folder, faults)

    def _write_data(self) -> None:
        data = self.folder / "data"
        data.mkdir()
        if self.kind == "files":
            for number in range(2 * self.mini_batches):
                (data / f"{number:05d}.txt").touch()
            return
        count = self.mini_batches
        # Keys come in turns, so that each group gathers its rows from the whole file.
        rows = [
            f"{row % count:05d},{row:05d},".ljust(ROW_BYTES - 1, "x") for row in range(GROUP_OF * count - 1)
        ]
        (data / "rows.csv").write_text("\n".join(["key,row,padding".ljust(ROW_BYTES - 1, "x"), *rows]) + "\n")
        (data / "MLTable").write_text(
            "paths:\n  - file: ./rows.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n"
        )

    def run(self, **options: Any) -> Any:
        """Run it in this process."""
        import daskpar

        return daskpar.run(
            self.write(), **{"run_dir": self.run_dir, "dashboard": None, "display": False, **options}
        )

    def resume(self, **options: Any) -> Any:
        import daskpar

        return daskpar.resume(self.run_dir, **{"dashboard": None, "display": False, **options})

    def start(self, *arguments: str, moment: str = "never", count: int = 1) -> warm_python.WarmProcess:
        """A driver process of its own that dies at the `count`th `moment`: by default of a new run of this job."""
        given = arguments or (str(self.write()), "--run-dir", str(self.run_dir))
        return warm_python.start(
            str(HERE / "chaos_driver.py"),
            *(moment, str(count), str(self.folder)),
            *(*given, "--quiet", "--dashboard", "none"),
            cwd=self.folder,
            start_new_session=True,
            env={**os.environ, **QUICK},
        )

    def drive(self, *arguments: str, moment: str = "never", count: int = 1) -> tuple[int, str]:
        """Run a driver process to its end, or death; its exit code and what it said. None of its processes outlives it."""
        driver = self.start(*arguments, moment=moment, count=count)
        said, _ = driver.communicate()
        self.wait_for_no_process()
        return driver.returncode, said.decode()

    def drive_resume(self, moment: str = "never", count: int = 1, *options: str) -> tuple[int, str]:
        return self.drive("resume", str(self.run_dir), *options, moment=moment, count=count)

    def wait_for_line(self, name: str, number: int = 1, patience: float = 30) -> None:
        """Until the script has written that many lines into a file of its world."""
        until(lambda: len(self.lines(name)) >= number, f"line {number} of {name}", seconds=patience)

    def wait_for_no_process(self, patience: float = 15) -> None:
        """What a dead driver leaves ends by itself, soon."""

        def gone() -> bool:
            left = processes_with(str(self.folder))
            return psutil.wait_procs(left, timeout=0.2)[1] == []

        until(gone, "the end of all its processes", seconds=patience)

    def committed(self) -> set[int]:
        """Mini-batches that the journal on the disk says are done."""
        path = self.run_dir / "steps" / "work" / "journal"
        commits = Commits.load(self.mini_batches, read_journal(path))
        return {index for index in range(self.mini_batches) if commits.is_final(index)}

    # -- what happened -----------------------------------------------------------------------------------------------------------

    def lines(self, name: str) -> list[list[str]]:
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def calls(self) -> dict[int, list[tuple[str, str]]]:
        """Mini-batch -> (processor, worker) of each call of run(), in order of time."""
        found: dict[int, list[tuple[str, str]]] = {}
        for index, pid, worker, _ in sorted(self.lines("calls"), key=lambda entry: float(entry[3])):
            found.setdefault(int(index), []).append((pid, worker))
        return found

    def deaths(self) -> list[list[str]]:
        """[processor | node, pid, harm, moment, mini-batch, seconds on the machine's clock] of each harm done."""
        return self.lines("deaths")

    @property
    def planned_faults(self) -> int:
        return sum(thing != "ok" for things in self.faults.values() for thing in things)

    def undisturbed(self) -> bytes:
        """The bytes of a run to which nothing happens, from what run() does alone."""
        count = self.mini_batches
        if self.kind == "files":
            rows = [
                f"{index} {number:05d}.txt" for index in range(count) for number in (2 * index, 2 * index + 1)
            ]
        elif self.kind == "grouped":
            rows = [
                f"{key} {key} {key + turn * count}"
                for key in range(count)
                for turn in range(GROUP_OF - (key == count - 1))
            ]
        else:
            rows = [
                f"{index} {row % count} {row}"
                for row in range(GROUP_OF * count - 1)
                for index in [((row + 1) * ROW_BYTES - 1) // 1024]
            ]
        return ("\n".join(rows) + "\n").encode()

    # -- what must hold ----------------------------------------------------------------------------------------------------------

    def check(self, ended: Any, *, charged: int | None = None) -> None:
        """A completed run: every row once and in order, exact counts, no call without a reason, nothing left behind."""
        assert (ended.status, ended.exit_code) == ("completed", 0), ended.reason
        counts = ended.steps["work"].counts
        assert counts.failed == 0, (ended.summary, self.deaths())
        self.check_output()
        assert counts.succeeded == counts.planned - counts.empty
        deaths = self.deaths()
        wanted = sum(map(self._is_charged, self._said(deaths))) if charged is None else charged
        assert wanted - self._unsaid(deaths) <= counts.tries_failed <= wanted, (counts, deaths)
        assert counts.retried == counts.tries_failed
        self.check_calls()
        self.check_leftovers()

    def _unsaid(self, deaths: list[list[str]]) -> int:
        """Failed tries that nobody may know of: a node that dies right behind one takes it along, and it is run again uncharged."""
        charged = [float(death[5]) for death in self._said(deaths) if self._is_charged(death)]
        nodes = [float(death[5]) for death in deaths if death[0] == "node"]
        return sum(
            any(0 <= node - moment < UNSAID_SECONDS + self.timeout + self.overhead for node in nodes)
            for moment in charged
        )

    def _said(self, deaths: list[list[str]]) -> list[list[str]]:
        """Without the failures that their processor died of saying, before it came to anything else: these are run again uncharged."""
        calls = [(pid, float(moment)) for _, pid, _, moment in self.lines("calls")]
        dying = [(death[1], float(death[5])) for death in deaths if death[3] in ("say", "write")]

        def next_of(events: list[tuple[str, float]], death: list[str]) -> float:
            return min(
                (moment for pid, moment in events if pid == death[1] and moment > float(death[5])),
                default=float("inf"),
            )

        survived = [death for death in deaths if death[2] in ("raise", "grow")]
        unsaid = [death for death in survived if next_of(dying, death) < next_of(calls, death)]
        return [death for death in deaths if death not in unsaid]

    @staticmethod
    def _is_charged(death: list[str]) -> bool:
        what, _, harm, moment, _, _ = death
        return what == "processor" and harm in CHARGED and moment in ("load", "run")

    def check_output(self) -> None:
        assert self.output.read_bytes() == self.undisturbed()

    def check_calls(self, others: Counter[str] | None = None) -> None:
        """Each mini-batch was run at least once, and again only where its processor or node had died since, or it had failed itself."""
        deaths = self.deaths()
        dead = {death[1] for death in deaths} | set(others or ())
        # Rows that were damaged are run again, by each damage once at most.
        damaged = sum(death[0] == "disk" or death[2] in DAMAGING for death in deaths)
        failed = Counter(int(death[4]) for death in deaths if death[2] == "raise" and death[3] == "run")
        calls = self.calls()
        for index in {int(line.split()[0]) for line in self.undisturbed().decode().splitlines()}:
            assert index in calls, f"run() was never called for mini-batch {index}"
            unexplained = [call for call in calls[index][:-1] if not dead & set(call)]
            assert len(unexplained) <= failed[index] + damaged, (
                f"mini-batch {index} was run again for no reason: {calls[index]}, {deaths}"
            )

    def check_leftovers(self) -> None:
        """No process and no file of ours is left; parts are gone once the output is complete."""
        assert [name for name in os.listdir(self.folder) if name.endswith(".tmp")] == []
        left = [
            str(path)
            for path in self.run_dir.rglob("*")
            if path.suffix in (".tmp", ".part") or path.name.startswith(".probe")
        ]
        assert left == []
        assert processes_with(str(self.folder)) == []


def processes_with(text: str) -> list[psutil.Process]:
    """Living processes whose command line or working directory names `text`, this one left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and (
                text in " ".join(process.cmdline()) or process.cwd().startswith(text)
            ):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
