"""The datastore for outputs without a path that Dask's configuration names (`daskpar.default_datastore`)."""

from __future__ import annotations

from daskpar.configured import configured

KEY = "default_datastore"


def configured_default() -> str:
    """The name; empty where none is configured."""
    return str(configured(KEY, "")).removeprefix("azureml:")
