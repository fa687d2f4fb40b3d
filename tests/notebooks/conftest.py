"""A copy of the example jobs with their data made, so that tests leave the checkout as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import warm_python

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`notebooks/` as a fresh clone has it, then made ready as the README says."""
    folder = tmp_path_factory.mktemp("examples") / "notebooks"
    left_out = shutil.ignore_patterns("runs", "data", "model", "iris-model", "*.csv", ".ipynb_checkpoints")
    shutil.copytree(NOTEBOOKS, folder, ignore=left_out)
    for example in ("iris", "many-models", "images"):
        made = warm_python.run(str(folder / example / "make_data.py"), cwd=folder / example)
        assert made.returncode == 0, made.stderr
    return folder
