"""The public door: what `import daskpar` offers is what the README documents, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import daskpar

NAMES = {
    "run",
    "resume",
    "validate",
    "plan",
    "map_mini_batches",
    "Run",
    "read_mltable",
    "read_files",
    "DaskparError",
    "SpecError",
    "UsageError",
    "InputError",
    "RunDirectoryError",
    "JobFailed",
    "InfrastructureLost",
    "Interrupted",
    "PartialRun",
    "debug",
    "mini_batch",
}
README = Path(__file__).parent.parent / "README.md"


def test_the_door_has_these_names() -> None:
    assert set(daskpar.__all__) == NAMES | {"__version__"}
    assert set(daskpar.__all__) <= set(dir(daskpar))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(daskpar, name).__doc__


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_readme_tells_of_each_name(name: str) -> None:
    assert name in README.read_text()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'runn'"):
        daskpar.runn  # noqa: B018


def test_every_error_has_its_exit_code() -> None:
    codes = {name: getattr(daskpar, name).exit_code for name in NAMES if name[0].isupper() and name != "Run"}
    assert codes == {
        "DaskparError": 1,
        "SpecError": 2,
        "UsageError": 2,
        "InputError": 2,
        "RunDirectoryError": 2,
        "JobFailed": 1,
        "InfrastructureLost": 3,
        "Interrupted": 130,
        "PartialRun": 4,
    }


def test_importing_loads_nothing_else() -> None:
    """Processors import the package too and must start fast."""
    code = "import sys; before = set(sys.modules); import daskpar; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {name for name in loaded if name.startswith("daskpar")} == {"daskpar", "daskpar._version"}
    assert not {"dask", "distributed", "pandas", "numpy", "pyarrow"} & set(loaded)
