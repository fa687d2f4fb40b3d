"""The notebook runs from top to bottom, and what it shows in the repository is what it gives."""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

FROM_THE_MODEL = "from-the-model"
"""Tag of a cell whose figures are a trained model's: the last digits differ between processors and releases of scikit-learn."""


@pytest.mark.timeout(240)
def test_first_run_runs_and_shows_results(examples: Path) -> None:
    path = examples / "first-run.ipynb"
    notebook = nbformat.read(path, as_version=4)
    before = [(tags(cell), shown(cell)) for cell in notebook.cells]
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(examples)}}).execute()
    after = [shown(cell) for cell in notebook.cells]
    for (given, saved), now in zip(before, after, strict=True):
        differing = (
            "the outputs in the repository are not those of this code: run the notebook again and save it"
        )
        if FROM_THE_MODEL in given:
            assert words(now) == words(saved), differing
            assert figures(now) == pytest.approx(figures(saved), rel=0.02), differing
        else:
            assert now.split() == saved.split(), differing
    assert any("setosa" in text for text in after)
    assert sum(FROM_THE_MODEL in given for given, _ in before) == 2, (
        "the first rows, and how many of each species"
    )


def tags(cell: nbformat.NotebookNode) -> list[str]:
    """How a cell is marked."""
    return list(cell.metadata.get("tags", ()))


def shown(cell: nbformat.NotebookNode) -> str:
    """The text results of a cell; progress and paths, which differ from run to run, left out."""
    outputs = cell.get("outputs", ())
    return "\n".join(
        output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"
    )


NUMBER = r"\b\d+(?:\.\d+)?\b"


def words(text: str) -> list[str]:
    """All but the figures, whatever the space between."""
    return re.sub(NUMBER, "#", text).split()


def figures(text: str) -> list[float]:
    """The figures alone."""
    return [float(number) for number in re.findall(NUMBER, text)]
