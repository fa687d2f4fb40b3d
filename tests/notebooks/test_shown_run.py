"""A run in a notebook: one output that changes, the run as it shows itself, and what is asked of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

SPEC = """
type: pipeline
jobs:
  score:
    type: parallel
    inputs: {data: {type: uri_folder, path: ./in}}
    outputs: {rows: {type: uri_file, path: ./rows.txt}}
    input_data: ${{inputs.data}}
    mini_batch_error_threshold: 1
    retry_settings: {max_retries: 0}
    max_concurrency_per_instance: 1  # the second failure is the last mini-batch
    task:
      type: run_function
      code: .
      entry_script: score.py
      append_row_to: ${{outputs.rows}}
"""
SCRIPT = """
import pandas, pathlib
def run(mini_batch):
    path = pathlib.Path(mini_batch[0])
    if path.read_text() == "bad":
        raise ValueError(f"<b>no</b> & {path.name}")
    return pandas.DataFrame({"file": [path.name], "size": [path.stat().st_size]})
"""
CELLS = (
    "import daskpar, pathlib",
    "run = daskpar.run('pipeline.yml')",
    "run",
    "run.failures()[['index', 'name', 'items', 'reason', 'message']]",
    "for path in pathlib.Path('in').glob('*/x.txt'): _ = path.write_text('good')",
    "run = daskpar.resume(run, allow_changes=True)",
    "run.mini_batches()[['index', 'name', 'outcome']].to_csv(index=False)",
    "run.to_pandas().dtypes.to_dict(), run.to_pandas()['size'].tolist()",
    "run.plot()",
    "run.mini_batches('scores')",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The outputs of each cell, as the notebook is saved."""
    folder = tmp_path_factory.mktemp("notebook")
    for name, text in {"a/u.txt": "four", "a/x.txt": "bad", "b/u.txt": "four", "b/x.txt": "bad"}.items():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_text(text)
    Path(folder, "pipeline.yml").write_text(SPEC)
    Path(folder, "score.py").write_text(SCRIPT)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=120,
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return {cell.source: cell.outputs for cell in notebook.cells}


def html_of(outputs: list[Any]) -> str:
    return str(data_of(outputs)["text/html"])


def data_of(outputs: list[Any]) -> dict[str, Any]:
    """What a cell shows; it shows one thing, and nothing else is written there."""
    assert [each["output_type"] for each in outputs] in (["display_data"], ["execute_result"]), outputs
    return dict(outputs[0]["data"])


def test_a_run_is_one_output_below_its_cell(outputs: dict[str, list[Any]]) -> None:
    failed, completed = outputs[CELLS[1]], outputs[CELLS[5]]
    assert [each["output_type"] for each in failed + completed] == ["display_data"] * 2, failed + completed
    assert "First error, in score, mini-batch" in html_of(failed)
    assert "4 of 4 mini-batches succeeded" in html_of(completed) and "<progress" not in html_of(completed)
    assert "token=" not in str(failed + completed)


def test_a_failed_run_shows_itself(outputs: dict[str, list[Any]]) -> None:
    shown = html_of(outputs["run"])
    assert "2 of 4 mini-batches succeeded, 2 failed" in shown and "2 of 1 allowed" in shown
    assert "ValueError: &lt;b&gt;no&lt;/b&gt; &amp; x.txt" in shown and "(a/x.txt)" in shown
    assert data_of(outputs["run"])["text/plain"].startswith("<Run ")


def test_what_is_asked_of_it(outputs: dict[str, list[Any]]) -> None:
    failures = data_of(outputs[CELLS[3]])["text/plain"]
    assert re.search(r"1 +a/x\.txt +1 +EXCEPTION +ValueError: <b>no</b> & x\.txt", failures)
    assert re.search(r"3 +b/x\.txt", failures)
    table = eval(data_of(outputs[CELLS[6]])["text/plain"])
    assert table == (
        "index,name,outcome\n0,a/u.txt,succeeded\n1,a/x.txt,succeeded\n"
        "2,b/u.txt,succeeded\n3,b/x.txt,succeeded\n"
    )
    rows = data_of(outputs[CELLS[7]])["text/plain"]
    assert "'file': " in rows and "'size': dtype('int64')" in rows and "[4, 4, 4, 4]" in rows
    assert "srcdoc=" in data_of(outputs[CELLS[8]])["text/html"]
    (error,) = outputs[CELLS[9]]
    assert not [shown for cell in CELLS for shown in outputs[cell] if shown["output_type"] == "stream"]
    assert error["ename"] == "UsageError" and "score" in error["evalue"]
