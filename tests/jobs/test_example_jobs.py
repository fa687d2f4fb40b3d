"""The four jobs of the README from data to results: the article's own YAML, many models, images, bad pictures."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

import daskpar
import warm_python

pytestmark = pytest.mark.servers_with_pandas
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture
def example(work):
    """Copy an example and make its data; the folder."""

    def copy(name: str) -> Path:
        folder = work.folder / name
        shutil.copytree(NOTEBOOKS / name, folder, ignore=shutil.ignore_patterns("runs", "__pycache__"))
        made = warm_python.run(str(folder / "make_data.py"), cwd=folder)
        assert made.returncode == 0, made.stderr
        return folder

    return copy


def run(folder: Path, spec: str = "pipeline.yml"):
    ended = daskpar.run(folder / spec, run_dir=folder / "run", dashboard=None, display=False)
    assert ended.status == "completed", ended.reason
    return ended


def test_the_articles_own_job(example):
    folder = example("iris")
    ended = run(folder)
    rows = Path(ended.outputs["batch_prediction.job_output_file"]).read_text().splitlines()
    flowers = (folder / "neural-iris-mltable/iris.csv").read_text().splitlines()[1:]
    assert [row.split()[0] for row in rows] == [flower.split(",")[0] for flower in flowers]
    assert {row.split()[1] for row in rows} == {"setosa", "versicolor", "virginica"}
    counts = ended.counts["batch_prediction"]
    assert (counts.failed, counts.items) == (0, len(flowers))
    assert counts.succeeded > 1
    argv = (ended.path / "effective-spec.yml").read_text()
    assert "--resource_monitor_interva 20" in argv


def test_many_models_on_folders_and_straight_on_the_table_in_any_order(example):
    folder = example("many-models")
    ended = run(folder)
    models = {
        path.relative_to(ended.outputs["models"]): path.read_text()
        for path in Path(ended.outputs["models"]).rglob("*.json")
    }
    assert len(models) == 80
    assert ended.counts["train"].succeeded == 80
    header, *rows = (folder / "data/sales.csv").read_text().splitlines()
    random.Random(3).shuffle(rows)
    (folder / "straight").mkdir()
    (folder / "straight/sales.csv").write_text("\n".join([header, *rows, ""]))
    (folder / "straight/MLTable").write_text(
        "type: mltable\npaths:\n  - file: ./sales.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n"
    )
    import yaml

    spec = yaml.safe_load((folder / "pipeline.yml").read_text())
    step = spec["jobs"]["train"]
    step["inputs"] = {"sales_by_store_and_brand": {"type": "mltable", "path": "./straight", "mode": "direct"}}
    spec["jobs"] = {"train": step}
    del spec["inputs"]
    (folder / "straight.yml").write_text(yaml.safe_dump(spec))
    again = daskpar.run(folder / "straight.yml", run_dir=folder / "run2", dashboard=None, display=False)
    assert again.status == "completed", again.reason
    straight = {
        path.relative_to(again.outputs["models"]): path
        for path in Path(again.outputs["models"]).rglob("*.json")
    }
    assert {name: json.loads(path.read_text())["rows"] for name, path in straight.items()} == {
        name: json.loads(text)["rows"] for name, text in models.items()
    }


def test_images_and_a_command_that_shows_what_was_read(example):
    folder = example("images")
    ended = run(folder)
    shown = (ended.logs["show"] / "user/std_out.txt").read_text()
    assert shown == Path(ended.outputs["read_digits.result"]).read_text()
    assert [line.split(":")[0] for line in shown.splitlines()] == sorted(
        path.name for path in (folder / "data").glob("*.png")
    )
    assert ended.counts["read_digits"].succeeded == 20


def test_bad_pictures_cost_themselves_alone(example):
    folder = example("bad-pictures")
    ended = run(folder)
    bad = [json.loads(line) for line in (ended.logs["show"] / "user/std_out.txt").read_text().splitlines()]
    assert [(Path(v["path"]).name, v["reason"]) for v in bad] == [
        ("007.png", "EXCEPTION"),
        ("008.png", "EXCEPTION"),
        ("022.png", "TIMEOUT"),
        ("041.png", "EXCEPTION"),
    ]
    names = {Path(v["path"]).name for v in bad}
    assert ended.to_pandas("find")["picture"].tolist() == [
        path.name for path in sorted((folder / "data").iterdir()) if path.name not in names
    ]
