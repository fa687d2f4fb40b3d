"""Which package of PyPI is the counterpart of one of conda, where that is another name, or none."""

from __future__ import annotations

ANOTHER_NAME = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "tensorflow-base": "tensorflow",
    "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless",
    "libopencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "matplotlib-base": "matplotlib",
    "dask-core": "dask",
    "pytables": "tables",
    "msgpack-python": "msgpack",
    "ruamel_yaml": "ruamel.yaml",
    "psycopg2": "psycopg2-binary",
    "faiss": "faiss-cpu",
    "pyqt": "pyqt5",
    "python-graphviz": "graphviz",
    "python-duckdb": "duckdb",
    "importlib_metadata": "importlib-metadata",
    "importlib_resources": "importlib-resources",
    "typing_extensions": "typing-extensions",
    "prompt_toolkit": "prompt-toolkit",
    "jupyter_client": "jupyter-client",
    "jupyter_core": "jupyter-core",
    "et_xmlfile": "et-xmlfile",
    "pyarrow-core": "pyarrow",
    "numpy-base": "numpy",
    "keras-base": "keras",
    "fbprophet": "prophet",
    "ipython_genutils": "ipython-genutils",
}
"""Name on conda -> name on PyPI; all others are called the same."""

OF_CONDA_ALONE = {
    "cudatoolkit": "the wheels of PyPI bring CUDA along: leave it out",
    "cudnn": "the wheels of PyPI bring cuDNN along: leave it out",
    "cuda": "the wheels of PyPI bring CUDA along: leave it out",
    "cuda-toolkit": "the wheels of PyPI bring CUDA along: leave it out",
    "pytorch-cuda": "the wheels of PyPI bring CUDA along: leave it out",
    "cpuonly": "name torch with an index of its own in the pip section",
    "nvidia-apex": "it is built from source",
    "mkl": "the wheels of PyPI bring their own: leave it out",
    "openblas": "the wheels of PyPI bring their own: leave it out",
    "blas": "the wheels of PyPI bring their own: leave it out",
    "nomkl": "the wheels of PyPI bring their own: leave it out",
    "gcc": "a compiler of the system is used",
    "gxx": "a compiler of the system is used",
    "gcc_linux-64": "a compiler of the system is used",
    "gxx_linux-64": "a compiler of the system is used",
    "cxx-compiler": "a compiler of the system is used",
    "make": "a program of the system",
    "git": "a program of the system",
    "curl": "a program of the system",
    "ffmpeg": "a program of the system",
    "graphviz": "a program of the system; its Python package is python-graphviz",
    "nodejs": "a program of the system",
    "openjdk": "a program of the system",
    "poppler": "a program of the system",
    "tesseract": "a program of the system",
    "openssl": "a library of the system",
    "libgcc": "a library of the system",
    "libgcc-ng": "a library of the system",
    "libstdcxx-ng": "a library of the system",
    "zlib": "a library of the system",
    "hdf5": "a library of the system",
    "gdal": "its Python package needs the library of the system",
    "r-base": "R is not on PyPI",
    "rdkit-postgresql": "a library of the system",
}
"""Packages without a counterpart on PyPI -> why, or what to do."""
_BEGINNINGS = {"r-": "R is not on PyPI", "lib": "a library of the system", "cuda-": "CUDA of conda alone"}
_NO_LIBRARIES = frozenset({"libclang", "librosa", "libsass", "libcst", "libtorrent", "libusb1", "libpysal"})
"""What begins with `lib` and is on PyPI."""

RUNNERS = frozenset(
    {
        "azureml-core",
        "azureml-dataset-runtime",
        "azureml-dataprep",
        "azureml-defaults",
        "azureml-telemetry",
        "mltable",
    }
)
"""What Azure ML's own runner of parallel jobs needs, and no script that does not import it."""


def on_pypi(name: str) -> str:
    """The name on PyPI of a package of conda; empty where it has no counterpart there."""
    name = name.lower()
    return "" if why_not(name) else ANOTHER_NAME.get(name, name)


def why_not(name: str) -> str:
    """Why a package of conda has no counterpart on PyPI; empty where it has one."""
    name = name.lower()
    if name in OF_CONDA_ALONE:
        return OF_CONDA_ALONE[name]
    if name in ANOTHER_NAME or name in _NO_LIBRARIES:
        return ""
    return next((why for beginning, why in _BEGINNINGS.items() if name.startswith(beginning)), "")
