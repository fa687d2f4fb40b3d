"""The notebook runs from top to bottom, and what it shows in the repository is what it gives."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest


@pytest.mark.timeout(240)
def test_first_run_runs_and_shows_results(examples: Path) -> None:
    path = examples / "first-run.ipynb"
    notebook = nbformat.read(path, as_version=4)
    before = [shown(cell) for cell in notebook.cells]
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(examples)}}).execute()
    after = [shown(cell) for cell in notebook.cells]
    assert after == before, (
        "the outputs in the repository are not those of this code: run the notebook again and save it"
    )
    assert any("setosa" in text for text in after)


def shown(cell: nbformat.NotebookNode) -> str:
    """The text results of a cell; progress and paths, which differ from run to run, left out."""
    outputs = cell.get("outputs", ())
    return "\n".join(
        output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"
    )
