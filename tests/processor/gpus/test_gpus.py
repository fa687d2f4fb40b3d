"""GPUs as their node sees them: what errors say, which GPU is broken, what NVIDIA's library tells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daskpar.processor.gpus.gpu_errors import GpuTrouble, gpu_trouble
from daskpar.processor.gpus.gpu_health import GpuHealth
from daskpar.processor.gpus.gpu_readings import gpus_here, parts_of, readings

MEMORY, FAILED = GpuTrouble.MEMORY, GpuTrouble.FAILED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total", MEMORY),
        ("RuntimeError: CUDA error: out of memory", MEMORY),
        ("cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,000,000,512 bytes", MEMORY),
        ("cudaErrorMemoryAllocation: out of memory", MEMORY),
        (
            "numba.cuda.cudadrv.driver.CudaAPIError: [2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY",
            MEMORY,
        ),
        (
            "XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.",
            MEMORY,
        ),
        (
            "ResourceExhaustedError: {{function_node __wrapped__}} OOM when allocating tensor with shape[9]",
            MEMORY,
        ),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", MEMORY),
        ("RuntimeError: CUDA error: device-side assert triggered", FAILED),
        ("AcceleratorError: CUDA error: an illegal memory access was encountered", FAILED),
        (
            "cupy_backends.cuda.api.runtime.CUDARuntimeError: cudaErrorIllegalAddress: an illegal memory",
            FAILED,
        ),
        ("XlaRuntimeError: INTERNAL: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure", FAILED),
        ("InternalError: CUDNN_STATUS_EXECUTION_FAILED", FAILED),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`", FAILED),
        ("NVRM: Xid (PCI:0000:17:00): 79, GPU has fallen off the bus.", FAILED),
        ("RuntimeError: No CUDA GPUs are available", FAILED),
        ("the processor died by SIGABRT\nterminate called: CUDA error: unspecified launch failure", FAILED),
        ("RuntimeError: CUDA error: invalid device ordinal", None),
        ("MemoryError: Unable to allocate 8.00 GiB", None),
        ("ValueError: the maxid is wrong", None),
        ("RuntimeError: the model says 500", None),
        ("FileNotFoundError: /data/cuda errors.txt", None),
    ],
)
def test_what_an_error_says_of_a_gpu(text, expected):
    assert gpu_trouble(text) == expected


def test_a_gpu_is_left_out_for_what_others_can_do():
    health = GpuHealth(("0", "1", "2"))
    health.failed("1", [4])
    health.failed("1", [5, 6])
    assert health.found_broken() == []  # bad files, perhaps
    health.succeeded("0", [5])
    assert [device for device, _ in health.found_broken()] == ["1"]
    assert health.left_out == {"1"} and not health.in_doubt
    for index in (7, 8, 9):
        health.failed("0", [index])
    health.succeeded("0", [10])
    health.succeeded("2", [7])
    assert health.found_broken() == []  # it has worked since
    for index in (17, 18, 19):
        health.failed("2", [index])
    health.succeeded("0", [18])
    assert [device for device, _ in health.found_broken()] == ["2"]
    for index in (21, 22, 23, 24):
        health.failed("0", [index])
    assert health.found_broken() == []  # the last one stays


def test_a_gpu_on_which_nothing_starts_is_left_out_where_others_start():
    health = GpuHealth(("0", "1"))
    for _ in range(4):
        health.not_started("1")
    assert health.found_broken() == []
    health.started("0")
    ((device, why),) = health.found_broken()
    assert (device, why.startswith("the last 4 processes failed at their start")) == ("1", True)
    health.not_started("")
    health.failed("9", [1])
    assert not health.in_doubt


@pytest.mark.parametrize(
    ("told", "broken"),
    [
        ([("failed", "1", [1, 2, 3]), ("succeeded", "0", [2])], ["1"]),
        ([("failed", "1", [1, 2]), ("failed", "1", [2, 1]), ("succeeded", "0", [2])], []),  # two that differ
        ([("failed", "1", [1, 2, 3]), ("succeeded", "0", [9])], []),  # others can't do these either
        ([("started", "0"), *[("not_started", "1")] * 2], []),
        ([("started", "0"), *[("not_started", "1")] * 3], ["1"]),
        ([("started", "0"), *[("not_started", "1")] * 2, ("started", "1"), *[("not_started", "1")] * 2], []),
        ([("started", "1"), *[("not_started", "1")] * 3], []),  # nobody knows that they start elsewhere
    ],
)
def test_from_when_on_a_gpu_looks_broken(told, broken):
    health = GpuHealth(("0", "1"))
    assert health.in_doubt is False
    for name, *arguments in told:
        getattr(health, name)(*arguments)
    assert health.in_doubt is True
    assert [device for device, _ in health.found_broken()] == broken
    assert health.found_broken() == []


def test_what_still_runs_on_a_gpu_that_is_left_out_changes_nothing():
    health = GpuHealth(("0", "1", "2"))
    health.failed("1", [1, 2, 3])
    health.succeeded("0", [1])
    assert [device for device, _ in health.found_broken()] == ["1"]
    health.failed("1", [4, 5, 6])
    health.succeeded("0", [4])
    assert health.found_broken() == [], "it is left out already"
    last = GpuHealth(("0", "1"), left_out={"1"})
    last.failed("0", [1, 2, 3])
    last.succeeded("1", [1])
    assert last.found_broken() == [], "the last one stays"


class Error(Exception):
    pass


def library(mig: bool = False, lost: str = "") -> SimpleNamespace:
    """NVIDIA's, as far as it is used: two GPUs, each in two parts if `mig`."""

    def by_uuid(uuid: bytes):
        return uuid.decode()

    def memory(handle):
        if handle == lost:
            raise Error("GPU is lost")
        return SimpleNamespace(used=2 << 30, total=80 << 30)

    def rates(handle):
        if "MIG" in handle:
            raise Error("not supported")
        return SimpleNamespace(gpu=37)

    def part(handle, number):
        if number == 1:
            raise Error("no such part")
        return f"{handle}-{number}"

    return SimpleNamespace(
        NVMLError=Error,
        nvmlDeviceGetHandleByIndex=lambda index: f"GPU-{index}",
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetMigMode=lambda handle: (int(mig), int(mig)),
        nvmlDeviceGetMaxMigDeviceCount=lambda handle: 3,
        nvmlDeviceGetMigDeviceHandleByIndex=part,
        nvmlDeviceGetUUID=lambda handle: f"MIG-{handle}",
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetUtilizationRates=rates,
        nvmlDeviceGetName=lambda handle: b"NVIDIA H100",
    )


def test_divided_gpus_are_named_by_their_parts():
    assert parts_of(("0", "1"), library) == ("0", "1")
    divided = parts_of(("0", "1"), lambda: library(mig=True))
    assert divided == ("MIG-GPU-0-0", "MIG-GPU-0-2", "MIG-GPU-1-0", "MIG-GPU-1-2")
    assert parts_of(("0",), lambda: None) == ("0",)


def test_what_gpus_use():
    whole, part = readings(("1", "MIG-x", "GPU-lost"), lambda: library(lost="GPU-lost"))
    assert whole == {
        "Gpu": "1",
        "Name": "NVIDIA H100",
        "Gpu Percent": 37.0,
        "Memory Used (MB)": 2048.0,
        "Memory Total (MB)": 81920.0,
    }
    assert (part["Gpu"], part["Gpu Percent"]) == ("MIG-x", "")
    assert readings(("0",), lambda: None) == ()


def test_a_machine_without_gpus_loads_nothing_for_them(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("daskpar.processor.gpus.gpu_readings.device_files", list)
    monkeypatch.setattr("daskpar.processor.gpus.gpu_readings.library", pytest.fail)
    assert gpus_here() == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7,GPU-8,-1,3")
    assert gpus_here() == ("GPU-7", "GPU-8")
