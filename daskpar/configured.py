"""Values of Dask's configuration at `daskpar.KEY`; Dask is imported only where there may be one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def configured(key: str, default: Any) -> Any:
    """The value at `daskpar.KEY`; `default` where there is none, or an empty one."""
    if "dask.config" not in sys.modules and not _may_be_configured(key):
        return default
    import dask

    return dask.config.get(f"daskpar.{key}", default) or default


def _may_be_configured(key: str) -> bool:
    """Whether the environment or a file of Dask's configuration has such a key."""
    variable = f"DASK_DASKPAR__{key.upper()}"
    if any(name.upper().startswith(variable) for name in os.environ):
        return True
    return any(key.encode() in _content(file) for folder in _folders() for file in _files(folder))


def _folders() -> list[str]:
    """Where Dask looks for its configuration."""
    chosen = [os.environ[name] for name in ("DASK_CONFIG", "DASK_ROOT_CONFIG") if name in os.environ]
    home = os.path.expanduser("~")
    return [
        *chosen, "/etc/dask", f"{sys.prefix}/etc/dask", f"{home}/.config/dask", f"{home}/.dask",
        f"{sys.base_prefix}/etc/dask",
    ]  # fmt: skip


def _files(folder: str) -> list[Path]:
    place = Path(folder)
    if place.is_file():
        return [place]
    try:
        return [file for file in place.iterdir() if file.suffix in (".yaml", ".yml", ".json")]
    except OSError:
        return []


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
