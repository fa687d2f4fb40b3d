"""The notebook of clusters: what any machine can run is run; the rest needs programs that tests do not install."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import yaml

import warm_python

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"


def test_the_job_runs_on_a_cluster_by_hand_and_what_is_not_wanted_is_left_out(tmp_path: Path) -> None:
    shutil.copytree(NOTEBOOKS / "clusters", tmp_path / "clusters")
    notebook = nbformat.read(NOTEBOOKS / "clusters.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = ["import os", "os.environ['CLUSTERS'] = 'hand'"]
    for cell in cells:
        *body, last = cell.source.splitlines()
        shown = cell.outputs and not last.startswith((" ", ")"))
        lines += [*body, f"print({last})" if shown else last]
    script = tmp_path / "cells.py"
    script.write_text("\n".join(lines))
    done = warm_python.run(str(script), cwd=tmp_path, timeout=100)
    assert done.returncode == 0, done.stderr
    [by_hand, *others] = done.stdout.splitlines()
    saved = [cell.outputs[0]["data"]["text/plain"] for cell in cells if cell.outputs]
    assert by_hand == saved[0] == "('completed', 5, 'a.txt 0', 'j.txt 9')"
    assert len(others) == len(saved) - 1 and all("is left out" in line for line in others), others


def test_every_cluster_of_the_notebook_is_described(tmp_path: Path) -> None:
    described = yaml.safe_load((NOTEBOOKS / "clusters/computes.yaml").read_text())["daskpar"]["computes"]
    assert set(described) == {"ssh", "slurm", "jobs", "kubernetes", "coiled"}
    assert all("." in entry["class"] for entry in described.values())
