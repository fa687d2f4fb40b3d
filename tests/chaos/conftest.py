"""Fixtures of the chaos suite."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(
    0, str(Path(__file__).parent)
)  # its helpers are modules of their own, which the soak uses too

from chaos_job import ChaosJob


@pytest.fixture
def chaos(tmp_path: Path):
    """Make a job in a folder of its own."""
    made = []

    def make(**kwargs) -> ChaosJob:
        folder = tmp_path / f"job{len(made)}"
        folder.mkdir()
        made.append(ChaosJob(folder=folder, **kwargs))
        return made[-1]

    return make
