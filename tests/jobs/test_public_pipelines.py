"""Jobs as public repositories have them, from the file to the results: nested pipelines, batch deployments, what `init` writes."""

from __future__ import annotations

import os

import pytest

import daskpar
from daskpar.cli import main
from daskpar.errors import SpecError

UPPER = """
import argparse, os
def init():
    global out
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--out")
    out = parser.parse_known_args()[0].out
    assert os.environ["AZUREML_ROOT_RUN_ID"] and "AZUREML_ARM_SUBSCRIPTION" not in os.environ
    assert os.environ["MLFLOW_TRACKING_URI"].startswith("file:///")
def run(mini_batch):
    for path in mini_batch:
        with open(path) as file, open(os.path.join(out, os.path.basename(path)), "w") as copy:
            copy.write(file.read() * 2)
    return [os.path.basename(path) for path in mini_batch]
"""


def test_a_pipeline_in_a_pipeline_and_its_resume(work):
    """The second pipeline works on what the first one wrote; its failure is mended by a resume."""
    work.files(3)
    step = work.parallel(
        UPPER,
        inputs={"files": "${{parent.inputs.raw}}"},
        outputs={"folder": "${{parent.outputs.folder}}", "rows": {"type": "uri_file"}},
        arguments="--out ${{outputs.folder}}",
    )
    work.spec(
        {"up": step},
        name="inner.yml",
        inputs={"raw": {"type": "uri_folder"}},
        outputs={"folder": {"type": "uri_folder"}},
    )
    stop = work.write("stop", "")
    work.write("shared/helper/__init__.py", "")
    work.write("shared/note.txt", "kept beside the code")
    first = {"raw": {"type": "uri_folder", "path": "./data"}}
    jobs = {
        "one": {"type": "pipeline", "component": "./inner.yml", "inputs": first},
        "two": {
            "type": "pipeline",
            "component": "./inner.yml",
            "inputs": {"raw": "${{parent.jobs.one.outputs.folder}}"},
        },
        "last": work.command(
            f"ls helper/__init__.py note.txt && test ! -e {stop} && cat ${{{{inputs.i}}}}/* > ${{{{outputs.o}}}}",
            inputs={"i": "${{parent.jobs.two.outputs.folder}}"},
            outputs={"o": {"type": "uri_file", "path": "./all.txt"}},
            additional_includes=["./shared/helper", "./shared/note.txt"],
        ),
    }
    ended = work.run(jobs)
    assert ended.status == "failed"
    assert (ended.counts["one.up"].succeeded, ended.counts["two.up"].succeeded) == (3, 3)
    stop.unlink()
    again = daskpar.resume(ended.path, dashboard=None, display=False)
    assert again.status == "completed"
    assert work.rows("all.txt") == [line for number in "012" for line in [number] * 4]
    assert sorted(os.listdir(ended.path / "steps")) == ["last", "one.up", "two.up"]


SCORING = """
import os
import pandas as pd
def init():
    global weight
    (model,) = os.listdir(os.environ["AZUREML_MODEL_DIR"])
    weight = open(os.path.join(os.environ["AZUREML_MODEL_DIR"], model, "weight")).read()
def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    for name in names:
        open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], name + ".done"), "w").close()
    return pd.DataFrame({"name": names, "said": weight})
"""


def test_a_batch_deployment(work, capsys):
    work.files(5)
    work.write("code/score.py", SCORING)
    work.write("model/weight", "two words")
    spec = work.write(
        "deployment.yml",
        """
        name: scores
        endpoint_name: ours
        model: azureml:heart@latest
        code_configuration: {code: code, scoring_script: score.py}
        settings: {mini_batch_size: 2, output_action: append_row, output_file_name: scores.csv}
        """,
    )
    asset = f"heart={work.folder / 'model'}"
    assert main(["validate", str(spec), "--asset", asset]) == 0
    assert "give the input 'data' (uri_folder): --input data=PATH" in capsys.readouterr().out
    run = work.folder / "run"
    options = ["--asset", asset, "--run-dir", str(run), "--quiet", "--dashboard", "none"]
    assert main(["run", str(spec), "--input", str(work.folder / "data"), *options]) == 0
    scores = run / "outputs/score"
    assert (scores / "scores.csv").read_text().splitlines() == [f'{n:04}.txt "two words"' for n in range(5)]
    assert len(list(scores.glob("*.done"))) == 5
    # The resume finds model and data again.
    assert main(["resume", str(run), "--retry-failed", "--quiet", "--dashboard", "none"]) == 0


def test_several_inputs_and_none(work):
    """v1's habits: two inputs, each split for itself, and mini-batches without input."""
    work.files(3)
    work.files(2, "more")
    two = {"a": {"type": "uri_folder", "path": "./data"}, "b": {"type": "uri_folder", "path": "./more"}}
    script = "import os\ndef run(mini_batch):\n    return [' '.join(os.path.basename(p) for p in mini_batch)] * max(1, len(mini_batch))"
    ended = work.run(
        {
            "both": work.parallel(
                script, inputs=two, input_data="${{inputs.a}}, ${{inputs.b}}", mini_batch_size="2"
            ),
            "none": work.parallel(
                "def run(mini_batch):\n    return [f'{len(mini_batch)} {mini_batch.task_id}']",
                name="rank.py",
                inputs=None,
                input_data=None,
                arguments="--rank_mini_batch_count 3",
                outputs={"rows": {"type": "uri_file", "path": "./ranks.txt"}},
            ),
        }
    )
    assert ended.status == "completed"
    assert work.rows() == ["0000.txt 0001.txt"] * 2 + ["0002.txt"] + ["0000.txt 0001.txt"] * 2
    assert work.rows("ranks.txt") == ["0 0", "0 1", "0 2"]


def test_a_missing_package_is_known_before_anything_starts(work, capsys):
    work.files(1)
    work.write("code/beside.py", "")
    script = "import os, beside\nimport not_there_at_all.inner\ntry:\n    import perhaps\nexcept ImportError:\n    perhaps = None\ndef run(m):\n    return m\n"
    spec = work.spec({"work": work.parallel(script)})
    assert main(["validate", str(spec)]) == 0
    said = capsys.readouterr().out
    assert "code/score.py:2: the entry script imports 'not_there_at_all'" in said
    assert "perhaps" not in said and "beside" not in said
    with pytest.raises(SpecError, match="not_there_at_all"):
        daskpar.run(spec, run_dir=work.folder / "run", dashboard=None, display=False)
    assert not (work.folder / "run").exists()


def test_an_import_that_is_certain_to_fail_again_is_tried_once(work):
    work.files(4)
    script = "import importlib\nimportlib.import_module('not_there_at_all')\ndef run(m):\n    return m\n"
    ended = work.run({"work": work.parallel(script, max_concurrency_per_instance=2)})
    assert ended.status == "failed"
    tries = list((ended.path / "steps/work/logs/user/error").rglob("*.txt"))
    assert 1 <= len(tries) <= 2  # one for each processor that was being started


def test_mistakes_in_an_mltable_are_the_specs(work, capsys):
    work.write(
        "table/MLTable",
        "paths:\n  - file: ./x.csv\ntransformations:\n  - read_delimited:\n      delimeter: ','\n",
    )
    work.write("table/x.csv", "a\n1\n")
    table = {"files": {"type": "mltable", "path": "./table"}}
    spec = work.spec({"work": work.parallel(inputs=table, mini_batch_size="1kb")})
    for verb in ("validate", "plan", "run"):
        assert main([verb, str(spec)]) == 2
        said = capsys.readouterr().err
        assert (
            "table/MLTable:5: `read_delimited` has no option 'delimeter'. Did you mean 'delimiter'?" in said
        )
    assert not (work.folder / "runs").exists()


def test_validate_refuses_an_unknown_datastore(work, capsys):
    there = {"files": {"type": "uri_folder", "path": "azureml://datastores/nowhere/paths/x"}}
    spec = work.spec({"work": work.parallel(inputs=there)})
    assert main(["validate", str(spec)]) == 2
    assert "the datastore 'nowhere' is not known here" in capsys.readouterr().err


def test_what_init_writes_runs_as_it_is(work, capsys, monkeypatch):
    monkeypatch.chdir(work.folder)
    work.write("sales/2023/a.csv", 'shop;sold\nnorth;1\n"s;outh";2\n')
    work.write("sales/b.CSV", "shop;sold\neast;3\n")
    work.write("mixed/notes.txt", "hello")
    work.write("mixed/table.csv", "a\n1\n")
    expected = {
        "sales": ["shop,sold", "east,3", "north,1", "s;outh,2"],
        "mixed": ["notes.txt 5", "table.csv 4"],
    }
    for data, rows in expected.items():
        assert main(["init", data, "--folder", f"job-{data}"]) == 0
        spec = f"job-{data}/pipeline.yml"
        assert f"wrote {spec}" in capsys.readouterr().out
        ended = daskpar.run(spec, run_dir=f"run-{data}", dashboard=None, display=False)
        assert ended.status == "completed", ended.reason
        written = work.rows(f"job-{data}/rows.{'csv' if data == 'sales' else 'txt'}")
        assert sorted(written[1:]) == rows[1:] and written[0] == rows[0]
        assert main(["init", data, "--folder", f"job-{data}"]) == 2
        assert "nothing was written" in capsys.readouterr().err
