"""Measures how fast rows come back over Dask from nodes that do not see the run directory.

    python -m benchmarks.far_rows [--nodes 2] [--megabytes 1000]

A scheduler and workers start on this machine, the workers in mount namespaces in which the folder of the run
is an empty one (`unshare`). Their script returns text of a megabyte for each mini-batch as fast as it can. It
tells megabytes a second of the whole step, and the processor seconds that the driver (its start included) and
the scheduler spend on a gigabyte, which say what one core of each keeps up with. The same job without Dask in
between stands beside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

SCRIPT = """
ROW = "x" * 1023
def run(mini_batch):
    return [ROW] * 1024
"""
HIDE = 'mount -t tmpfs none "$0" && exec "$@"'
ROUNDS = 3


def main() -> None:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--megabytes", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="far-rows-") as folder:
        measure(Path(folder), given.nodes, given.megabytes)


def measure(folder: Path, nodes: int, megabytes: int) -> None:
    """Start a cluster, run the job there and here in turn, and print what it took."""
    for name in ("runs", "data", "code"):
        (folder / name).mkdir()
    (folder / "code" / "score.py").write_text(SCRIPT)
    for number in range(megabytes):
        (folder / "data" / f"{number:06}.txt").touch()
    spec = folder / "job.yml"
    spec.write_text(yaml.safe_dump(job(nodes)))
    scheduler_file = str(folder / "scheduler.json")
    common = ["--scheduler-file", scheduler_file, "--no-dashboard"]
    scheduler = start("scheduler", *common, "--host", "127.0.0.1", "--port", "0")
    workers = []
    try:
        while not Path(scheduler_file).exists():
            time.sleep(0.1)
        for number in range(nodes):
            own = folder / f"node{number}"
            own.mkdir()
            options = [*common, "--no-nanny", "--nthreads", "1", "--local-directory", str(own)]
            hidden = ["unshare", "-rm", "sh", "-c", HIDE, str(folder / "runs")]
            workers.append(start("worker", *options, before=hidden))
        time.sleep(5)
        print(f"{'':14} {'MB/s':>8} {'driver, s/GB':>14} {'scheduler, s/GB':>16}")
        for number in range(ROUNDS):
            before = spent(scheduler.pid)
            took = run(spec, folder / "runs" / f"{number}", "--scheduler", scheduler_file)
            tell("over Dask", megabytes, took, spent(scheduler.pid) - before)
            tell("run directory", megabytes, run(spec, folder / "runs" / f"here-{number}"), None)
    finally:
        for process in [*workers, scheduler]:
            process.terminate()
            process.wait()


def job(nodes: int) -> dict[str, object]:
    """The spec."""
    task = {
        "type": "run_function",
        "code": "./code",
        "entry_script": "score.py",
        "environment": "azureml:any:1",
        "append_row_to": "${{outputs.rows}}",
        "program_arguments": "--any_number_of_rows True",
    }
    step = {
        "type": "parallel",
        "inputs": {"files": {"type": "uri_folder", "path": "./data", "mode": "direct"}},
        "outputs": {"rows": {"type": "uri_file", "path": "./rows.txt"}},
        "input_data": "${{inputs.files}}",
        "mini_batch_size": "1",
        "resources": {"instance_count": nodes},
        "max_concurrency_per_instance": 1,
        "task": task,
    }
    return {"type": "pipeline", "jobs": {"score": step}}


def start(what: str, *arguments: str, before: list[str] | None = None) -> subprocess.Popen[bytes]:
    """A process of Dask's command line, with this daskpar."""
    root = str(Path(__file__).parents[1])
    command = [*(before or []), sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
    env = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(spec: Path, run_directory: Path, *arguments: str) -> tuple[float, float]:
    """Seconds of the step, and processor seconds of the driver alone."""
    import json

    root = str(Path(__file__).parents[1])
    command = [
        sys.executable,
        "-m",
        "daskpar",
        str(spec),
        "--quiet",
        "--run-dir",
        str(run_directory),
        *arguments,
    ]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    own = 0.0
    while process.poll() is None:
        own = spent(process.pid) or own
        time.sleep(0.05)
    assert process.returncode == 0, process.returncode
    state = json.loads((run_directory / "steps" / "score" / "step.json").read_text())
    return state["seconds"], own


def spent(pid: int) -> float:
    """Processor seconds of a process so far; 0 where it has gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def tell(what: str, megabytes: int, took: tuple[float, float], scheduler: float | None) -> None:
    """Print a row."""
    seconds, driver = took
    beside = "" if scheduler is None else f"{1000 * scheduler / megabytes:16.1f}"
    print(f"{what:14} {megabytes / seconds:8.0f} {1000 * driver / megabytes:14.1f} {beside}", flush=True)


if __name__ == "__main__":
    main()
