"""Constructs of public specs, each as Azure's own client takes it: what becomes of it here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskpar.errors import SpecError, UsageError
from daskpar.jobspec.asset_names import names_of
from daskpar.jobspec.load import load_job
from daskpar.jobspec.model import CommandStep, ParallelStep, PipelineJob

Folder = Any
Text = Callable[..., str]

COMPONENT = """
    name: up
    type: parallel
    inputs:
      Files: {type: uri_folder}
      factor: {type: number, default: 2}
      label: {type: string, optional: true}
    outputs:
      rows: {type: mltable}
    mini_batch_size: "2"
    input_data: ${{inputs.files}}
    append_row_to: ${{outputs.rows}}
    task:
      type: run_function
      code: ./code
      entry_script: script.py
      program_arguments: --factor ${{inputs.factor}} $[[--label ${{inputs.label}}]]
    """
INNER = """
    $schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
    type: pipeline
    inputs:
      raw: {type: uri_folder}
      factor: {type: number, default: 3}
      nodes: {type: string}
    outputs:
      table: {type: uri_file}
      kept: {type: uri_folder}
    jobs:
      up:
        type: parallel
        component: ./up.yml
        compute: ${{parent.inputs.nodes}}
        inputs: {files: "${{parent.inputs.raw}}", factor: "${{parent.inputs.factor}}"}
        outputs: {rows: "${{parent.outputs.table}}"}
      count:
        command: wc -l ${{inputs.t}} > ${{outputs.o}}/n
        inputs: {t: "${{parent.jobs.up.outputs.rows}}"}
        outputs: {o: "${{parent.outputs.kept}}"}
    """
NESTED = """
    type: pipeline
    inputs: {data: {type: uri_folder, path: ./data}}
    outputs: {table: {type: uri_file, path: ./table.txt}}
    jobs:
      last:
        command: cat ${{inputs.t}} ${{inputs.k}}/n
        inputs: {t: "${{parent.jobs.outer.outputs.table}}", k: "${{parent.jobs.deep.outputs.kept}}"}
      outer:
        type: pipeline
        component: ./inner.yml
        inputs: {raw: "${{parent.inputs.data}}", nodes: big}
        outputs: {table: "${{parent.outputs.table}}"}
      deep:
        type: pipeline
        inputs: {folder: "${{parent.jobs.outer.outputs.kept}}"}
        outputs: {kept: }
        jobs:
          again:
            type: pipeline
            component: file:./inner.yml
            settings: {default_compute: azureml:small}
            inputs: {raw: "${{parent.inputs.folder}}", nodes: x, factor: 9}
            outputs: {kept: "${{parent.outputs.kept}}"}
    """


def write_nested(folder: Folder) -> None:
    folder.write("up.yml", COMPONENT)
    folder.write("inner.yml", INNER)


def parallel_step(job: PipelineJob, name: str) -> ParallelStep:
    (step,) = (step for step in job.steps if step.name == name)
    assert isinstance(step, ParallelStep)
    return step


def test_pipelines_in_pipelines(folder: Folder) -> None:
    write_nested(folder)
    job = folder.job(NESTED, jobs__outer__up__mini_batch_size="5", jobs__deep__instance_count="3")
    run = folder.path / "RUN"
    assert [step.name for step in job.steps] == [
        "outer.up",
        "outer.count",
        "deep.again.up",
        "deep.again.count",
        "last",
    ]
    assert {step.name: step.needs for step in job.steps} == {
        "outer.up": (),
        "outer.count": ("outer.up",),
        "deep.again.up": ("outer.count",),
        "deep.again.count": ("deep.again.up",),
        "last": ("outer.up", "deep.again.count"),
    }
    up, again = parallel_step(job, "outer.up"), parallel_step(job, "deep.again.up")
    assert (up.compute, up.arguments, up.by_size.number) == ("big", ("--factor", "3"), 5)
    assert (again.compute, again.arguments, again.by_size.number) == ("x", ("--factor", "9"), 2)
    assert (up.instance_count, again.instance_count) == (1, 3)
    assert up.append_row_to == str(folder.path / "table.txt")
    assert again.inputs["Files"].path == str(run / "outputs/outer.kept")
    assert again.append_row_to == str(run / "outputs/deep.again.table")
    count, last = job.steps[3], job.steps[4]
    assert isinstance(count, CommandStep) and isinstance(last, CommandStep)
    assert count.compute == "small"
    assert last.inputs["k"].path == str(run / "outputs/deep.kept")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "jobs.outer.outputs.table",
            "jobs.outer.outputs.tabel",
            "the pipeline 'outer' has no output 'tabel'",
        ),
        (
            "raw: ${{parent.inputs.folder}}",
            "raw: ${{parent.inputs.foldr}}",
            "the pipeline 'deep' has no input",
        ),
        ("component: ./inner.yml", "component: ./pipeline.yml", "leads back to itself"),
        ("nodes: big", "nodez: big", "the component's input 'nodes' is not given and has no default"),
        ("jobs.deep.outputs.kept", "jobs.deep.again.outputs.kept", "is no binding that is known here"),
    ],
)
def test_mistakes_in_nested_pipelines(folder: Folder, old: str, new: str, says: str) -> None:
    write_nested(folder)
    text = NESTED.replace('"', "")
    assert old in text
    assert any(says in str(problem) for problem in folder.problems(_quoted(text.replace(old, new))))


def _quoted(text: str) -> str:
    """Bindings in flow mappings have to be quoted."""
    import re

    return re.sub(r"(\$\{\{[^}]*\}\})(?=[,}])", r'"\1"', text)


def test_settings_of_nested_steps_that_there_are_not(folder: Folder) -> None:
    write_nested(folder)
    with pytest.raises(SpecError, match=r"the job has no step 'outer.upp'. Did you mean 'outer.up'\?"):
        folder.job(NESTED, jobs__outer__upp__mini_batch_size="5")
    with pytest.raises(UsageError):
        folder.job(NESTED, jobs__last__up__mini_batch_size="5")


def test_azures_dump_of_a_function_in_a_function(folder: Folder) -> None:
    """It leaves out the type of `data` and that `n`, whose default is None, is optional."""
    inner = """
        type: pipeline
        inputs: {{n: {{type: integer}}}}
        jobs:
          s:
            type: parallel
            component: ./up.yml
            inputs: {{files: {{path: "${{{{parent.inputs.data}}}}"}}, label: {{path: "${{{{parent.inputs.n}}}}"}}}}
            {more}
        """
    outer = """
        type: pipeline
        inputs: {data: {path: "azureml:./data"}}
        jobs:
          a: {type: pipeline, component: ./inner.yml, inputs: {data: {path: "${{parent.inputs.data}}"}}}
        """
    write_nested(folder)
    folder.write("inner.yml", inner.format(more=""))
    job = folder.job(outer)
    assert job.warnings == ()
    assert parallel_step(job, "a.s").arguments == ("--factor", "2")
    folder.write("inner.yml", inner.format(more='mini_batch_size: "${{parent.inputs.n}}"'))
    (problem,) = folder.problems(outer)
    assert "the component's input 'n' is not given and has no default" in problem.what


def test_a_job_may_be_a_component_with_values(folder: Folder) -> None:
    write_nested(folder)
    text = "type: pipeline\ncomponent: ./inner.yml\ninputs: {raw: {path: ./data}, nodes: x}"
    assert [step.name for step in folder.job(text).steps] == ["up", "count"]
    assert parallel_step(folder.job(text, inputs__factor="7"), "up").arguments == ("--factor", "7")


REFUSED = {
    "if_else": "write the steps of the branch that you want",
    "sweep": "write a command step for the values that you want",
    "spark": "needs a Spark cluster",
    "automl": "on its own servers",
    "import": "name the data as an input instead",
    "data_transfer": "name the data as an input instead",
    "do_while": "Loops are not run here",
    "parallel_for": "write a parallel step with a mini-batch for each",
    "finetuning": "on its own servers",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_one_sentence_for_steps_of_azure_alone(folder: Folder, kind: str) -> None:
    text = f"""
        type: pipeline
        jobs:
          odd: {{type: {kind}, condition: "${{{{parent.jobs.a.outputs.o}}}}"}}
          a: {{command: "ls", inputs: {{x: "${{{{parent.jobs.odd.outputs.o}}}}"}}}}
        """
    (problem,) = folder.problems(text)
    assert f"steps of type {kind} are not run here" in str(problem)
    assert REFUSED[kind] in str(problem)


def test_a_prompt_flow_is_told_as_such(folder: Folder) -> None:
    folder.write("flow.dag.yaml", "inputs: {q: {type: string}}\nnodes: [{name: a}]\n")
    (problem,) = folder.problems(
        "type: pipeline\njobs: {f: {type: parallel, component: ./flow.dag.yaml, inputs: {data: {path: ./data}}}}"
    )
    assert "flow.dag.yaml is a prompt flow, which is not run here" in str(problem)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("azureml:iris:2", ("iris:2", "iris")),
        ("azureml:iris@latest", ("iris@latest", "iris")),
        ("azureml:iris", ("iris",)),
        ("azureml://registries/r/components/train/versions/0.0.1", ("train:0.0.1", "train")),
        ("azureml://registries/r/components/train/labels/latest", ("train@latest", "train")),
        ("azureml://subscriptions/s/x/workspaces/w/data/d/versions/1", ("d:1", "d")),
        ("azureml:/subscriptions/s/workspaces/w/models/m/versions/1", ("m:1", "m")),
        ("azureml:./data", ()),
        ("azureml://datastores/d/paths/data/x/y", ()),
        ("./data", ()),
        ("s3://b/k", ()),
    ],
)
def test_names_of_registered_assets(text: str, names: tuple[str, ...]) -> None:
    assert names_of(text) == names


def test_registered_components_and_assets(folder: Folder) -> None:
    folder.write("up.yml", COMPONENT)
    text = """
        type: pipeline
        jobs:
          a: {component: "azureml:up:3", inputs: {Files: {path: "azureml:pictures@latest"}}}
          b:
            type: parallel
            component: azureml://registries/ours/components/up/versions/3
            inputs: {Files: {type: uri_folder, path: "azureml:pictures:1"}}
        """
    path = folder.write("pipeline.yml", text)
    places = {"pictures": str(folder.path / "data")}
    components = {"up": str(folder.path / "up.yml")}
    job = folder.run_job(path, assets=places, components=components)
    assert {step.inputs["Files"].path for step in job.steps} == {str(folder.path / "data")}
    folder.write("other.yml", COMPONENT.replace("default: 2", "default: 5"))
    exact = {**components, "up:3": str(folder.path / "other.yml")}
    first = folder.run_job(path, assets=places, components=exact).steps[0]
    assert isinstance(first, ParallelStep) and first.arguments == ("--factor", "5")
    with pytest.raises(SpecError) as caught:
        folder.run_job(path)
    advice = [problem.hint for problem in caught.value.problems]
    assert len(advice) == 2 and all("--component up=PATH" in hint for hint in advice)
    with pytest.raises(SpecError) as caught:
        folder.run_job(path, components=components)
    assert [problem.line for problem in caught.value.problems] == [4, 8]
    assert all("--asset pictures=PATH" in problem.hint for problem in caught.value.problems)


def test_what_azure_takes_in_other_words(folder: Folder) -> None:
    """A component's names in another case, `append_row_to` beside the task, 1 for true, an input bound to
    nothing; the type of the pipeline's output rules that of the component.
    """
    folder.write("up.yml", COMPONENT.replace("label: {type: string", "label: {type: boolean"))
    job = folder.job("""
        type: pipeline
        outputs: {rows: {type: uri_file, path: ./rows.txt}}
        jobs:
          a:
            type: parallel
            component: ./up.yml
            inputs: {files: {path: ./data}, LABEL: 1}
            outputs: {rows: "${{parent.outputs.rows}}"}
          b:
            type: parallel
            component: ./up.yml
            inputs: {files: {path: ./data}, label: {path: "${{parent.inputs.label}}"}}
        """)
    first, second = (parallel_step(job, name) for name in "ab")
    assert first.append_row_to == str(folder.path / "rows.txt")
    assert first.outputs["rows"].type == "uri_file"
    assert first.arguments == ("--factor", "2", "--label", "True")
    assert second.arguments == ("--factor", "2")
    assert second.append_row_to == str(folder.path / "RUN/steps/b/outputs/rows/parallel_run_step.txt")
    (warning,) = job.warnings
    assert "${{parent.inputs.label}} does not exist, and the input 'label' is optional" in warning.what


def test_a_size_in_bytes_of_files_is_a_number_of_files(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job("mini_batch_size: 1KB")
    job = folder.job(text)
    assert parallel_step(job, "score").by_size.written == "1024"
    (warning,) = job.warnings
    assert "1kb is taken as 1024 files, as Azure does" in warning.what
    table = parallel_job("mini_batch_size: 1KB").replace(
        "{type: uri_folder, path: ./data}", "{type: uri_file, path: ./file.csv}"
    )
    (problem,) = folder.problems(table)
    for line in ("paths:", "- file: ./file.csv", "transformations:", "- read_delimited:"):
        assert line in problem.hint


def test_an_mltable_is_looked_at_where_it_is_split(folder: Folder, parallel_job: Text) -> None:
    side = "side: {type: mltable, path: ./data}\nfile: {type: mltable, path: ./file.csv}"
    assert folder.job(parallel_job(inputs=side)).warnings == ()
    text = parallel_job().replace("type: uri_folder", "type: mltable")
    (problem,) = folder.problems(text)
    assert problem.line == 7 and "data holds no file named MLTable" in problem.what
    (problem,) = folder.problems(text.replace("path: ./data", "path: ./table/MLTable"))
    assert "is a file; an mltable is the folder" in problem.what


def test_one_mistake_is_told_once(folder: Folder, parallel_job: Text) -> None:
    """What an input without a value spoils further on is no mistake of its own."""
    text = parallel_job(
        inputs="none: {type: integer, optional: true}",
        task="program_arguments: --error_threshold ${{inputs.none}} --init_timeout ${{inputs.nix}}",
    )
    problems = folder.problems(text)
    assert [problem.what.split(":")[0] for problem in problems] == [
        "the optional input 'none' has no value.",
        "${{inputs.nix}}",
    ]


@pytest.mark.parametrize("kind", ["string", "integer", "path"])
def test_other_types_of_outputs(folder: Folder, kind: str) -> None:
    job = folder.job(f"type: pipeline\njobs: {{a: {{command: ls, outputs: {{o: {{type: {kind}}}}}}}}}")
    assert job.steps[0].outputs["o"].type == ("uri_folder" if kind == "path" else "uri_file")


def test_an_input_of_the_older_type_path_is_what_lies_there(folder: Folder) -> None:
    job = folder.job(
        "type: pipeline\njobs: {a: {command: ls, inputs: {x: {type: path, path: ./file.csv}, y: {type: path, path: ./data}}}}"
    )
    assert [value.type for value in job.steps[0].inputs.values()] == ["uri_file", "uri_folder"]


def test_several_inputs_are_split_one_after_the_other(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job(inputs="more: {type: uri_folder, path: ./data}\nt: {type: mltable, path: ./table}")
    both = "input_data: ${{inputs.images}},${{inputs.more}}"
    job = folder.job(text.replace("input_data: ${{inputs.images}}", both))
    assert parallel_step(job, "score").input_data == ("images", "more")
    mixed = text.replace("input_data: ${{inputs.images}}", "input_data: ${{inputs.images}},${{inputs.t}}")
    (problem,) = folder.problems(mixed)
    assert "several are split one after the other where all are tables or all lists of files" in problem.what


def test_a_bare_component_says_what_it_needs(folder: Folder) -> None:
    write_nested(folder)
    job = load_job(folder.path / "inner.yml", bare=True, datastores={})
    assert [problem.what for problem in job.warnings] == [
        "to run it, give the input 'raw' (uri_folder): --input raw=PATH.",
        "to run it, give the input 'nodes' (string): --set inputs.nodes=VALUE.",
    ]
    with pytest.raises(SpecError, match="the input 'raw' has no value"):
        folder.run_job(folder.path / "inner.yml")
    # No rule judges a value that is not known; a mistake is still one.
    folder.write(
        "up.yml",
        COMPONENT.replace(
            "inputs:\n", "inputs:\n      n: {type: integer, min: 3}\n      s: {type: string, enum: [x]}\n"
        )
        .replace('mini_batch_size: "2"', "mini_batch_size: ${{inputs.s}}\n    logging_level: ${{inputs.s}}")
        .replace("--factor", "--init_timeout ${{inputs.n}} --factor"),
    )
    assert len(load_job(folder.path / "up.yml", bare=True, datastores={}).warnings) == 3
    folder.write("up.yml", COMPONENT.replace("${{inputs.factor}}", "${{inputs.facto}}"))
    with pytest.raises(SpecError, match="has no input 'facto'"):
        load_job(folder.path / "up.yml", bare=True, datastores={})


DEPLOYMENT = """
    $schema: https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json
    name: my-scores
    endpoint_name: e
    type: model
    model: {name: m, path: models/model}
    code_configuration: {code: code, scoring_script: script.py}
    environment: {image: x}
    compute: azureml:batch-cluster
    resources: {instance_count: 2}
    settings:
      max_concurrency_per_instance: 3
      mini_batch_size: 4
      output_file_name: predictions.csv
      retry_settings: {timeout: 300}
      error_threshold: 7
      logging_level: warning
    """


def deployed(folder: Folder, text: str = DEPLOYMENT, **how: Any) -> ParallelStep:
    folder.write("models/model/w.txt")
    path = folder.write("deployment.yml", text)
    (step,) = folder.run_job(path, overrides={"inputs": "data"}, **how).steps
    assert isinstance(step, ParallelStep)
    return step


def test_a_batch_deployment(folder: Folder) -> None:
    step = deployed(folder)
    run = folder.path / "RUN"
    assert (step.name, step.by_size.number, step.instance_count) == ("my_scores", 4, 2)
    assert step.max_concurrency_per_instance == 3
    settings = step.settings
    assert (settings.max_retries, settings.timeout, settings.error_threshold) == (3, 300, 7)
    assert (settings.logging_level, settings.append_row_format) == ("WARNING", "text")
    assert step.append_row_to == str(run / "outputs/score/predictions.csv")
    assert step.environment_variables == {
        "AZUREML_BI_OUTPUT_PATH": str(run / "outputs/score"),
        "AZUREML_MODEL_DIR": str(run / "steps/my_scores/input-copies/azureml_model"),
    }
    assert Path(step.inputs["azureml_model"].seen).name == "model"
    assert step.inputs["data"].path == str(folder.path / "data")


def test_older_deployments_have_their_settings_at_the_top(folder: Folder) -> None:
    head, _, settings = DEPLOYMENT.partition("    settings:\n")
    text = head + settings.replace("      ", "    ").replace(
        "output_file_name: predictions.csv", "output_action: summary_only"
    )
    step = deployed(
        folder,
        text.replace("{name: m, path: models/model}", "azureml:m@latest"),
        assets={"m": str(folder.path / "file.csv")},
    )
    assert (step.by_size.number, step.settings.timeout, step.append_row_to) == (4, 300, None)
    assert Path(step.inputs["azureml_model"].seen).name == "file.csv"


def test_a_deployment_takes_a_file_or_an_mltable(folder: Folder) -> None:
    path = folder.write("deployment.yml", DEPLOYMENT)
    folder.write("models/model/w.txt")
    for data, kind in (("file.csv", "uri_file"), ("table", "mltable"), ("data", "uri_folder")):
        (step,) = folder.run_job(path, overrides={"inputs.data": data}).steps
        assert step.inputs["data"].type == kind
        assert step.inputs["data"].is_file_list


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "code_configuration: {code: code, scoring_script: script.py}",
            "",
            "a script that Azure makes for MLflow models",
        ),
        ("path: models/model", "version: 2", "--asset m=PATH"),
        (
            "scoring_script: script.py",
            "scoring_script: scrpt.py",
            "the entry script 'scrpt.py' does not exist",
        ),
        ("mini_batch_size: 4", "mini_batch_size: many", "is no mini-batch size"),
        ("scoring_script: script.py", "script: script.py", "code_configuration needs a scoring_script"),
        ("{timeout: 300}", "300", "settings.retry_settings: has to be a mapping, not 300"),
        (
            "mini_batch_size: 4",
            "mini_batch_size: 4\n      output_action: rows",
            "has to be append_row or summary_only",
        ),
        ("type: model\n", "type: managed\n", "an online deployment answers requests"),
        (
            "type: model\n",
            "type: pipeline\n    job_definition: azureml:job_1\n",
            "is a job of an Azure ML workspace",
        ),
    ],
)
def test_mistakes_in_deployments(folder: Folder, old: str, new: str, says: str) -> None:
    assert old in DEPLOYMENT
    with pytest.raises(SpecError, match=says):
        deployed(folder, DEPLOYMENT.replace(old, new))


def test_an_endpoint_is_no_deployment(folder: Folder) -> None:
    path = folder.write(
        "endpoint.yml",
        "$schema: https://azuremlschemas.azureedge.net/latest/batchEndpoint.schema.json\nname: e\nauth_mode: aad_token\n",
    )
    with pytest.raises(SpecError, match="what runs is a deployment"):
        folder.run_job(path)


def test_a_deployment_of_a_pipeline(folder: Folder) -> None:
    write_nested(folder)
    path = folder.write(
        "deployment.yml",
        "name: p\nendpoint_name: e\ntype: pipeline\ncomponent: inner.yml\nsettings: {default_compute: batch}\n",
    )
    job = folder.run_job(path, overrides={"inputs": "data", "inputs.nodes": "n"})
    assert [step.name for step in job.steps] == ["up", "count"]
    with pytest.raises(UsageError, match="no input for data"):
        folder.run_job(
            folder.write("p.yml", "type: pipeline\njobs: {a: {command: ls}}"), overrides={"inputs": "x"}
        )
