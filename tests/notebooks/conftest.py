"""A copy of the example jobs with their data made, so that tests leave the checkout as it was."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`notebooks/` as a fresh clone has it, then made ready as the README says."""
    folder = tmp_path_factory.mktemp("examples") / "notebooks"
    made = shutil.ignore_patterns("runs", "data", "model", "iris-model", "*.csv", ".ipynb_checkpoints")
    shutil.copytree(NOTEBOOKS, folder, ignore=made)
    for example in ("iris", "many-models", "images"):
        subprocess.run(
            [sys.executable, str(folder / example / "make_data.py")], check=True, capture_output=True
        )
    return folder
