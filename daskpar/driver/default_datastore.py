"""The datastore for outputs without a path that Dask's configuration names (`daskpar.default_datastore`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

KEY = "default_datastore"
_VARIABLE = "DASK_DASKPAR__DEFAULT_DATASTORE"


def configured_default() -> str:
    """The name; empty where none is configured. Dask is imported only where one may be."""
    if "dask.config" not in sys.modules and not _may_be_configured():
        return ""
    import dask

    found = dask.config.get(f"daskpar.{KEY}", "") or ""
    return str(found).removeprefix("azureml:")


def _may_be_configured() -> bool:
    """Whether the environment or a file of Dask's configuration has such a name."""
    if _VARIABLE in os.environ:
        return True
    return any(KEY.encode() in _content(file) for folder in _folders() for file in _files(folder))


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
