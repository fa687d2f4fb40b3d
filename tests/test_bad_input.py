"""Bad input: a clear error and exit code 2 before any user code runs, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest

from daskpar.cli import main

TABLE = (
    "type: mltable\npaths:\n  - file: ./a.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n"
)


def broken_yaml(work) -> dict[str, Any]:
    work.write("job.yml", "type: pipeline\njobs: {work: [\n")
    return {}


def no_yaml_mapping(work) -> dict[str, Any]:
    work.write("job.yml", "- just\n- a list\n")
    return {}


def wrong_type(work) -> dict[str, Any]:
    return {"work": work.parallel(mini_batch_error_threshold="many")}


def unknown_binding(work) -> dict[str, Any]:
    return {"work": work.parallel(input_data="${{inputs.flies}}")}


def missing_folder(work) -> dict[str, Any]:
    return {"work": work.parallel(inputs={"files": {"type": "uri_folder", "path": "./dta"}})}


def missing_file(work) -> dict[str, Any]:
    extra = {
        "files": {"type": "uri_folder", "path": "./data"},
        "model": {"type": "uri_file", "path": "./model.pkl"},
    }
    return {"work": work.parallel(inputs=extra)}


def missing_in_a_datastore(work) -> dict[str, Any]:
    place = "azureml://datastores/workspaceblobstore/paths/model.pkl"
    return {
        "work": work.parallel(
            inputs={
                "files": {"type": "uri_folder", "path": "./data"},
                "model": {"type": "uri_file", "path": place},
            }
        )
    }


def folder_at_a_url(work) -> dict[str, Any]:
    return {"work": work.command("ls", outputs={"o": {"type": "uri_folder", "path": "memory://bucket/x"}})}


def missing_script(work) -> dict[str, Any]:
    step = work.parallel()
    step["task"]["entry_script"] = "scoer.py"
    return {"work": step}


def missing_code(work) -> dict[str, Any]:
    step = work.parallel()
    step["task"]["code"] = "./cod"
    return {"work": step}


def missing_function(work) -> dict[str, Any]:
    return {"work": work.parallel("def init():\n    pass\ndef rum(mini_batch):\n    return mini_batch\n")}


def wrong_signature(work) -> dict[str, Any]:
    return {"work": work.parallel("def run():\n    return []\n")}


def syntax_error(work) -> dict[str, Any]:
    return {"work": work.parallel("def run(mini_batch:\n    return []\n")}


def key_that_is_no_column(work) -> dict[str, Any]:
    work.write("table/a.csv", "Store,Brand\n1,x\n")
    work.write("table/MLTable", TABLE)
    inputs = {"files": {"type": "mltable", "path": "./table", "mode": "direct"}}
    return {"work": work.parallel(inputs=inputs, partition_keys=["Stroe"], mini_batch_size=None)}


def size_that_is_none(work) -> dict[str, Any]:
    return {"work": work.parallel(mini_batch_size="10 parsecs")}


def cycle(work) -> dict[str, Any]:
    one = work.command(
        "true", inputs={"x": "${{parent.jobs.two.outputs.y}}"}, outputs={"y": {"type": "uri_folder"}}
    )
    two = work.command(
        "true", inputs={"x": "${{parent.jobs.one.outputs.y}}"}, outputs={"y": {"type": "uri_folder"}}
    )
    return {"one": one, "two": two}


def two_outputs_at_one_path(work) -> dict[str, Any]:
    return {"one": work.parallel(), "two": work.parallel()}


def unreadable_mltable(work) -> dict[str, Any]:
    work.write(
        "table/MLTable", "type: mltable\npaths:\n  - file: ./gone.csv\ntransformations:\n  - read_delimited\n"
    )
    return {"work": work.parallel(inputs={"files": {"type": "mltable", "path": "./table", "mode": "direct"}})}


def broken_mltable(work) -> dict[str, Any]:
    work.write("table/MLTable", "type: mltable\npaths: [\n")
    return {"work": work.parallel(inputs={"files": {"type": "mltable", "path": "./table", "mode": "direct"}})}


def folder_without_mltable(work) -> dict[str, Any]:
    return {"work": work.parallel(inputs={"files": {"type": "mltable", "path": "./data", "mode": "direct"}})}


def parquet_output(work) -> dict[str, Any]:
    outputs = {"rows": {"type": "uri_file", "path": "./rows.parquet"}}
    return {"work": work.parallel(outputs=outputs, arguments="--append_row_format csv")}


def output_is_a_folder(work) -> dict[str, Any]:
    (work.folder / "rows.txt").mkdir()
    return {"work": work.parallel()}


def output_over_the_script(work) -> dict[str, Any]:
    return {"work": work.parallel(outputs={"rows": {"type": "uri_file", "path": "./code/score.py"}})}


def output_over_the_spec(work) -> dict[str, Any]:
    return {"work": work.parallel(outputs={"rows": {"type": "uri_file", "path": "./job.yml"}})}


def output_over_an_input(work) -> dict[str, Any]:
    inputs = {
        "files": {"type": "uri_folder", "path": "./data"},
        "list": {"type": "uri_file", "path": "./data/0000.txt"},
    }
    return {
        "work": work.parallel(
            inputs=inputs, outputs={"rows": {"type": "uri_file", "path": "./data/0000.txt"}}
        )
    }


CASES = {
    broken_yaml: ["job.yml:", "YAML"],
    no_yaml_mapping: ["job.yml"],
    wrong_type: ["job.yml:", "jobs.work.mini_batch_error_threshold", "many"],
    unknown_binding: ["job.yml:", "flies", "Did you mean", "files"],
    missing_folder: ["job.yml:", "dta"],
    missing_file: ["job.yml:", "model.pkl"],
    missing_in_a_datastore: ["job.yml:", "model.pkl does not exist", "--datastore workspaceblobstore=FOLDER"],
    folder_at_a_url: ["job.yml:", "memory://bucket/x", "mode: direct"],
    missing_script: ["job.yml:", "scoer.py"],
    missing_code: ["job.yml:", "folder cod", "'code'"],
    missing_function: ["run(", "score.py"],
    wrong_signature: ["run", "score.py:1"],
    syntax_error: ["score.py:1"],
    key_that_is_no_column: ["Stroe", "Store", "job.yml:"],
    size_that_is_none: ["job.yml:", "10 parsecs"],
    cycle: ["job.yml", "one", "two"],
    two_outputs_at_one_path: ["job.yml:", "rows.txt", "one", "two"],
    unreadable_mltable: ["gone.csv", "MLTable:", "job.yml:"],
    broken_mltable: ["MLTable:", "job.yml:"],
    folder_without_mltable: ["MLTable", "job.yml:"],
    parquet_output: ["job.yml:", "parquet"],
    output_is_a_folder: ["rows.txt", "folder"],
    output_over_the_script: ["job.yml:", "score.py", "entry script"],
    output_over_the_spec: ["job.yml:", "this spec"],
    output_over_an_input: ["job.yml:", "0000.txt", "'list'"],
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_bad_input_is_told_before_anything_runs(work, capsys, monkeypatch, case):
    monkeypatch.chdir(work.folder)
    work.files(2)
    if jobs := case(work):
        work.spec(jobs)
    before = sorted(work.folder.rglob("*"))
    assert main(["job.yml", "--dashboard", "none"]) == 2
    said = capsys.readouterr().err
    for word in CASES[case]:
        assert word in said
    assert "Traceback" not in said
    assert sorted(work.folder.rglob("*")) == before


def test_all_mistakes_are_told_at_once(work, capsys):
    work.files(1)
    step = work.parallel(
        "def rum(mini_batch):\n    pass\n",
        mini_batch_size="x",
        error_threshold=[1],
        input_data="${{inputs.nope}}",
    )
    step["inputs"]["model"] = {"type": "uri_folder", "path": "./nowhere"}
    assert main(["validate", str(work.spec({"work": step}))]) == 2
    said = capsys.readouterr().err
    for word in ("mini_batch_size", "error_threshold", "nope", "nowhere", "run("):
        assert word in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nowhere.yml"], "there is no file nowhere.yml"),
        (["rum"], "verbs"),
        (["."], "is a folder"),
        (["status", "nowhere"], "nowhere"),
        (["logs", "."], "."),
        (["resume", "nowhere"], "nowhere"),
        (["export", "nowhere", "--partial", "x"], "nowhere"),
        (["job.yml", "--set", "inputs.x"], "NAME=VALUE"),
        (["job.yml", "--set", "inputs.nope=1"], "nope"),
        (["job.yml", "--set", "jobs.nope.instance_count=1"], "nope"),
        (["job.yml", "--set", "instance_count=many"], "many"),
        (["job.yml", "--datastore", "x"], "NAME=VALUE"),
        (["job.yml", "--scheduler", "nonsense://"], "nonsense"),
        (["job.yml", "--scheduler", "foo"], "--scheduler 'foo' is no address of a Dask scheduler"),
        (["job.yml", "--scheduler", "nonsense://host:1"], "nonsense"),
        (["job.yml", "--scheduler", "missing.json"], "--scheduler missing.json: there is no such file"),
        (["job.yml", "--dashboard", "bogus"], "--dashboard 'bogus' is no address"),
        (["job.yml", "--dashboard", "bogus.invalid:8787"], "--dashboard 'bogus.invalid:8787' is no address"),
        (["job.yml", "--dashboard", "192.0.2.1:8787"], "--dashboard '192.0.2.1:8787' is no address"),
        (["job.yml", "--dashboard", "127.0.0.1:99999"], "--dashboard '127.0.0.1:99999' is no address"),
        (["job.yml", "--compute", "nope"], "daskpar.computes.nope"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(work, capsys, monkeypatch, argv, said):
    monkeypatch.chdir(work.folder)
    monkeypatch.setattr("daskpar.engine.cluster.CONNECT_SECONDS", 0)
    work.files(1)
    work.spec({"work": work.parallel()})
    assert main(argv) == 2
    assert said in capsys.readouterr().err
    assert not (work.folder / "runs").exists()


def test_an_mltable_that_an_earlier_step_wrote_wrong_fails_its_step_before_any_call(work):
    inputs = {"files": {"type": "mltable", "path": "${{parent.jobs.make.outputs.made}}", "mode": "direct"}}
    make = work.command("echo 'paths: [' > ${{outputs.made}}/MLTable", outputs={"made": {"type": "mltable"}})
    script = "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\ndef run(mini_batch):\n    return mini_batch\n"
    ended = work.run({"make": make, "work": work.parallel(script, inputs=inputs)})
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert (ended.steps["make"].status, ended.steps["work"].status) == ("completed", "failed")
    assert "MLTable" in ended.reason
    assert "make" in ended.reason
    assert not (work.folder / "code" / "imported").exists()


def test_a_key_that_an_earlier_step_did_not_write_fails_before_any_call(work):
    inputs = {"files": {"type": "mltable", "path": "${{parent.jobs.make.outputs.made}}", "mode": "direct"}}
    work.write("table/a.csv", "Store,Brand\n1,x\n")
    work.write("table/MLTable", TABLE)
    make = work.command(
        f"cp {work.folder}/table/* ${{{{outputs.made}}}}", outputs={"made": {"type": "mltable"}}
    )
    ended = work.run(
        {"make": make, "work": work.parallel(inputs=inputs, partition_keys=["Stroe"], mini_batch_size=None)}
    )
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert "Stroe" in ended.reason
    assert "Did you mean 'Store'" in ended.reason
