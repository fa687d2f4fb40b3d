"""What bindings lead to: the steps that are waited for, places that go on from another step's output, datastores, URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from daskpar.errors import SpecError
from daskpar.jobspec.load import load_job

Folder = Any
Text = Callable[..., str]

WRITER = "  z: {type: command, command: 'echo made > ${{outputs.o}}', outputs: {o: '${{parent.outputs.r}}'}}"


@pytest.mark.parametrize(
    "reader",
    [
        "{type: command, command: 'cat ${{parent.outputs.r}}'}",
        "{type: command, command: 'cat $R', environment_variables: {R: '${{parent.outputs.r}}'}}",
        "{type: command, command: 'cat ${{inputs.i}}', inputs: {i: {type: uri_file, path: '${{parent.outputs.r}}/sub'}}}",
        "{type: command, command: 'cat ${{inputs.i}}', inputs: {i: '--from ${{parent.outputs.r}}'}}",
        "{type: command, command: 'cat ${{parent.jobs.z.outputs.o}}'}",
        "{type: parallel, inputs: {i: {path: ./data}}, input_data: '${{inputs.i}}',"
        " task: {code: ./code, entry_script: script.py, program_arguments: '--r ${{parent.outputs.r}}'}}",
    ],
)
def test_what_reads_the_pipelines_output_waits_for_what_writes_it(folder: Folder, reader: str) -> None:
    job = folder.job(f"type: pipeline\noutputs: {{r: {{type: uri_file}}}}\njobs:\n  b: {reader}\n{WRITER}\n")
    assert [step.name for step in job.steps] == ["z", "b"]
    assert [step.needs for step in job.steps] == [(), ("z",)]


@pytest.mark.parametrize("below", ["", "/rows.txt"])
def test_rows_appended_to_the_pipelines_output_are_waited_for_too(folder: Folder, below: str) -> None:
    job = folder.job(
        """
        type: pipeline
        outputs: {r: {type: uri_folder}}
        jobs:
          show: {type: command, command: "cat ${{inputs.i}}", inputs: {i: "${{parent.outputs.r}}"}}
          score:
            type: parallel
            inputs: {i: {path: ./data}}
            input_data: ${{inputs.i}}
            task: {code: ./code, entry_script: script.py, append_row_to: "${{parent.outputs.r}}BELOW"}
        """.replace("BELOW", below)
    )
    assert [step.name for step in job.steps] == ["score", "show"]


def test_a_text_that_names_two_steps_waits_for_both(folder: Folder) -> None:
    job = folder.job("""
        type: pipeline
        jobs:
          c: {type: command, command: "ls ${{inputs.i}}", inputs: {i: "${{parent.jobs.a.outputs.o}} ${{parent.jobs.b.outputs.o}}"}}
          a: {type: command, command: ls, outputs: {o: }}
          b: {type: command, command: ls, outputs: {o: }}
        """)
    assert job.steps[-1].needs == ("a", "b")


def test_a_path_may_go_on_from_an_output(folder: Folder) -> None:
    job = folder.job("""
        type: pipeline
        jobs:
          b: {type: command, command: "cat ${{inputs.i}}", inputs: {i: "${{parent.jobs.a.inputs.j}}"}}
          a:
            type: command
            command: cat ${{inputs.j}}
            inputs: {j: {type: uri_file, path: "${{parent.jobs.c.outputs.o}}/sub/x.txt"}}
          c: {type: command, command: ls, outputs: {o: }}
        """)
    last = {step.name: step for step in job.steps}["b"].inputs["i"]
    assert (last.path, last.made_by) == (str(folder.path / "RUN/steps/c/outputs/o/sub/x.txt"), "c")
    assert [step.name for step in job.steps] == ["c", "b", "a"]


def test_places_in_the_run_directory_are_told_without_a_name_that_it_does_not_have(folder: Folder) -> None:
    (problem,) = folder.problems("""
        type: pipeline
        outputs: {r: {type: uri_file}}
        jobs:
          a: {type: command, command: ls, outputs: {o: "${{parent.outputs.r}}"}}
          b: {type: command, command: ls, outputs: {o: "${{parent.outputs.r}}"}}
        """)
    assert problem.what.startswith("outputs/r in the run directory is written twice")


def test_what_is_missing_in_a_datastore_is_told_once_the_datastores_are_known(
    folder: Folder, parallel_job: Text
) -> None:
    (folder.path / "store").mkdir()
    text = parallel_job(
        inputs="side: {type: uri_file, path: 'azureml://datastores/mine/paths/x.csv'}\n"
        "other: {type: uri_file, path: 'azureml://datastores/workspaceblobstore/paths/y.csv'}"
    )
    folder.load(text)
    path = folder.path / "pipeline.yml"
    with pytest.raises(SpecError) as caught:
        folder.run_job(path, datastores={"mine": str(folder.path / "store")})
    assert [problem.line for problem in caught.value.problems] == [8, 9]
    assert "store/x.csv does not exist" in str(caught.value)
    assert "--datastore workspaceblobstore=FOLDER" in str(caught.value)
    with pytest.raises(SpecError, match=r"store/x\.csv does not exist"):
        load_job(path, datastores={"mine": str(folder.path / "store")})
    folder.write("store/x.csv")
    folder.write("RUN/datastores/default/y.csv")
    folder.run_job(path, datastores={"mine": f"file://{folder.path}/store"})


def test_what_a_step_writes_in_a_datastore_may_come_later(folder: Folder) -> None:
    folder.job("""
        type: pipeline
        jobs:
          a: {type: command, command: ls, outputs: {o: {path: "azureml://datastores/default/paths/out"}}}
          b: {type: command, command: ls, inputs: {i: {path: "azureml://datastores/default/paths/out/sub"}}}
        """)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"inputs": "a: {path: 's3://b/k'}"}, ""),
        ({"inputs": "a: {type: mltable, path: 's3://b/k'}"}, ""),
        ({"inputs": "a: {path: 'memory://b/k'}"}, "the input 'a' is at memory://b/k, in the memory of one"),
        ({"outputs": "a: {path: 's3://b/k'}"}, ""),
        ({"outputs": "a: {path: 'https://b/k'}"}, "the output 'a' is at https://b/k, and nothing is written"),
        (
            {
                "outputs": "a: {type: uri_file, path: 's3://b/k'}",
                "task": "append_row_to: ${{outputs.result}}",
            },
            "",
        ),
        (
            {
                "head": "inputs: {p: {path: 's3://b/k'}}",
                "task": "program_arguments: --p ${{parent.inputs.p}}",
            },
            "what ${{parent.inputs.p}} means is at s3://b/k",
        ),
        (
            {
                "head": "inputs: {p: {path: 's3://b/k'}}",
                "inputs": "a: '${{parent.inputs.p}}'",
                "task": "program_arguments: --p ${{parent.inputs.p}}",
            },
            "",
        ),
        ({"inputs": "a: {path: 's3://b/k', mode: direct}"}, ""),
        ({"outputs": "a: {path: 's3://b/k', mode: direct}"}, ""),
        ({"outputs": "a: {type: uri_file, path: 's3://b/k'}", "task": "append_row_to: ${{outputs.a}}"}, ""),
    ],
)
def test_urls_that_nothing_is_copied_from(
    folder: Folder, parallel_job: Text, parts: dict[str, str], says: str
) -> None:
    if not says:
        folder.load(parallel_job(**parts))
        return
    (problem,) = folder.problems(parallel_job(**parts))
    assert says in str(problem)


@pytest.mark.parametrize(
    ("port", "extra", "fetched"),
    [
        ("{type: uri_folder, path: 's3://b/k'}", "", True),
        ("{type: uri_folder, path: 's3://b/k', mode: direct}", "", False),
        ("{type: mltable, path: 's3://b/k'}", "", False),
        ("{type: mltable, path: 's3://b/k'}", "mini_batch_size: 10kb", False),
        ("{type: mltable, path: 's3://b/k', mode: eval_mount}", "", True),
    ],
)
def test_files_at_a_url_are_fetched_and_tables_are_read_there(
    folder: Folder, parallel_job: Text, port: str, extra: str, fetched: bool
) -> None:
    (step,) = folder.load(parallel_job(extra).replace("{type: uri_folder, path: ./data}", port)).steps
    assert step.inputs["images"].is_fetched is fetched


def test_rows_at_a_url_are_no_file_for_a_later_step(folder: Folder) -> None:
    (problem,) = folder.problems("""
        type: pipeline
        jobs:
          score:
            type: parallel
            inputs: {i: {path: ./data}}
            outputs: {rows: {type: uri_file, path: "memory://bucket/rows.txt"}}
            input_data: ${{inputs.i}}
            task: {code: ./code, entry_script: script.py, append_row_to: "${{outputs.rows}}"}
          show: {type: command, command: "cat ${{inputs.result}}", inputs: {result: "${{parent.jobs.score.outputs.rows}}"}}
        """)
    assert (problem.line, problem.path) == (10, "jobs.show.inputs.result")
    assert "memory://bucket/rows.txt, in the memory of one process" in problem.what


def test_literals_in_a_command_are_text_and_paths_are_words(folder: Folder) -> None:
    (folder.path / "a b").mkdir()
    job = folder.job("""
        type: pipeline
        inputs: {more: "--c 3"}
        jobs:
          work:
            type: command
            command: python show.py ${{inputs.args}} ${{inputs.data}} ${{parent.inputs.more}}
            inputs: {args: "--a 1 --b 2", data: {path: "./a b"}}
        """)
    assert job.steps[0].command == f"python show.py --a 1 --b 2 '{folder.path}/a b' --c 3"
