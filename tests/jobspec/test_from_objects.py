"""Jobs without a file: mappings, YAML text, and objects of Azure ML's SDK, of which dumps are kept here."""

from __future__ import annotations

import datetime
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from daskpar.errors import SpecError, UsageError
from daskpar.jobspec.from_objects import spec_of
from daskpar.jobspec.given_spec import GivenSpec
from daskpar.jobspec.load import load_job, read_definition
from daskpar.jobspec.model import CommandStep, ParallelStep, PipelineJob
from daskpar.jobspec.sdk_dump import as_job
from sdk_jobs import DUMPS, sdk_object, write_files

PROGRAMS = sorted(path.stem for path in DUMPS.glob("*.json"))


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the programs, with the files that they name."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(given: Any, **how: Any) -> PipelineJob:
    return load_job(spec_of(given), **{"run_directory": Path.cwd() / "RUN", "datastores": {}, **how})


def step(job: PipelineJob, name: str) -> Any:
    return next(step for step in job.steps if step.name == name)


JOB: dict[str, Any] = {
    "type": "pipeline",
    "name": "small",
    "inputs": {"files": {"type": "uri_folder", "path": "data"}},
    "jobs": {
        "score": {
            "type": "parallel",
            "inputs": {"files": "${{parent.inputs.files}}"},
            "outputs": {"rows": {"type": "uri_file"}},
            "input_data": "${{inputs.files}}",
            "mini_batch_size": 2,
            "retry_settings": {"max_retries": 1, "timeout": 30},
            "task": {
                "type": "run_function",
                "code": "src",
                "entry_script": "score.py",
                "append_row_to": "${{outputs.rows}}",
            },
        }
    },
}


def changed(**settings: Any) -> dict[str, Any]:
    return {**JOB, "jobs": {"score": {**JOB["jobs"]["score"], **settings}}}


# -- mappings and text --


def test_a_file_its_text_and_its_mapping_are_the_same_job(there: Path) -> None:
    text = yaml.safe_dump(JOB)
    (there / "job.yml").write_text(text)
    jobs = [load(given).effective for given in ("job.yml", there / "job.yml", text, json.dumps(JOB), JOB)]
    assert all(job == jobs[0] for job in jobs)


def test_relative_paths_start_from_the_working_directory(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(JOB)
    monkeypatch.chdir("/")  # that of the call, wherever the job is read later
    job = load_job(spec, run_directory=there / "RUN")
    assert (step(job, "score").inputs["files"].path, step(job, "score").code) == (
        str(there / "data"),
        there / "src",
    )


def test_values_of_python_are_those_that_yaml_has(there: Path) -> None:
    job = load(
        {
            **changed(
                retry_settings={"timeout": np.float64(7), "max_retries": np.int64(3)},
                partition_keys=(),
                environment_variables={"DAY": datetime.date(2026, 1, 31)},
            ),
            "inputs": {"files": {"type": "uri_folder", "path": Path("data")}},
        }
    )
    found = step(job, "score")
    assert (found.settings.timeout, found.settings.max_retries) == (7, 3)
    assert found.environment_variables == {"DAY": "2026-01-31"}


LOOP: dict[str, Any] = {"type": "pipeline"}
LOOP["jobs"] = LOOP


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ["mapping: the file has no type and no jobs"]),
        ({"type": "pipeline"}, ["mapping: a pipeline needs jobs"]),
        (LOOP, ["jobs.jobs: the mapping holds itself"]),
        (
            changed(mini_batch_size="10zb", retry_settings={"timeout": 0, "max_retries": -1}, input_data="${{inputs.file}}"),
            [
                "mapping: jobs.score.mini_batch_size: '10zb' is no mini-batch size",
                "mapping: jobs.score.retry_settings.timeout: has to be seconds",
                "mapping: jobs.score.retry_settings.max_retries: has to be 0 or more",
                "mapping: jobs.score.input_data: ${{inputs.file}}: the step has no input 'file'",
            ],
        ),
        (changed(partition_keys={"a"}), ["mapping: jobs.score.partition_keys: is of type set. Write a list."]),
        (changed(display_name=object()), ["mapping: jobs.score.display_name: is of type object. A job holds mappings"]),
        (changed(**{"environment_variables": {(1, 2): "x"}}), ["environment_variables: the key (1, 2) is of type tuple"]),
        (
            {**JOB, "inputs": {"files": pd.DataFrame({"a": [1]})}},
            ["inputs.files: is of type DataFrame. Data is passed beside the job: run(job, inputs={'files': data})"],
        ),
        ("type: pipeline\njobs:\n  a: {type: paralel}\n", ["YAML text:3: jobs.a.type: 'paralel' is no type of step"]),
        ("{type: pipeline, jobs: [}", ["YAML text:1: broken YAML"]),
    ],
)  # fmt: skip
def test_all_mistakes_are_told_with_their_path(there: Path, given: Any, said: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        load(given)
    assert [part for part in said if part not in str(caught.value)] == []


@pytest.mark.parametrize("given", [None, 3, [JOB], object(), print, pd.DataFrame()])
def test_what_is_no_job_is_told(given: Any) -> None:
    with pytest.raises(
        UsageError, match=f"a job can't be of type {type(given).__name__}: give the path of a YAML"
    ):
        spec_of(given)


def test_what_is_kept_for_a_resume_has_no_secrets(there: Path) -> None:
    given = {
        **changed(
            environment_variables={"MY_TOKEN": "sesame-open", "LEVEL": "1"},
            inputs={"files": "${{parent.inputs.files}}", "key": {"type": "string", "value": "sesame-shut"}},
        ),
    }
    given["inputs"] = {**JOB["inputs"], "api_key": "sesame-wide", "url": "https://x/y?sig=sesame-else"}
    given["jobs"]["score"]["task"] = {
        **JOB["jobs"]["score"]["task"],
        "program_arguments": "--key ${{inputs.key}} --password sesame-more",
    }
    kept = read_definition(spec_of(given), run_directory=there / "RUN").kept
    assert kept is not None and "sesame" not in kept.text
    assert "--key ${{inputs.key}} --password ***" in kept.text and "LEVEL: '1'" in kept.text
    assert set(kept.left_out) == {
        "inputs.api_key",
        "inputs.url",
        "jobs.score.inputs.key",
        "jobs.score.environment_variables.MY_TOKEN",
        "jobs.score.task.program_arguments",
    }
    again = read_definition(
        GivenSpec(label="kept", folder=there, text=kept.text), run_directory=there / "RUN"
    )
    assert [name for name in again.declared.steps] == ["score"]


# -- objects of the SDK --


def test_a_chained_job_is_what_its_program_says(there: Path) -> None:
    job = load(sdk_object("chained", there))
    assert (job.name, [step.name for step in job.steps]) == (
        "chained",
        ["cleaned", "file_batch_score", "by_store", "show"],
    )
    clean, score, stores, show = (
        step(job, name) for name in ("cleaned", "file_batch_score", "by_store", "show")
    )
    assert isinstance(clean, CommandStep) and clean.inputs["raw"].path == str(there / "data")
    assert clean.command.endswith("True --fraction 0.5") and clean.code == there / "src"
    assert isinstance(score, ParallelStep) and score.inputs["job_data_path"].made_by == "cleaned"
    assert (score.outputs["job_output_path"].type, score.settings.logging_level) == ("uri_file", "DEBUG")
    assert score.arguments[:4] == ("--out", str(there / "RUN/outputs/scores"), "--threshold", "0.5")
    assert (score.settings.mini_batch_error_threshold, score.settings.timeout) == (1, 60)
    assert score.environment_variables == {"LEVEL": "1"}
    assert (stores.partition_keys, stores.inputs["sales"].mode) == (("store",), "direct")
    assert stores.inputs["sales"].path == str(there / "table")
    assert show.command.endswith('&& echo "all rows" True 2')
    assert not [note for note in job.notes if str(there) in note]


def test_none_is_not_given_and_a_boolean_is_one(there: Path) -> None:
    job = load(sdk_object("nothing_given", there))
    score, show = job.steps
    assert score.inputs["threshold"].value == 0.5  # the component's default
    assert (job.inputs["loud"].value, show.inputs["loud"].value) == (False, False)
    assert show.command.endswith('echo "x" False 2')
    assert score.compute == "gpu-cluster"


def test_a_node_alone_is_a_job_with_what_it_reads_and_writes(there: Path) -> None:
    score = step(load(sdk_object("node", there)), "file_batch_score")
    assert (score.inputs["job_data_path"].path, score.inputs["threshold"].value) == (
        str(there / "data"),
        0.25,
    )
    assert score.outputs["job_output_path"].path == str(there / "scores.txt")
    assert score.environment_variables == {"LEVEL": "1"}


@pytest.mark.parametrize(("name", "missing"), [("builder", "job_data_path"), ("component", "raw")])
def test_an_input_that_is_left_open_is_given_by_run(there: Path, name: str, missing: str) -> None:
    given = sdk_object(name, there)
    with pytest.raises(SpecError, match=f"inputs.{missing}: the input '{missing}' has no value"):
        load(given)
    assert load(given, overrides={f"inputs.{missing}": str(there / "data")}).steps


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("azureml:https://x/y?sig=z", "https://x/y?sig=z"),
        ("azureml:s3://b/k", "s3://b/k"),
        ("azureml:./data", "azureml:./data"),
        ("azureml:asset:1", "azureml:asset:1"),
        ("azureml://datastores/d/paths/p", "azureml://datastores/d/paths/p"),
    ],
)
def test_urls_are_written_behind_a_word(written: str, meant: str) -> None:
    port = {"type": "uri_folder", "path": written}
    node = {"component": {"inputs": {"d": {"type": "uri_folder"}}}, "inputs": {"d": port}}
    pipeline: Any = as_job({"inputs": {"d": port}, "jobs": {"a": node}})
    alone: Any = as_job({"type": "parallel", **node})
    found = (pipeline["inputs"], pipeline["jobs"]["a"]["inputs"], alone["inputs"])
    assert [each["d"]["path"] for each in found] == [meant] * 3


def test_a_job_of_a_file_has_its_paths_from_there(there: Path) -> None:
    assert load(sdk_object("loaded", there)).inputs["raw"].path == str(there / "data")


def test_a_pipeline_in_a_pipeline_is_put_right_too(there: Path) -> None:
    mapping = spec_of(sdk_object("nested", there)).mapping  # type: ignore[union-attr]
    assert mapping is not None
    inner: Any = next(iter(mapping["jobs"].values()))  # type: ignore[attr-defined]
    assert inner["inputs"]["loud"] is True
    assert [list(each["inputs"]) for each in inner["component"]["jobs"].values()] == [
        ["job_data_path"],
        ["rows", "loud", "times", "title"],
    ]


def test_mistakes_name_the_path_in_the_object_and_the_node(there: Path) -> None:
    (there / "src/score.py").unlink()
    (there / "table/MLTable").unlink()
    with pytest.raises(SpecError) as caught:
        load(sdk_object("chained", there))
    text = str(caught.value)
    assert "PipelineJob chained: inputs.sales.path: table holds no file named MLTable." in text
    assert (
        "PipelineJob chained: jobs.by_store.task.entry_script: the entry script 'score.py' does not exist"
        in text
    )
    assert "PipelineJob chained: jobs.file_batch_score.task.entry_script: the entry script" in text


def test_a_pipeline_function_is_called_where_it_needs_nothing(there: Path) -> None:
    def without() -> Any:
        return sdk_object("chained", there)

    def needing(data: Any, *, level: int, more: int = 3) -> Any: ...

    without._is_dsl_func = needing._is_dsl_func = True  # type: ignore[attr-defined]
    assert load(without).name == "chained"
    with pytest.raises(
        UsageError, match=r"takes data, level: call it.*run\(needing\(data=\.\.\., level=\.\.\.\)\)"
    ):
        spec_of(needing)


def test_what_the_sdk_can_not_write_down_is_told(there: Path) -> None:
    given = sdk_object("chained", there)
    given._to_dict = lambda: 1 / 0
    with pytest.raises(UsageError, match="azure-ai-ml can't write this PipelineJob down: division by zero"):
        spec_of(given)
    for name in ("Input", "Environment", "MLClient"):
        other = type(name, (), {"__module__": "azure.ai.ml.entities"})()
        with pytest.raises(UsageError, match=f"can't be of type {name} "):
            spec_of(other)


def test_a_later_sdk_without_our_way_in_is_read_by_its_public_one(there: Path) -> None:
    given = sdk_object("chained", there)
    said = given._to_dict()
    given._to_dict, given.dump = None, lambda file: yaml.safe_dump(said, file)
    assert load(given).effective == load(sdk_object("chained", there)).effective


def test_the_installed_sdk_writes_what_is_kept_here() -> None:
    if importlib.util.find_spec("azure") is None or importlib.util.find_spec("azure.ai.ml") is None:
        pytest.skip("azure-ai-ml is not installed: pip install '.[sdk-test]'")
    program = Path(__file__).parent / "sdk_programs.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), "-"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    made = json.loads(done.stdout.splitlines()[-1])
    assert sorted(made) == PROGRAMS
    for name in PROGRAMS:
        assert made[name] == json.loads((DUMPS / f"{name}.json").read_text()), name
