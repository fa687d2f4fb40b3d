"""Where conda environments lie on this machine, found without running conda, which takes a second."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_ROOTS = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", "miniconda", "anaconda")


def conda_environments() -> dict[str, str]:
    """Name -> folder of each environment; that of an installation of conda itself is called `base`."""
    found: dict[str, str] = {}
    for folder in _folders():
        for each in sorted(_below(folder)):
            if os.path.isdir(os.path.join(each, "conda-meta")):
                found.setdefault(os.path.basename(each), each)
    for root in _roots():
        if os.path.isdir(os.path.join(root, "conda-meta")):
            found.setdefault("base", root)
    for line in _listed():
        if os.path.isdir(os.path.join(line, "conda-meta")):
            found.setdefault(os.path.basename(line.rstrip("/")), line)
    return found


def _folders() -> Iterator[str]:
    for variable in ("CONDA_ENVS_PATH", "CONDA_ENVS_DIRS"):
        yield from filter(None, os.environ.get(variable, "").split(os.pathsep))
    yield os.path.expanduser("~/.conda/envs")
    for root in _roots():
        yield os.path.join(root, "envs")


def _roots() -> Iterator[str]:
    """Folders where conda, mamba or micromamba may be installed, or keep their environments."""
    if root := os.environ.get("MAMBA_ROOT_PREFIX"):
        yield root
    for variable in ("CONDA_EXE", "MAMBA_EXE"):
        if program := os.environ.get(variable):
            yield os.path.dirname(os.path.dirname(program))
    for name in ("conda", "mamba"):
        if found := shutil.which(name):
            yield os.path.dirname(os.path.dirname(os.path.realpath(found)))
    if active := os.environ.get("CONDA_PREFIX"):
        parent = os.path.dirname(active)
        yield os.path.dirname(parent) if os.path.basename(parent) == "envs" else active
    for name in _ROOTS:
        yield os.path.expanduser(f"~/{name}")
        yield f"/opt/{name}"
    yield "/opt/conda"


def _below(folder: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    except OSError:
        return []


def _listed() -> list[str]:
    """The environments that conda has put down for this user."""
    try:
        text = Path(os.path.expanduser("~/.conda/environments.txt")).read_text()
    except (OSError, ValueError):
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]
