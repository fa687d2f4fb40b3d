"""Checks on a machine with a GPU what simulated ones can't show: `python -m benchmarks.gpus`, in minutes.

Two processors share one GPU by halves; a device assert in one of them; a hang inside a kernel that is killed
and tried again; memory that is used up; a resume. By torch or cupy, whichever is installed. Ends with 0 where
all is as promised, 1 where something is not, 2 where there is no GPU or no library.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

FILES = 40
HANG, ASSERT, GREEDY, DIES = "0003", "0009", "0017", "0029"
"""Files at which something happens once; at the last one the driver is killed, for the resume."""
TIMEOUT = 25
"""Seconds: more than the first call of a library takes, which loads its kernels."""

SCRIPT = '''
import os, pathlib, signal, time
library, place = os.environ["GPU_LIBRARY"], pathlib.Path(os.environ["PLACE"])
if library == "torch":
    import torch
else:
    import cupy

SPIN = r"""extern "C" __global__ void spin(volatile int *stop) { while (*stop == 0) { } }"""
TRAP = r"""extern "C" __global__ void trap(int *x) { asm("trap;"); }"""

def init():
    if library == "torch":
        assert torch.cuda.device_count() == 1, torch.cuda.device_count()
    else:
        assert cupy.cuda.runtime.getDeviceCount() == 1
    (place / f"device-{os.getpid()}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])

def total(number):
    if library == "torch":
        return int(torch.arange(number + 1, device="cuda").sum().item())
    return int(cupy.arange(number + 1).sum())

def device_assert():
    if library == "torch":
        torch.zeros(2, device="cuda")[torch.tensor([10**6], device="cuda")]
        torch.cuda.synchronize()
    else:
        cupy.RawKernel(TRAP, "trap")((1,), (1,), (cupy.zeros(1, dtype="i4"),))
        cupy.cuda.runtime.deviceSynchronize()

def hang():
    if library == "torch":
        torch.cuda._sleep(2**62)
        torch.cuda.synchronize()
    else:
        cupy.RawKernel(SPIN, "spin")((1,), (1,), (cupy.zeros(1, dtype="i4"),))
        cupy.cuda.runtime.deviceSynchronize()

def use_all():
    kept = []
    while True:
        size = 2**30
        kept.append(torch.empty(size, dtype=torch.uint8, device="cuda") if library == "torch"
                    else cupy.empty(size, dtype="u1"))

def run(batch):
    name = pathlib.Path(batch[0]).stem
    number = int(name)
    whats = {"ASSERT": device_assert, "HANG": hang, "GREEDY": use_all}
    what = next((what for file, what in whats.items() if os.environ[file] == name), None)
    mark = place / f"once-{name}"
    if what is not None and not mark.exists():
        mark.write_text(str(os.getpid()))
        what()
    if name == os.environ["DIES"] and not mark.exists():
        while not (place / f"done-{os.environ['HANG']}").exists():
            time.sleep(0.05)  # the call that hangs is to be killed by its timeout, and not with the driver
        mark.touch()
        os.kill(int((place / "driver").read_text()), signal.SIGKILL)
        time.sleep(60)
    time.sleep(0.05)
    row = f"{name} {total(number)} {os.getpid()}"
    (place / f"done-{name}").touch()
    return [row]
'''


def library() -> str:
    """`torch` or `cupy`, whichever finds a GPU; says what is missing and ends with 2 where neither does."""
    missing = []
    for name, ask in (
        (
            "torch",
            "import torch; n = torch.cuda.device_count(); assert torch.zeros(1, device='cuda') is not None",
        ),
        ("cupy", "import cupy; n = cupy.cuda.runtime.getDeviceCount(); cupy.zeros(1)"),
    ):
        code = f"{ask}; print(n)"
        asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if asked.returncode == 0 and int((asked.stdout.split() or ["0"])[-1]):
            return name
        missing.append(f"{name}: {(asked.stderr.strip() or 'no GPU').splitlines()[-1]}")
    print("There is no GPU that torch or cupy can use here; nothing was checked.")
    print(*(f"  {line}" for line in missing), sep="\n")
    raise SystemExit(2)


def first_gpu() -> str:
    """The device that is used: the first one that is visible."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[0].strip() if visible else "0"


def write_job(folder: Path, name: str) -> None:
    """The job, its script and its files."""
    (folder / "code").mkdir()
    (folder / "data").mkdir()
    (folder / "code/on_gpu.py").write_text(SCRIPT)
    for number in range(FILES):
        (folder / "data" / f"{number:04}.txt").write_text(f"{number}\n")
    step = {
        "type": "parallel",
        "inputs": {"files": {"type": "uri_folder", "path": "./data"}},
        "outputs": {"rows": {"type": "uri_file", "path": "./rows.txt"}},
        "input_data": "${{inputs.files}}",
        "mini_batch_size": "1",
        "retry_settings": {"max_retries": 2, "timeout": TIMEOUT},
        "environment_variables": {
            "GPU_LIBRARY": name,
            "PLACE": str(folder),
            **{"ASSERT": ASSERT, "HANG": HANG, "GREEDY": GREEDY, "DIES": DIES},
        },
        "task": {
            "type": "run_function",
            "code": "./code",
            "entry_script": "on_gpu.py",
            "environment": "azureml:any:1",
            "program_arguments": "--gpus_per_processor 0.5 --resource_monitor_interval 1",
            "append_row_to": "${{outputs.rows}}",
        },
    }
    job = {"type": "pipeline", "name": "gpus", "compute": "local", "jobs": {"s": step}}
    (folder / "job.yml").write_text(json.dumps(job, indent=1))  # which is YAML too


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """daskpar in the folder, with one GPU visible; its process is known to the script."""
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": first_gpu()}
    process = subprocess.Popen(
        [sys.executable, "-m", "daskpar", *arguments, "--dashboard", "none"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    (folder / "driver").write_text(str(process.pid))
    try:
        output, _ = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, "")


def checks(
    folder: Path, resumed: subprocess.CompletedProcess[str]
) -> Iterator[tuple[str, Callable[[], bool]]]:
    """What is promised, each with how it is looked at."""
    run = folder / "run"
    rows = (
        [row.split() for row in (folder / "rows.txt").read_text().splitlines()]
        if resumed.returncode == 0
        else []
    )
    pids = {row[2] for row in rows}

    def once(name: str) -> str:
        mark = folder / f"once-{name}"
        return mark.read_text() if mark.exists() else ""

    def by_another(name: str) -> bool:
        return any(row[0] == name and row[2] != once(name) for row in rows) and bool(once(name))

    def usage() -> bool:
        (table,) = (run / "steps/s/logs/sys/perf").glob("0/node_gpu_usage.csv")
        with table.open() as file:
            return any(float(row["Memory Used (MB)"]) > 0 for row in csv.DictReader(file))

    errors = "".join(path.read_text(errors="replace") for path in (run / "steps/s/logs").rglob("*.txt"))
    yield "the resume completes", lambda: resumed.returncode == 0
    yield (
        "all rows, in order, each once",
        lambda: (
            [(row[0], int(row[1])) for row in rows] == [(f"{n:04}", n * (n + 1) // 2) for n in range(FILES)]
        ),
    )
    yield (
        "processors share the one GPU",
        lambda: len(pids) > 1 and {path.read_text() for path in folder.glob("device-*")} == {first_gpu()},
    )
    yield "a device assert is tried again by another process", lambda: by_another(ASSERT)
    yield "... and is known for one", lambda: "CUDA" in errors or "cuda" in errors
    yield (
        "a hang in a kernel is killed and tried again",
        lambda: by_another(HANG) and "took longer than" in errors,
    )
    yield "used up memory is tried again by a fresh process", lambda: by_another(GREEDY)
    yield "the driver was killed for the resume", lambda: (folder / f"once-{DIES}").exists()
    try:
        import pynvml  # noqa: F401
    except ImportError:
        print(
            "  (nvidia-ml-py is not installed: `pip install 'daskpar[gpu]'`; use of the GPU is not looked at)"
        )
    else:
        yield "use of the GPU is in sys/perf", usage


def main() -> int:
    """Run it and say what held."""
    name = library()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="daskpar-gpus-") as temporary:
        folder = Path(temporary)
        write_job(folder, name)
        print(f"one GPU ({first_gpu()}) by {name}, {FILES} files, two processors")
        first = command(folder, "job.yml", "--run-dir", "run")
        print(f"  the first run ended with {first.returncode} after {time.monotonic() - began:.0f} s")
        resumed = command(folder, "resume", "run")
        print(f"  the resume ended with {resumed.returncode} after {time.monotonic() - began:.0f} s")
        wrong = 0
        for what, look in checks(folder, resumed):
            try:
                held = look()
            except Exception as error:
                held, what = False, f"{what} ({type(error).__name__}: {error})"
            wrong += not held
            print(f"  {'ok   ' if held else 'WRONG'} {what}")
        if wrong:
            print(
                "\n".join(
                    ["--- the first run", first.stdout[-3000:], "--- the resume", resumed.stdout[-3000:]]
                )
            )
    said = f"{wrong} are not as promised" if wrong else "all as promised"
    print(f"{said}, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
