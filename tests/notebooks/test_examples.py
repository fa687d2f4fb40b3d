"""The three example jobs, run by the command line as the README runs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd
import yaml

import warm_python


def run(folder: Path, spec: str, run_dir: Path) -> subprocess.CompletedProcess[str]:
    """`python -m daskpar SPEC` in a folder."""
    options = ("--run-dir", str(run_dir), "--dashboard", "none")
    return warm_python.run("daskpar", spec, *options, cwd=folder, timeout=100)


def test_iris_gives_a_row_for_each_flower_in_order(examples: Path, tmp_path: Path) -> None:
    done = run(examples, "iris/pipeline.yml", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "run/steps/batch_prediction/outputs/job_output_file", sep=" ", header=None)
    assert rows[0].tolist() == list(range(1, 4001))
    assert set(rows[1]) == {"setosa", "versicolor", "virginica"}
    # The article's spelling has no effect on the driver, and the user learns of it.
    assert "--resource_monitor_interval" in done.stderr


def test_many_models_trains_one_for_each_store_and_brand(examples: Path, tmp_path: Path) -> None:
    done = run(examples, "many-models/pipeline.yml", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "run/outputs/models").glob("*/*.json"))
    models = [json.loads(file.read_text()) for file in files]
    assert len(models) == 80
    assert [(str(model["Store"]), model["Brand"]) for model in models] == [
        (file.parent.name, file.stem) for file in files
    ]
    assert {model["rows"] for model in models} == {100}
    # The data is made with a price elasticity of -1.5 and an effect of advertising of 0.4.
    assert all(abs(model["price"] + 1.5) < 0.5 and abs(model["advert"] - 0.4) < 0.2 for model in models)


def test_images_are_read_five_at_a_time_and_shown(examples: Path, tmp_path: Path) -> None:
    done = run(examples, "images/pipeline.yml", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    state = json.loads((tmp_path / "run/steps/read_digits/step.json").read_text())
    assert (state["counts"]["planned"], state["counts"]["succeeded"], state["counts"]["items"]) == (
        20,
        20,
        100,
    )
    lines = (tmp_path / "run/steps/read_digits/outputs/result").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [f"{number:03}.png" for number in range(100)]
    assert (tmp_path / "run/steps/show/logs/user/std_out.txt").read_text().splitlines() == lines


def test_the_files_that_the_specs_name_are_there(examples: Path) -> None:
    """Azure ML refuses a spec whose conda file is missing; daskpar only notes that it builds no environment."""
    named = 0
    for spec in examples.glob("*/pipeline.yml"):
        for step in yaml.safe_load(spec.read_text())["jobs"].values():
            environment = step.get("environment") or step["task"]["environment"]
            if "conda_file" in environment:
                assert "dependencies" in yaml.safe_load((spec.parent / environment["conda_file"]).read_text())
                named += 1
    assert named >= 3, "each example has an environment of its own"
