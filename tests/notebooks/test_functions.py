"""The notebook with functions: they are killed, crash, are gone on with, and show their own lines."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parent.parent.parent / "notebooks" / "functions.ipynb"


def results(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """The text results of each cell."""
    return [
        [
            each["data"]["text/plain"]
            for each in cell.get("outputs", ())
            if each["output_type"] == "execute_result"
        ]
        for cell in notebook.cells
    ]


@pytest.mark.timeout(240)
def test_functions_run_and_show_what_the_notebook_has(tmp_path: Path) -> None:
    shutil.copy(NOTEBOOK, tmp_path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    saved = results(notebook)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert results(notebook) == saved, "run the notebook again and save it, with its results alone"
    assert ["('completed', 2, 2)"] in saved
    printed = "".join(
        each.get("text", "")
        for cell in notebook.cells
        for each in cell.get("outputs", ())
        if each["output_type"] == "stream"
    )
    assert "by-store: the failed mini-batches are run again" in printed
    assert "by-store: completed already, its rows are reused" in printed
    trace = printed[printed.index("Traceback") :]
    assert 'File "Cell In[' in trace and 'return {"ratio": 1 / (len(rows) - 250)}' in trace
    assert "daskpar" not in trace, "frames of ours say nothing to a user"
