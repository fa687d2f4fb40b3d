"""Whole specs that are right: what each form means once it is resolved."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from daskpar.errors import SpecError, UsageError
from daskpar.jobspec.load import load_job, read_definition, resolve_job
from daskpar.jobspec.model import BySize, CommandStep, ParallelStep, PipelineJob

Folder = Any
Text = Callable[..., str]


def first(job: PipelineJob) -> ParallelStep:
    step = job.steps[0]
    assert isinstance(step, ParallelStep)
    return step


def command(job: PipelineJob, number: int = 0) -> CommandStep:
    step = job.steps[number]
    assert isinstance(step, CommandStep)
    return step


ARTICLE_STEP = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: iris
settings: {default_compute: azureml:cpu-cluster}
jobs:
  batch_prediction:
    type: parallel
    compute: azureml:cpu-cluster
    inputs:
      input_data: {type: mltable, path: ./table, mode: direct}
      score_model: {type: uri_folder, path: ./data, mode: download}
    outputs:
      job_output_file: {type: uri_file, mode: rw_mount}
    input_data: ${{inputs.input_data}}
    mini_batch_size: "10kb"
    resources: {instance_count: 2}
    max_concurrency_per_instance: 2
    logging_level: "DEBUG"
    mini_batch_error_threshold: 5
    retry_settings: {max_retries: 2, timeout: 60}
    task:
      type: run_function
      code: "./code"
      entry_script: script.py
      environment: {name: prs-env, version: 1, image: some/image, conda_file: ./not-there.yml}
      program_arguments: >-
        --model ${{inputs.score_model}}
        --error_threshold 5
        --allowed_failed_percent 30
        --task_overhead_timeout 1200
        --progress_update_timeout 600
        --first_task_creation_timeout 600
        --copy_logs_to_parent True
        --resource_monitor_interva 20
      append_row_to: ${{outputs.job_output_file}}
"""


def test_the_articles_settings(folder: Folder) -> None:
    job = folder.job(ARTICLE_STEP)
    assert [problem.what.split()[3] for problem in job.warnings] == ["--resource_monitor_interva"]
    step = first(job)
    settings = step.settings
    assert (job.name, job.spec) == ("iris", folder.path / "pipeline.yml")
    assert (step.by_size, step.instance_count, step.max_concurrency_per_instance) == (
        BySize(number=10, unit=1024),
        2,
        2,
    )
    assert (
        settings.error_threshold,
        settings.mini_batch_error_threshold,
        settings.allowed_failed_percent,
    ) == (5, 5, 30.0)
    assert (
        settings.task_overhead_timeout,
        settings.progress_update_timeout,
        settings.first_task_creation_timeout,
    ) == (1200, 600, 600)
    assert (settings.copy_logs_to_parent, settings.resource_monitor_interval, settings.logging_level) == (
        True,
        600,
        "DEBUG",
    )
    # Its mode is download: the script gets a copy of its own.
    copy = folder.path / "RUN/steps/batch_prediction/input-copies/score_model"
    assert step.arguments[:2] == ("--model", str(copy))
    assert step.arguments[-4:] == ("--resource_monitor_interva", "20", "--logging_level", "DEBUG")
    assert step.append_row_to == str(folder.path / "RUN/steps/batch_prediction/outputs/job_output_file")
    assert step.sources["error_threshold"] == "program argument pipeline.yml:29"
    assert step.sources["timeout"] == "pipeline.yml:21"
    assert step.sources["resource_monitor_interval"] == "default"
    assert (step.compute, step.sources["compute"]) == ("cpu-cluster", "pipeline.yml:9")
    assert any("cpu-cluster" in note for note in job.notes)
    assert any("environment" in note for note in job.notes)


def test_two_steps_are_bound_and_put_in_order(folder: Folder) -> None:
    folder.write("code/partition.py")
    job = folder.job("""
        type: pipeline
        outputs:
          models: {type: uri_folder, path: ./models}
        jobs:
          train:
            type: parallel
            inputs:
              drill: {type: mltable, path: "${{ parent.jobs.partition.outputs.parts }}", mode: direct}
            outputs:
              model_folder: ${{parent.outputs.models}}
            input_data: ${{inputs.drill}}
            partition_keys: [Store, Brand]
            error_threshold: -1
            mini_batch_error_threshold: 5
            task:
              type: run_function
              code: ./code
              entry_script: script.py
              program_arguments: --model_folder ${{outputs.model_folder}}
          partition:
            type: command
            inputs:
              data: {type: uri_file, path: file.csv}
              keys: Store,Brand
            outputs:
              parts:
            code: ./code
            command: >-
              python partition.py ${{inputs.data}} --keys ${{ inputs.keys }} $[[--seed ${{inputs.keys}}]]
              && ls ${{outputs.parts}}
        """)
    partition, train = job.steps
    parts = str(folder.path / "RUN/steps/partition/outputs/parts")
    assert isinstance(partition, CommandStep) and isinstance(train, ParallelStep)
    assert (
        partition.command
        == f"python partition.py {folder.path}/file.csv --keys Store,Brand --seed Store,Brand && ls {parts}"
    )
    assert (train.inputs["drill"].path, train.inputs["drill"].made_by, train.needs) == (
        parts,
        "partition",
        ("partition",),
    )
    assert train.partition_keys == ("Store", "Brand")
    assert train.outputs["model_folder"].path == str(folder.path / "models") == train.arguments[1]
    assert train.append_row_to is None


COMPONENT = """
    type: parallel
    name: scorer
    version: 3
    inputs:
      images: {type: uri_folder}
      size: {type: integer, default: "7", min: 1, max: 9}
      label: {type: string, optional: true}
    outputs:
      result: {type: uri_file}
    input_data: ${{inputs.images}}
    mini_batch_size: "4"
    mini_batch_error_threshold: 3
    max_concurrency_per_instance: 2
    error_threshold: 8
    retry_settings: {max_retries: 5, timeout: 9}
    resources: {instance_count: 3}
    task:
      type: run_function
      code: ../code
      entry_script: script.py
      program_arguments: --size ${{inputs.size}} $[[--label ${{inputs.label}}]]
      append_row_to: ${{outputs.result}}
"""


@pytest.mark.parametrize(
    "reference",
    ["./parts/scorer.yml", "file:./parts/scorer.yml", "file:parts/scorer.yml", "azureml:./parts/scorer.yml"],
)
def test_a_node_goes_over_its_component(folder: Folder, reference: str) -> None:
    """0 is a value; what the node leaves out is the component's; the component's paths start from its own file."""
    folder.write("parts/scorer.yml", COMPONENT)
    step = first(
        folder.job(f"""
            type: pipeline
            jobs:
              score:
                component: {reference}
                inputs:
                  images: ./data
                  label: two words
                outputs:
                  result: {{type: uri_folder, mode: rw_mount}}
                mini_batch_error_threshold: 0
                mini_batch_size:
                retry_settings: {{timeout: 20}}
            """)
    )
    assert step.code == folder.path / "code"
    assert step.inputs["images"].path == str(folder.path / "data")
    assert step.arguments == ("--size", "7", "--label", "two words")
    assert step.inputs["size"].value == 7
    assert (step.settings.mini_batch_error_threshold, step.settings.error_threshold) == (0, 8)
    assert (step.settings.max_retries, step.settings.timeout) == (5, 20)
    assert (step.by_size.number, step.instance_count, step.max_concurrency_per_instance) == (4, 3, 2)
    assert step.outputs["result"].type == "uri_file"
    assert step.sources["max_retries"] == "component parts/scorer.yml:16"
    assert step.sources["mini_batch_error_threshold"] == "pipeline.yml:11"


def test_the_inline_component_of_a_dump(folder: Folder) -> None:
    """What Azure's SDK writes: everything twice, paths with a prefix, inputs as mappings of bindings."""
    folder.write("scorer.yml", COMPONENT.replace("../code", str(folder.path / "code")))
    text = (folder.path / "scorer.yml").read_text()
    inline = "\n".join("      " + line for line in text.splitlines())
    job = folder.job(f"""type: pipeline
inputs:
  pictures: {{type: uri_folder, path: 'azureml:./data', mode: ro_mount}}
  size: 8
outputs:
  out: {{type: uri_file}}
jobs:
  score:
    type: parallel
    inputs:
      images: {{path: "${{{{parent.inputs.pictures}}}}"}}
      size: {{path: "${{{{parent.inputs.size}}}}"}}
    outputs:
      result: {{type: uri_folder, mode: upload, path: "${{{{parent.outputs.out}}}}"}}
    mini_batch_size: '10240'
    task: {{type: function, args: "--other ${{{{parent.inputs.size}}}}"}}
    component:
{inline}
""")
    step = first(job)
    assert step.arguments == ("--other", "8")
    assert step.by_size == BySize(number=10240, unit=1)
    assert step.inputs["images"].type == "uri_folder"
    assert (step.outputs["result"].type, step.outputs["result"].mode) == ("uri_file", "upload")
    assert step.append_row_to == str(folder.path / "RUN/outputs/out") == job.outputs["out"].path
    assert (
        step.sources["error_threshold"]
        == "component pipeline.yml:" + step.sources["error_threshold"].rpartition(":")[2]
    )


def test_a_component_is_a_job_of_one_step(folder: Folder) -> None:
    path = folder.write("parts/scorer.yml", COMPONENT)
    with pytest.raises(
        SpecError,
        match=r"the input 'images' has no value and no default. On the command line: --set inputs.images=VALUE.",
    ):
        load_job(path)
    job = folder.run_job(
        path,
        overrides={
            "inputs.images": "data",
            "inputs.size": "3",
            "outputs.result": "out.txt",
            "instance_count": "1",
        },
    )
    step = first(job)
    assert (job.name, step.name) == ("scorer", "scorer")
    assert step.arguments == ("--size", "3")
    assert step.inputs["images"].path == str(folder.path / "data")
    assert step.append_row_to == str(folder.path / "out.txt")
    assert (step.instance_count, step.sources["instance_count"]) == (
        1,
        "command line (overrules component parts/scorer.yml:17: 3)",
    )


def test_a_command_component_too(folder: Folder) -> None:
    path = folder.write(
        "hello.yml",
        'inputs:\n  who: {type: string, default: "you"}\noutputs:\n  o:\ncommand: echo ${{inputs.who}} > ${{outputs.o}}/x',
    )
    job = folder.run_job(path, overrides={"inputs.who": "Mr X"})
    assert command(job).command == f"echo Mr X > {folder.path}/RUN/outputs/o/x"


def test_the_command_line_wins_over_arguments_and_attributes(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job(
        "error_threshold: 10",
        task="program_arguments: --error_threshold 5 --run_max_try 4 --process_count_per_node=3",
    )
    step = first(folder.job(text))
    assert step.settings.error_threshold == 5
    assert (
        step.sources["error_threshold"] == "program argument pipeline.yml:18 (overrules pipeline.yml:13: 10)"
    )
    assert (step.settings.max_retries, step.max_concurrency_per_instance) == (3, 3)
    changed = first(
        folder.job(
            text,
            jobs__score__error_threshold="1",
            jobs__score__retry_settings__max_retries="0",
            max_concurrency_per_instance="7",
        )
    )
    assert (
        changed.settings.error_threshold,
        changed.settings.max_retries,
        changed.max_concurrency_per_instance,
    ) == (1, 0, 7)
    assert changed.sources["error_threshold"].startswith(
        "command line (overrules program argument pipeline.yml:18: 5, pipeline.yml:13: 10)"
    )


def test_every_kind_of_override(folder: Folder, parallel_job: Text) -> None:
    folder.write("other/b.png")
    folder.write("more/late.py", "def run(b): return b")
    text = parallel_job(
        head="inputs:\n  flag: true\n  n: 5\n  src: {type: uri_folder, path: ./data}\n  group: {a: 1}",
        inputs="flag: ${{parent.inputs.flag}}\nn: ${{parent.inputs.n}}\nsrc: ${{parent.inputs.src}}\na: ${{parent.inputs.group.a}}\nw: x",
        task="program_arguments: ${{inputs.flag}} ${{inputs.n}} ${{inputs.a}} ${{inputs.w}}",
        extra="environment_variables: {A: b}",
    )
    job = folder.job(
        text,
        inputs__flag="false",
        inputs__n="0.5",
        inputs__src="./other",
        inputs__group__a="3",
        jobs__score__inputs__w="y y",
        jobs__score__inputs__images="./other",
        jobs__score__task__code="more",
        jobs__score__task__entry_script="late.py",
        jobs__score__environment_variables__A="c",
        jobs__score__environment_variables__B="d",
        jobs__score__allowed_failed_percent="12",
        resources__instance_count="-1",
        logging_level="DEBUG",
        compute="gpu",
        name="named",
    )
    step = first(job)
    assert step.arguments == ("False", "0.5", "3", "y y", "--logging_level", "DEBUG")
    assert step.inputs["src"].path == step.inputs["images"].path == str(folder.path / "other")
    assert step.entry_script == str(folder.path / "more/late.py")
    assert step.environment_variables == {"A": "c", "B": "d"}
    assert (step.settings.allowed_failed_percent, step.instance_count, step.settings.logging_level) == (
        12,
        -1,
        "DEBUG",
    )
    assert (job.name, step.compute) == ("named", "gpu")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("instance_cout", "Did you mean 'instance_count'?"),
        ("inputs.images", "Did you mean 'jobs.score.inputs.images'?"),
        ("jobs.score.timeot", "Did you mean 'jobs.score.timeout'?"),
        ("jobs.scor.timeout", "Did you mean 'jobs.score.timeout'?"),
        ("jobs.score.inputs.imges", "Did you mean 'jobs.score.inputs.images'?"),
        ("jobs.score.mode", "nothing named 'jobs.score.mode'"),
        ("", "nothing named ''"),
        ("jobs", "nothing named 'jobs'"),
        ("jobs.score", "nothing named 'jobs.score'"),
    ],
)
def test_an_unknown_override(folder: Folder, parallel_job: Text, key: str, says: str) -> None:
    with pytest.raises(UsageError, match=r"--set") as caught:
        folder.load(parallel_job(), overrides={key: "1"})
    assert says in str(caught.value)


def test_a_wrong_override_is_a_problem_of_the_command_line(folder: Folder, parallel_job: Text) -> None:
    with pytest.raises(SpecError, match=r"command line: instance_count: has to be a whole number, not 'x'"):
        folder.load(parallel_job(), overrides={"instance_count": "x"})


def test_inputs_staged_from_python(folder: Folder, parallel_job: Text) -> None:
    head = "inputs:\n  src: {type: mltable, path: ./not-there}"
    text = parallel_job(
        head=head, inputs="other: ${{parent.inputs.src}}\nthird: {type: mltable, path: ./nor-this}"
    )
    staged = ["src", "score.third", "jobs.score.inputs.images"]
    step = first(folder.run_job(folder.write("pipeline.yml", text), staged=staged))
    staged = folder.path / "RUN/inputs"
    assert [step.inputs[name].path for name in ("images", "other", "third")] == [
        f"{staged}/jobs.score.inputs.images",
        f"{staged}/src",
        f"{staged}/score.third",
    ]
    assert step.inputs["third"].type == "mltable"
    with pytest.raises(UsageError, match="no input 'sorce'"):
        folder.load(text, staged=["sorce"])


def test_staged_inputs_of_a_component_and_of_a_group(folder: Folder, parallel_job: Text) -> None:
    path = folder.write("parts/scorer.yml", COMPONENT)
    job = folder.run_job(path, staged=["images"])
    assert first(job).inputs["images"].path == str(folder.path / "RUN/inputs/images")
    text = parallel_job(
        head="inputs:\n  g: {a: {type: uri_folder, path: ./no}}", inputs="a: ${{parent.inputs.g.a}}"
    )
    job = folder.run_job(folder.write("pipeline.yml", text), staged=["g.a"])
    assert first(job).inputs["a"].path == str(folder.path / "RUN/inputs/g.a")


def test_data_from_python_is_a_table_where_nothing_says_otherwise(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job("partition_keys: [a]").replace(
        "images: {type: uri_folder, path: ./data}", "images: ${{parent.inputs.src}}"
    )
    text = text.replace("jobs:", "inputs: {src: {path: ./data}}\njobs:")
    job = folder.run_job(folder.write("pipeline.yml", text), staged=["src"])
    images = first(job).inputs["images"]
    assert (images.type, images.mode) == ("mltable", "direct")
    assert images.path == str(folder.path / "RUN/inputs/src")


def test_a_changed_script_is_read_again(folder: Folder, parallel_job: Text) -> None:
    folder.load(parallel_job())
    folder.write("code/script.py", "x = 1")
    assert folder.problems(parallel_job())
    folder.write("code/script.py", "def run(b): return b")
    folder.load(parallel_job())


def test_literals_travel_as_text_and_keep_their_type(folder: Folder, command_job: Text) -> None:
    head = """
        inputs:
          n: 10
          yes: true
          f: 0.5
          date: 2026-01-31
          word: {type: string, default: 3}
          pick: {type: string, value: b, enum: [a, b]}
          group: {a: 1, b: {type: integer, default: "2", min: 1, max: 3}}
          none: {type: string, optional: true}
        """
    names = ["n", "yes", "f", "date", "word", "pick", "group.a", "group.b", "none"]
    inputs = (
        "\n".join(f"{name.replace('group.', '')}: ${{{{ parent.inputs.{name} }}}}" for name in names)
        + "\nmixed: <${{parent.inputs.n}}|${{inputs.f}}>"
    )
    text = command_job(
        "echo ${{inputs.n}} ${{inputs.yes}} ${{inputs.f}} ${{inputs.date}} ${{inputs.word}} ${{inputs.pick}} ${{inputs.b}} "
        "'${{inputs.mixed}}'$[[ --none ${{inputs.none}}]]",
        inputs=inputs,
        head=head,
    )
    step = command(folder.job(text))
    assert step.command.strip() == "echo 10 True 0.5 2026-01-31 3 b 2 '<10|0.5>'"
    assert [step.inputs[name].value for name in ("n", "yes", "f", "word", "a", "b", "none")] == [
        10,
        True,
        0.5,
        "3",
        1,
        2,
        None,
    ]


def test_settings_may_be_bound(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job(
        head='inputs: {size: "5", n: 2, t: 7, lvl: DEBUG, key: Store, code: ./code}',
        extra="""
            mini_batch_size: ${{parent.inputs.size}}
            max_concurrency_per_instance: ${{parent.inputs.n}}
            logging_level: ${{ parent.inputs.lvl }}
            retry_settings: {max_retries: "${{parent.inputs.n}}", timeout: "${{parent.inputs.t}}0"}
            resources: {instance_count: "${{parent.inputs.n}}"}
            environment_variables: {A: "x ${{parent.inputs.n}}"}
            """,
        task="program_arguments: --error_threshold ${{parent.inputs.n}}",
    )
    step = first(folder.job(text.replace("      code: ./code", "      code: ${{parent.inputs.code}}")))
    assert (step.by_size.number, step.max_concurrency_per_instance, step.instance_count) == (5, 2, 2)
    assert (step.settings.max_retries, step.settings.timeout, step.settings.error_threshold) == (2, 70, 2)
    assert (step.settings.logging_level, step.environment_variables) == ("DEBUG", {"A": "x 2"})


@pytest.mark.parametrize(
    ("output", "arguments", "chosen"),
    [
        ("{type: uri_file, path: ./a.csv}", "", "text a.csv"),
        ("{type: uri_file, path: ./a.parquet}", "", "parquet a.parquet"),
        ("{type: uri_file, path: 's3://bucket/A.PARQUET'}", "", "parquet A.PARQUET"),
        ("{type: uri_file, path: ./a}", "--append_row_format parquet", "parquet a"),
        ("{type: uri_file, path: ./a.csv}", "--append-row-format csv", "csv a.csv"),
        ("{type: uri_file, path: ./a.pq}", "", "text a.pq"),
        ("{type: uri_folder, path: ./a.parquet}", "", "parquet a.parquet/"),
        ("{type: uri_folder, path: ./a}", "--append_row_format text", "text parallel_run_step.txt"),
        ("{type: uri_folder}", "--append_row_format=jsonl", "jsonl o/"),
        ("{type: mltable}", "--append_row_format=csv --append_row_part_size 1mb", "csv o/"),
        ("", "--append_row_format parquet", "parquet o/"),
        ("", "--append_row_format csv --append_row_file_name all.csv", "csv all.csv"),
        ("", "--append_row_file_name all.parquet", "parquet all.parquet"),
    ],
)
def test_the_format_of_rows_is_that_of_the_argument_else_of_the_name(
    folder: Folder, parallel_job: Text, output: str, arguments: str, chosen: str
) -> None:
    task = f"append_row_to: ${{{{ outputs.o }}}}\nprogram_arguments: {arguments}"
    step = first(folder.job(parallel_job(outputs=f"o: {output}", task=task)))
    assert step.append_row_to is not None
    name = step.append_row_to.rpartition("/")[2] + ("/" if step.append_row_folder else "")
    assert f"{step.settings.append_row_format} {name}" == chosen


@pytest.mark.parametrize(
    ("output", "path"),
    [
        ("{type: uri_file}", "RUN/steps/score/outputs/o"),
        ("", "RUN/steps/score/outputs/o/parallel_run_step.txt"),
        ("{type: mltable}", "RUN/steps/score/outputs/o/parallel_run_step.txt"),
        ("{type: uri_file, path: ./out/rows.csv}", "out/rows.csv"),
        ("{type: uri_folder, path: ./out/}", "out/parallel_run_step.txt"),
        (
            "{type: uri_file, path: 'azureml://datastores/workspaceblobstore/paths/a/b.csv'}",
            "RUN/datastores/default/a/b.csv",
        ),
        (
            "{type: uri_file, path: 'azureml://datastores/${{default_datastore}}/paths/${{name}}/x.csv'}",
            "RUN/datastores/default/RUN_score/x.csv",
        ),
        (
            "{type: uri_file, path: 'azureml://datastores/${{ default_datastore }}/paths/${name}/${{output_name}}'}",
            "RUN/datastores/default/RUN_score/o",
        ),
        ("{type: uri_file, path: './${{parent.inputs.sub}}/x.csv'}", "deep/x.csv"),
        ("{type: uri_file, path: 's3://bucket/x.csv'}", "s3://bucket/x.csv"),
        ("{path: 's3://bucket/x/'}", "s3://bucket/x/parallel_run_step.txt"),
        ("{type: uri_file, path: 'file:///${{parent.inputs.sub}}'}", "/deep"),
    ],
)
def test_where_rows_go(folder: Folder, parallel_job: Text, output: str, path: str) -> None:
    text = parallel_job(
        head="inputs: {sub: deep}", outputs=f"o: {output}", task="append_row_to: ${{ outputs.o }}"
    )
    expected = path if path.startswith(("s3:", "/")) else str(folder.path / path)
    assert first(folder.job(text)).append_row_to == expected


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("./rows.txt", "rows.txt"),
        ("${{outputs.folder}}/rows.csv", "RUN/steps/score/outputs/folder/rows.csv"),
        ("${{parent.outputs.all}}", "RUN/outputs/all/named.txt"),
        ("${{outputs.folder}}", "RUN/steps/score/outputs/folder/named.txt"),
    ],
)
def test_append_row_to_in_other_words(folder: Folder, parallel_job: Text, written: str, path: str) -> None:
    text = parallel_job(
        head="outputs: {all: }",
        outputs="folder:",
        task=f'append_row_to: "{written}"\nprogram_arguments: --append_row_file_name named.txt',
    )
    assert first(folder.job(text)).append_row_to == str(folder.path / path)


def test_datastores(folder: Folder, parallel_job: Text) -> None:
    folder.write("stores/pictures/sub/a.png")
    text = parallel_job(inputs="extra: {type: uri_folder, path: 'azureml://datastores/pictures/paths/sub'}")
    folder.load(text)
    path = folder.path / "pipeline.yml"
    job = folder.run_job(path, datastores={"pictures": str(folder.path / "stores/pictures")})
    assert first(job).inputs["extra"].path == str(folder.path / "stores/pictures/sub")
    with pytest.raises(SpecError, match="the datastore 'pictures' is not known here"):
        folder.run_job(path)
    with pytest.raises(
        SpecError, match=r"the datastore 'pictures' is not known here. Did you mean 'picture'\?"
    ):
        load_job(path, datastores={"picture": "/x"})


def test_the_default_datastore_may_have_a_name(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job(
        head="settings: {default_datastore: 'azureml:mine'}",
        outputs="o: {type: uri_file, path: 'azureml://datastores/${{default_datastore}}/paths/x'}",
        task="append_row_to: ${{outputs.o}}",
    )
    assert first(folder.job(text)).append_row_to == str(folder.path / "RUN/datastores/default/x")


@pytest.mark.parametrize(
    ("extra", "mode"),
    [
        ("", "direct"),
        ("mini_batch_size: 10kb", "direct"),
        ("partition_keys: [a]", "direct"),
        ('mini_batch_size: "10"', "eval_mount"),
    ],
)
def test_an_mltable_without_a_mode(folder: Folder, parallel_job: Text, extra: str, mode: str) -> None:
    text = parallel_job(extra).replace("{type: uri_folder, path: ./data}", "{type: mltable, path: ./table}")
    assert first(folder.job(text)).inputs["images"].mode == mode


def test_modes_come_from_node_component_pipeline(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job(
        head="inputs:\n  p: {type: mltable, path: ./table, mode: eval_mount}",
        inputs="q: ${{parent.inputs.p}}\nr: {path: '${{parent.inputs.p}}', mode: DIRECT}\ns: {type: UriFolder, path: ./data, mode: mount}",
    )
    inputs = first(folder.job(text)).inputs
    assert [(value.type, value.mode) for value in inputs.values()] == [
        ("uri_folder", "ro_mount"),
        ("mltable", "eval_mount"),
        ("mltable", "direct"),
        ("uri_folder", "ro_mount"),
    ]


def test_a_step_reads_what_another_writes_to_the_pipelines_output(folder: Folder) -> None:
    job = folder.job("""
        type: pipeline
        outputs: {shared: {type: uri_folder}}
        jobs:
          second: {type: command, command: "ls ${{inputs.i}} ${{parent.jobs.first.inputs.j}}", inputs: {i: "${{parent.outputs.shared}}"}}
          first: {type: command, command: "touch ${{outputs.o}}/x", outputs: {o: "${{parent.outputs.shared}}"}, inputs: {j: 4}}
          third: {type: command, command: "cat ${{parent.jobs.second.inputs.i}} ${{jobs.first.outputs.o}}"}
        """)
    assert [step.name for step in job.steps] == ["first", "second", "third"]
    assert [step.needs for step in job.steps] == [(), ("first",), ("first",)]
    assert command(job, 1).command == f"ls {folder.path}/RUN/outputs/shared 4"


def test_several_commands_in_one_block(folder: Folder, command_job: Text) -> None:
    (folder.path / "a b").mkdir()
    text = command_job(
        'set -e\ncat ${{inputs.d}}/x\necho "${{inputs.d}}"\n',
        inputs="d: {path: './a b'}",
        extra="limits: {timeout: 60}",
    )
    step = command(folder.job(text))
    assert step.command.strip() == f"set -e\ncat '{folder.path}/a b'/x\necho \"{folder.path}/a b\"".replace(
        f"'{folder.path}/a b'", f"'{folder.path}/a b'"
    )
    assert step.timeout == 60
    assert step.code is None


def test_legacy_bindings_without_parent(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job(
        head="inputs:\n  p: {type: uri_folder, path: ./data}\n  n: 1",
        inputs="q: ${{inputs.p}}\nn: v${{inputs.n}}",
    )
    step = first(folder.job(text))
    assert step.inputs["q"].path == str(folder.path / "data")
    assert step.inputs["n"].value == "v1"


def test_the_compute_of_the_pipeline(folder: Folder, parallel_job: Text) -> None:
    step = first(folder.job(parallel_job(head="settings: {default_compute: azureml:cpu}\ncompute: other")))
    assert (step.compute, step.sources["compute"]) == ("cpu", "pipeline pipeline.yml:2")


def test_continue_on_step_failure_as_text(folder: Folder, command_job: Text) -> None:
    assert folder.job(
        command_job("ls", head='settings: {continue_on_step_failure: "true"}')
    ).continue_on_step_failure
    assert not folder.job(command_job("ls")).continue_on_step_failure


def test_the_effective_spec_is_a_spec(folder: Folder) -> None:
    """Loaded again it gives the same step, whatever it was put together from."""
    import yaml

    text = ARTICLE_STEP.replace("${{inputs.score_model}}", "'it''s \"x\" ' ${{inputs.score_model}}")
    job = folder.job(
        text + "inputs: {d: {type: uri_folder, path: ./data}, n: 5, o: {type: string, optional: true}}\n"
    )
    again = folder.write("again.yml", yaml.safe_dump(dict(job.effective), sort_keys=False))
    loaded = folder.run_job(again)
    assert [problem.path for problem in loaded.warnings] == [
        "jobs.batch_prediction.driver",
        "jobs.batch_prediction.task.program_arguments",
    ]
    before, after = first(job), first(loaded)
    for name in (
        "arguments",
        "code",
        "entry_script",
        "by_size",
        "settings",
        "append_row_to",
        "instance_count",
        "max_concurrency_per_instance",
    ):
        assert getattr(before, name) == getattr(after, name), name


def test_rank_mini_batch_count_needs_no_input(folder: Folder) -> None:
    step = first(
        folder.job("""
        type: pipeline
        jobs:
          s: {type: parallel, task: {code: ./code, entry_script: script.py, program_arguments: --rank_mini_batch_count 4}}
        """)
    )
    assert (step.input_data, step.settings.rank_mini_batch_count) == ((), 4)


class Unread(Mapping[str, str]):
    """Names of places whose reading would take the import of Dask."""

    def __getitem__(self, name: str) -> str:
        raise AssertionError(f"{name} is looked up")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the names are listed")

    def __len__(self) -> int:
        raise AssertionError("the names are counted")


def test_places_are_not_read_for_a_job_that_names_none(folder: Folder, parallel_job: Text) -> None:
    """Fork servers start only when the job is read, and Dask is imported beside them."""
    text = parallel_job().replace("{type: uri_file}", "{type: uri_file, path: ./rows.txt}")
    path = folder.write("pipeline.yml", text)
    definition = read_definition(path, run_directory=folder.path / "run", components=Unread())
    job = resolve_job(definition, datastores=Unread(), assets=Unread())
    assert first(job).name == "score"


def test_nothing_heavy_is_imported(folder: Folder, parallel_job: Text) -> None:
    """`validate` has to answer at once."""
    path = folder.write("pipeline.yml", parallel_job())
    program = (
        "import sys; from daskpar.jobspec.load import load_job; load_job(sys.argv[1])\n"
        "heavy = {'dask', 'distributed', 'pandas', 'numpy', 'pyarrow', 'fsspec'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    here = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, cwd=here, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
