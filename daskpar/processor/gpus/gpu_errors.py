"""Tells whether an error speaks of a GPU, by the words of the libraries that use it: a table of patterns."""

from __future__ import annotations

import re
from enum import StrEnum


class GpuTrouble(StrEnum):
    """What is wrong with a GPU, as far as the words of an error tell."""

    MEMORY = "out of memory"
    """It has no memory left: a fresh process, with nothing kept there, may do."""
    FAILED = "failed"
    """Its context is lost for the process: whatever this one tries there next fails too."""


_MEMORY = (
    r"CUDA out of memory",  # torch (torch.OutOfMemoryError, torch.cuda.OutOfMemoryError)
    r"CUDA error: out of memory",  # torch, of a call of the driver's
    r"cuda(?:Error)?MemoryAllocation|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY",  # the API, numba
    r"cupy\S*OutOfMemoryError|Out of memory allocating [\d,]+ bytes",  # cupy
    r"RESOURCE_EXHAUSTED: .*(?:memory|allocat)",  # jax
    r"OOM when allocating tensor|failed to allocate .{0,80}from device",  # tensorflow
    r"CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
    r"std::bad_alloc: .*(?:CUDA|rmm)|rmm\S*out_of_memory",  # cudf
)
_FAILED = (
    r"CUDA error[: ]|CUDA runtime error|CUDA driver error|CUDA failure",  # torch, xgboost, onnxruntime
    r"device-side assert",
    r"\bcudaError[A-Z]\w+|\bCUDA_ERROR_[A-Z_]+",  # the API's own names: cupy, numba, jax, tensorflow
    r"CU(?:DNN|BLAS|SPARSE|SOLVER|FFT|RAND)_STATUS_(?!ALLOC_FAILED|SUCCESS)[A-Z_]+",
    r"\bNCCL (?:error|failure)|ncclUnhandledCudaError",
    r"\bXid\b",
    r"GPU (?:is lost|has fallen off the bus)|NVML_ERROR_GPU_IS_LOST",
    r"No CUDA GPUs are available|no CUDA-capable device is detected|no NVIDIA driver",
    r"an illegal memory access was encountered|unspecified launch failure|uncorrectable ECC error",
)
_OF_MEMORY, _OF_FAILURE = (re.compile("|".join(patterns)) for patterns in (_MEMORY, _FAILED))
# Nothing has failed on a device where there is none to begin with, or the script has named a wrong one.
_NOT_OF_A_DEVICE = re.compile(r"invalid device ordinal|cudaErrorInvalidDevice\b|CUDA_ERROR_INVALID_DEVICE\b")


def gpu_trouble(text: str) -> GpuTrouble | None:
    """What an error's text says of a GPU; None where it says nothing of one."""
    if _OF_MEMORY.search(text):
        return GpuTrouble.MEMORY
    if _OF_FAILURE.search(text) and not _NOT_OF_A_DEVICE.search(text):
        return GpuTrouble.FAILED
    return None
