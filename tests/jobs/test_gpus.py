"""A step on a node with (simulated) GPUs: who has which, what becomes of one that fails, what is shown of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daskpar.processor.gpus import gpu_readings
from daskpar.reports.facts import step_document
from daskpar.reports.run_facts import facts_of

BROKEN = """
import os, pathlib, time
device = os.environ["CUDA_VISIBLE_DEVICES"]
place, calls = pathlib.Path(os.environ["PLACE"]), 0
def init():
    (place / f"had-{device}").touch()
    while len(list(place.glob("had-*"))) < 2:
        time.sleep(0.005)
def run(batch):
    global calls
    name = os.path.basename(batch[0])
    calls += 1
    if device == "1":
        raise RuntimeError("CUDA error: unspecified launch failure")
    if name == "0030.txt" and calls > 1:
        raise MemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    time.sleep(0.01)
    return [f"{name} {device}"]
"""


def fake_library() -> SimpleNamespace:
    return SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=1 << 30, total=80 << 30),
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=50 + handle),
        nvmlDeviceGetName=lambda handle: "NVIDIA H100",
    )


def test_a_gpu_that_fails_at_everything_is_left_out_and_no_row_is_lost(work, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(gpu_readings, "library", fake_library)
    work.files(40)
    step = work.parallel(
        BROKEN,
        arguments="--resource_monitor_interval 0.05",
        max_concurrency_per_instance=None,
        environment_variables={"PLACE": str(work.folder)},
        retry_settings={"max_retries": 2, "timeout": 30},
    )
    run = work.run({"s": step})
    assert work.rows() == [f"{n:04}.txt 0" for n in range(40)]
    assert run.steps["s"].counts.failed == 0
    left_out = "GPU 1 of node 0 is left out for the rest of the step: the last "
    assert any(left_out in note for note in run.steps["s"].notes), run.steps["s"].notes
    table = (run.path / "steps/s/logs/sys/perf/0/node_gpu_usage.csv").read_text().splitlines()
    assert table[0] == "Utc Time,Gpu,Name,Gpu Percent,Memory Used (MB),Memory Total (MB)"
    assert {tuple(row.split(",")[1:]) for row in table[1:]} == {
        ("0", "NVIDIA H100", "50", "1024", "81920"),
        ("1", "NVIDIA H100", "51", "1024", "81920"),
    }
    (step_facts,) = facts_of(run.path).steps.values()
    of_second = [0, "1", "NVIDIA H100", 51.0, 51.0, 1024.0, 1024.0, 81920.0]
    assert step_document(step_facts, 0.0)["gpus"][1] == of_second


def test_plan_says_who_gets_which(work, monkeypatch):
    work.files(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    step = work.parallel(arguments="--gpus_per_processor 0.5", max_concurrency_per_instance=None)
    spec = str(work.spec({"s": step}))
    shown = work.cli("plan", spec).stdout
    assert "4 here (GPUs of each: 0, 1, 0, 1; from CUDA_VISIBLE_DEVICES)" in shown
    assert "gpus_per_processor" in shown


@pytest.mark.parametrize("share", ["0", "1.5", "-1", "many", "0.001"])
def test_a_share_that_is_none_is_refused(work, share):
    import daskpar

    work.files(1)
    with pytest.raises(daskpar.errors.SpecError) as refused:
        daskpar.validate(work.spec({"s": work.parallel(arguments=f"--gpus_per_processor={share}")}))
    assert "has to be GPUs for each processor" in str(refused.value)


DEAD = """
import os, pathlib, time
device, place = os.environ["CUDA_VISIBLE_DEVICES"], pathlib.Path(os.environ["PLACE"])
def init():
    if device == "GPU-b":
        with open(place / "starts", "a") as file:
            file.write("x")
        raise RuntimeError("CUDA error: unspecified launch failure")
def run(batch):
    while len((place / "starts").read_text() if (place / "starts").exists() else "") < 3:
        time.sleep(0.005)  # the other GPU is known for broken before all is done
    return [device]
"""


def test_a_gpu_on_which_no_process_starts_does_not_end_the_step(work, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,-1,GPU-c")
    work.files(4)
    step = work.parallel(
        DEAD,
        max_concurrency_per_instance=None,
        environment_variables={"PLACE": str(work.folder)},
        retry_settings={"max_retries": 0, "timeout": 50},
    )
    run = work.run({"s": step})
    assert work.rows() == ["GPU-a"] * 4
    assert (work.folder / "starts").read_text() == "xxx"
    assert any("3 processes failed at their start on it" in note for note in run.steps["s"].notes)
