"""Steps that are tried apart write below one folder, in whatever way their spec names an output."""

from __future__ import annotations

import pytest

from daskpar.jobspec.load import read_definition, resolve_job
from daskpar.jobspec.steps_apart import StepsApart

SPEC = """
type: pipeline
outputs:
  all: {{type: uri_folder, path: ./all}}
  of_first: {{type: uri_folder, path: ./of_first}}
jobs:
  first:
    type: command
    command: echo > ${{{{outputs.made}}}}/a.txt
    outputs:
      made: {{type: uri_folder, path: "${{{{parent.outputs.of_first}}}}"}}
    environment: azureml:any:1
  score:
    type: parallel
    inputs:
      images: {{type: uri_folder, path: "${{{{parent.jobs.first.outputs.made}}}}"}}
    outputs:
      result: {output}
    input_data: ${{{{inputs.images}}}}
    environment_variables: {{WHERE: "${{{{outputs.result}}}}"}}
    task:
      type: run_function
      code: ./code
      entry_script: script.py
      program_arguments: --to ${{{{outputs.result}}}}/x
      append_row_to: {rows}
"""


@pytest.mark.parametrize(
    ("output", "rows", "place", "file"),
    [
        ("{type: uri_file, path: ./rows.parquet}", "${{outputs.result}}", "result/rows.parquet", None),
        ("{type: uri_file}", "${{outputs.result}}", "result/result", None),
        ("{type: uri_folder, path: ./out}", "${{outputs.result}}", "result", "parallel_run_step.txt"),
        ("{type: uri_folder, path: ./out}", "./out/mine.csv", "result", "mine.csv"),
        (
            "{type: uri_folder, path: s3://bucket/out}",
            "${{outputs.result}}",
            "result",
            "parallel_run_step.txt",
        ),
        ('{path: "${{parent.outputs.all}}"}', "${{parent.outputs.all}}", "all", "parallel_run_step.txt"),
        ("{type: uri_file, path: ./rows.txt}", "./rows.txt", "result/rows.txt", None),
        ("{type: uri_folder, path: ./out}", "./elsewhere/rows.txt", "result", "../rows/rows.txt"),
    ],
)
def test_every_way_to_name_an_output(folder, output, rows, place, file):
    definition = read_definition(
        folder.write("pipeline.yml", SPEC.format(output=output, rows=rows)), run_directory=folder.path / "RUN"
    )
    apart = StepsApart(names=frozenset(["score"]), folder=folder.path / "scratch")
    plain = resolve_job(definition, datastores={})
    job = resolve_job(definition, datastores={}, apart=apart)
    first, score = job.steps
    made = folder.path / "scratch/steps/score/outputs" / place
    assert score.outputs["result"].path == str(made)
    assert score.environment_variables == {"WHERE": str(made)}
    assert score.arguments == ("--to", f"{made}/x")
    rows_at = (made / file).resolve() if file else made
    assert score.append_row_to == str(rows_at)
    assert score.settings.append_row_format == plain.steps[1].settings.append_row_format
    # What it reads is where it was, and nobody else writes elsewhere.
    assert score.inputs["images"].path == first.outputs["made"].path == str(folder.path / "of_first")
    assert plain.steps[0] == first


NESTED = """
type: pipeline
outputs:
  final: {type: uri_folder, path: ./final}
  inner: {type: uri_folder, path: ./of_job}
jobs:
  outer:
    type: pipeline
    outputs: {inner: "${{parent.outputs.final}}"}
    jobs:
      score:
        type: command
        command: echo ${{outputs.result}} > ${{parent.outputs.inner}}/a.txt
        outputs: {result: "${{parent.outputs.inner}}"}
        environment: azureml:any:1
  last:
    type: command
    command: echo > ${{parent.outputs.inner}}/b.txt
    environment: azureml:any:1
"""


def test_an_output_of_a_nested_pipeline(folder):
    definition = read_definition(folder.write("pipeline.yml", NESTED), run_directory=folder.path / "RUN")
    apart = StepsApart(names=frozenset(["outer.score"]), folder=folder.path / "scratch")
    steps = {step.name: step for step in resolve_job(definition, datastores={}, apart=apart).steps}
    command, made = steps["outer.score"].command, steps["outer.score"].outputs["result"].path
    assert made.startswith(str(folder.path / "scratch/steps/outer.score/outputs"))
    assert command.count(made) == 2 and str(folder.path / "final") not in command
    # The job has an output of the same name, which another step writes.
    assert str(folder.path / "of_job") in steps["last"].command


def test_copies_of_inputs_are_apart_too(folder):
    text = SPEC.format(output="{type: uri_folder}", rows="${{outputs.result}}").replace(
        "images: {", "images: {mode: download, "
    )
    definition = read_definition(folder.write("pipeline.yml", text), run_directory=folder.path / "RUN")
    apart = StepsApart(names=frozenset(["score"]), folder=folder.path / "scratch")
    job = resolve_job(definition, datastores={}, apart=apart)
    assert job.steps[1].inputs["images"].seen.startswith(str(folder.path / "scratch"))
