"""What the GPUs of a node are and use, by NVIDIA's library (`nvidia-ml-py`, the extra `gpu`), where it is.

A node without the files of the driver imports nothing, and asks nobody.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from glob import glob
from typing import Any

from daskpar.processor.gpus.gpu_devices import devices

DRIVER = "/dev/nvidiactl"
DEVICES = "/dev/nvidia[0-9]*"
_MB = 1024 * 1024

Row = dict[str, object]


def device_files() -> list[str]:
    """The files of this machine's GPUs."""
    return glob(DEVICES)


def gpus_here() -> tuple[str, ...]:
    """The devices that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    files = device_files()
    found = devices(visible, files)
    return found if visible is not None or not files else parts_of(found)


def library() -> Any:
    """NVIDIA's library, ready; None where it is not installed, or finds no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return None
    return pynvml


def parts_of(found: Sequence[str], load: Callable[[], Any] | None = None) -> tuple[str, ...]:
    """The devices with each GPU that is divided (MIG) replaced by its parts: CUDA can't use it whole."""
    nvml = (load or library)()
    if nvml is None:
        return tuple(found)
    names: list[str] = []
    for device in found:
        parts: list[str] = []
        with contextlib.suppress(Exception):
            parts = [str(nvml.nvmlDeviceGetUUID(part)) for part in _parts(nvml, _handle(nvml, device))]
        names += parts or [device]
    return tuple(names)


def _parts(nvml: Any, handle: Any) -> Iterator[Any]:
    if nvml.nvmlDeviceGetMigMode(handle)[0] != 1:
        return
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with contextlib.suppress(nvml.NVMLError):  # no part has this number
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)


def _handle(nvml: Any, device: str) -> Any:
    if device.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(device))
    return nvml.nvmlDeviceGetHandleByUUID(device.encode())


def readings(names: Sequence[str], load: Callable[[], Any] | None = None) -> tuple[Row, ...]:
    """A row of `sys/perf` for each of the devices; none where nothing can be read."""
    if not names or (nvml := (load or library)()) is None:
        return ()
    rows = []
    for device in names:
        with contextlib.suppress(Exception):  # a device that is lost has no more to say
            rows.append(_row(nvml, device))
    return tuple(rows)


def _row(nvml: Any, device: str) -> Row:
    handle = _handle(nvml, device)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    percent: object = ""
    with contextlib.suppress(nvml.NVMLError):  # parts of a GPU (MIG) do not count it
        percent = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    name = nvml.nvmlDeviceGetName(handle)
    return {
        "Gpu": device,
        "Name": name.decode() if isinstance(name, bytes) else str(name),
        "Gpu Percent": percent,
        "Memory Used (MB)": memory.used / _MB,
        "Memory Total (MB)": memory.total / _MB,
    }
