"""Wrong specs: every mistake is found, at once, with its line, its path and a hint; nothing of the user's is run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskpar.errors import SpecError
from daskpar.jobspec.load import load_job

Folder = Any
Text = Callable[..., str]

PARALLEL = {
    "unknown binding": (
        {"task": "append_row_to: ${{outputs.reslt}}"},
        "the step 'score' has no output 'reslt'. Did you mean 'result'?",
    ),
    "no form": (
        {"task": "append_row_to: ${{output.result}}"},
        "${{output.result}} is no binding that is known here. Did you mean 'outputs'?",
    ),
    "sweep": ({"task": "program_arguments: ${{search_space.lr}}"}, "Sweeps are not run here."),
    "unclosed binding": ({"task": "program_arguments: ${{inputs.images"}, "is not closed"),
    "unclosed quote": ({"task": "program_arguments: --a 'b"}, "the quote ' before 'b' is not closed"),
    "unknown parent input": (
        {"inputs": "a: ${{parent.inputs.a}}", "head": "inputs: {b: 1}"},
        "the pipeline has no input 'a'. It has: b.",
    ),
    "unknown step": (
        {"inputs": "a: ${{parent.jobs.scor.outputs.a}}"},
        "the job has no step 'scor'. Did you mean 'score'?",
    ),
    "itself": ({"inputs": "a: ${{parent.jobs.score.outputs.result}}"}, "refers to its own step"),
    "missing folder": ({"inputs": "a: {path: ./dat}"}, "dat does not exist. Did you mean 'data'?"),
    "missing file": (
        {"inputs": "a: {type: uri_file, path: ./nowhere/file.csv}"},
        "nowhere/file.csv does not exist",
    ),
    "file for folder": ({"inputs": "a: {type: uri_folder, path: ./file.csv}"}, "Write type: uri_file."),
    "folder for file": ({"inputs": "a: {type: uri_file, path: ./data}"}, "Write type: uri_folder."),
    "mode of tables": (
        {"inputs": "a: {type: uri_folder, path: ./data, mode: eval_mount}"},
        "the mode eval_mount is for the type mltable",
    ),
    "registered data": (
        {"inputs": "a: {type: uri_folder, path: 'azureml:pictures:1'}"},
        "an asset of an Azure ML workspace",
    ),
    "type": ({"inputs": "a: {type: uri_foldr, path: ./data}"}, "Did you mean 'uri_folder'?"),
    "mode": ({"inputs": "a: {type: uri_folder, path: ./data, mode: upload}"}, "has to be one of ro_mount"),
    "path and value": ({"inputs": "a: {path: ./data, value: 1}"}, "both a path and a value"),
    "list for input": ({"inputs": "a: [1]"}, "has to be a single value or a mapping, not a list"),
    "path is no text": ({"inputs": "a: {path: 5}"}, "has to be a path, not 5"),
    "null input": ({"inputs": "a:"}, "the input 'a' has no value and no default."),
    "literal with path": (
        {"inputs": "a: {type: integer, path: ./data}"},
        "is of type integer and has a path",
    ),
    "not an integer": ({"inputs": "a: {type: integer, value: x}"}, "has to be an integer, not 'x'"),
    "enum": (
        {"inputs": "a: {type: string, value: rde, enum: [red, blue]}"},
        "has to be one of red, blue, not 'rde'. Did you mean 'red'?",
    ),
    "min": ({"inputs": "a: {type: number, value: 0, min: 1}"}, "has to be 1 or more, not 0"),
    "max": ({"inputs": "a: {type: number, value: 2.5, max: '2'}"}, "has to be 2 or less, not 2.5"),
    "enum is no list": (
        {"inputs": "a: {type: string, value: x, enum: x}"},
        "has to be a list of allowed values",
    ),
    "input name": ({"inputs": "a-b: 1"}, "'a-b' is no name"),
    "optional outside a segment": (
        {"inputs": "o: {type: string, optional: true}", "task": "program_arguments: --o ${{inputs.o}}"},
        "the optional input 'o' has no value. Put what belongs to it between $[[ and ]]",
    ),
    "output text": ({"outputs": "o: ./here"}, "Write {path: ./here}."),
    "output number": ({"outputs": "o: 5"}, "an output is a mapping or a binding, not 5"),
    "output type": ({"outputs": "o: {type: uri_fle}"}, "Did you mean 'uri_file'?"),
    "output mode": ({"outputs": "o: {mode: download}"}, "has to be one of rw_mount"),
    "output bound to an input": (
        {"outputs": "o: ${{parent.inputs.n}}", "head": "inputs: {n: 5}"},
        "an output can be bound to an output of the pipeline",
    ),
    "output is a file": ({"outputs": "o: {path: ./file.csv}"}, "is a file, and the output is a folder"),
    "two outputs": (
        {"outputs": "o: {path: ./x}\np: {path: x/}"},
        "is written twice: here, and by o of the step 'score' (pipeline.yml:11)",
    ),
    "rows over an output": (
        {
            "inputs": "",
            "outputs": "o: ${{parent.outputs.q}}\np: ${{parent.outputs.q}}",
            "head": "outputs: {q: }",
        },
        "is written twice",
    ),
    "size": ({"extra": "mini_batch_size: ten"}, "'ten' is no mini-batch size"),
    "keys without table": ({"extra": "partition_keys: [a]"}, "partition_keys need an mltable"),
    "keys as text": (
        {"extra": "partition_keys: a,b"},
        "has to be a list of column names, not 'a,b'. Write [a, b].",
    ),
    "a key as text": ({"extra": "partition_keys: store"}, "not 'store'. Write [store]."),
    "threshold": (
        {"extra": "error_threshold: true"},
        "jobs.score.error_threshold: has to be a whole number, not true",
    ),
    "threshold below": ({"extra": "mini_batch_error_threshold: -2"}, "has to be -1 or more"),
    "level": ({"extra": "logging_level: WARN"}, "Did you mean 'WARNING'?"),
    "retries": (
        {"extra": "retry_settings: {max_retries: many}"},
        "jobs.score.retry_settings.max_retries: has to be a whole number",
    ),
    "timeout": ({"extra": "retry_settings: {timeout: 0}"}, "more than 0 and at most 259200"),
    "retry settings": ({"extra": "retry_settings: 5"}, "has to be a mapping, not 5"),
    "resources": ({"extra": "resources: {instance_count: 0}"}, "1 or more, or -1"),
    "processors": ({"extra": "max_concurrency_per_instance: 0"}, "has to be 1 or more"),
    "environment variables": (
        {"extra": "environment_variables: {A: 1}"},
        'has to be a text, not 1. Quote it: A: "1".',
    ),
    "environment variable list": (
        {"extra": "environment_variables: [A]"},
        "has to be a mapping of names to texts",
    ),
    "flag": (
        {"task": "program_arguments: --allowed_failed_percent 101"},
        "--allowed_failed_percent: has to be a percentage",
    ),
    "flag without value": (
        {"task": "program_arguments: --error_threshold"},
        "the program argument --error_threshold needs a value",
    ),
    "arguments list": ({"task": "program_arguments: [--a, b]"}, "has to be one text"),
    "unknown row format": (
        {"task": "program_arguments: --append_row_format feather"},
        "has to be one of text, csv, parquet, jsonl, not 'feather'",
    ),
    "unknown rule for columns": (
        {"task": "program_arguments: --append_row_columns both"},
        "has to be one of same, union, not 'both'",
    ),
    "row format without rows": (
        {"task": "program_arguments: --append_row_format csv"},
        "--append_row_format csv is for rows, and this step aggregates none.",
    ),
    "columns without rows": (
        {"task": "program_arguments: --append_row_columns union"},
        "--append_row_columns union is for rows, and this step aggregates none.",
    ),
    "join without rows": (
        {"task": "program_arguments: --append_row_join id,name"},
        "--append_row_join id,name is for rows, and this step aggregates none.",
    ),
    "index without rows": (
        {"task": "program_arguments: --append_row_index"},
        "--append_row_index True is for rows, and this step aggregates none.",
    ),
    "parts without rows": (
        {"task": "program_arguments: --append_row_part_size 1mb"},
        "--append_row_part_size 1mb is for rows, and this step aggregates none.",
    ),
    "no names to join": (
        {"outputs": "f:", "task": "append_row_to: ${{outputs.f}}\nprogram_arguments: --append_row_join id,"},
        "has to be names of columns with commas between them, not 'id,'. Write id,name.",
    ),
    "a name joined twice": (
        {
            "outputs": "f:",
            "task": "append_row_to: ${{outputs.f}}\nprogram_arguments: --append_row_join a,b,a",
        },
        "the column 'a' is given twice",
    ),
    "all and more": (
        {
            "outputs": "f:",
            "task": "append_row_to: ${{outputs.f}}\nprogram_arguments: --append_row_join all,a",
        },
        "--append_row_join all has all columns: name no others beside it",
    ),
    "columns of files": (
        {
            "outputs": "f:",
            "task": "append_row_to: ${{outputs.f}}\nprogram_arguments: --append_row_join path,b",
        },
        "is a list of files (uri_folder), which has no columns. Write --append_row_join path to have the path",
    ),
    "columns of numbers": (
        {
            "outputs": "f:",
            "task": "append_row_to: ${{outputs.f}}\n"
            "program_arguments: --append_row_join a --rank_mini_batch_count 3",
        },
        "--append_row_join is for steps with input_data, and this one has numbers for items.",
    ),
    "parts of one file": (
        {
            "outputs": "p: {type: uri_file, path: ./a.csv}",
            "task": "append_row_to: ${{outputs.p}}\n"
            "program_arguments: --append_row_format csv --append_row_part_size 1mb",
        },
        "Give the output type: uri_folder",
    ),
    "text in a Parquet file": (
        {
            "outputs": "p: {type: uri_file, path: ./a.parquet}",
            "task": "append_row_to: ${{outputs.p}}\nprogram_arguments: --append_row_format text",
        },
        "rows are written as text (--append_row_format), and a.parquet says .parquet.",
    ),
    "Parquet in a text file": (
        {
            "outputs": "p: {type: uri_file, path: ./a.csv}",
            "task": "append_row_to: ${{outputs.p}}\nprogram_arguments: --append_row_format parquet",
        },
        "Name the file so that it ends in .parquet",
    ),
    "columns of text": (
        {
            "outputs": "p: {type: uri_file, path: ./a.csv}",
            "task": "append_row_to: ${{outputs.p}}\nprogram_arguments: --append_row_columns union",
        },
        "Write --append_row_format csv, parquet or jsonl as well.",
    ),
    "rows into a folder": (
        {"outputs": "p: {type: uri_file, path: ./taken}", "task": "append_row_to: ${{outputs.p}}"},
        "taken is a folder; rows",
    ),
    "file name": (
        {
            "outputs": "f:",
            "task": "append_row_to: ${{outputs.f}}\nprogram_arguments: --append_row_file_name a/b",
        },
        "--append_row_file_name 'a/b' is no name for a file",
    ),
    "compute": ({"extra": "compute: 5"}, "jobs.score.compute: has to be a text, not 5"),
    "no step writes it": (
        {"inputs": "a: ${{parent.outputs.x}}", "head": "outputs: {x: }"},
        "no other step writes the pipeline's output 'x'",
    ),
    "bound pipeline input": (
        {"head": "inputs: {a: '${{parent.inputs.b}}'}"},
        "an input of the pipeline has nothing to bind to",
    ),
    "bound pipeline output": (
        {"head": "outputs: {a: '${{parent.outputs.b}}'}"},
        "an output of the pipeline has nothing to bind to",
    ),
    "required pipeline input": (
        {"head": "inputs: {a: {type: string}}"},
        "the input 'a' has no value and no default. On the command line: --set inputs.a=VALUE.",
    ),
    "pipeline inputs": ({"head": "inputs: [a]"}, "inputs: has to be a mapping of names, not a list"),
    "continue": ({"head": "settings: {continue_on_step_failure: perhaps}"}, "has to be True or False"),
}


@pytest.mark.parametrize("name", PARALLEL)
def test_one_mistake_in_a_parallel_step(folder: Folder, parallel_job: Text, name: str) -> None:
    parts, says = PARALLEL[name]
    folder.write("taken/by-a-file", "")
    problems = folder.problems(parallel_job(**parts))
    assert len(problems) == 1, [str(problem) for problem in problems]
    assert says in str(problems[0])
    assert str(problems[0]).startswith("pipeline.yml:")


REPLACED = {
    "no input_data": (
        "    input_data: ${{inputs.images}}\n",
        "",
        "needs input_data: the input that is split into mini-batches. Write input_data: ${{inputs.images}}.",
    ),
    "input_data text": ("input_data: ${{inputs.images}}", "input_data: images", "Write ${{inputs.images}}."),
    "input_data unknown": (
        "input_data: ${{inputs.images}}",
        "input_data: ${{inputs.image}}",
        "Did you mean 'images'?",
    ),
    "input_data of the pipeline": (
        "input_data: ${{inputs.images}}",
        "input_data: ${{parent.inputs.x}}",
        "one of the step's own inputs",
    ),
    "input_data literal": ("{type: uri_folder, path: ./data}", "5", "only data can be split"),
    "input_data bare path": (
        "{type: uri_folder, path: ./data}",
        "./data",
        "only data can be split into mini-batches. For data, write images: {type: uri_folder, path: ./data}.",
    ),
    "input_data optional": (
        "{type: uri_folder, path: ./data}",
        "{type: uri_folder, optional: true}",
        "the input 'images' is optional and has no value",
    ),
    "code": ("code: ./code", "code: ./cod", "the folder cod does not exist. Did you mean 'code'?"),
    "git code": ("code: ./code", "code: git+https://github.com/a/b", "code can't be taken from"),
    "script": (
        "script.py",
        "scrip.py",
        "the entry script 'scrip.py' does not exist in code. Did you mean 'script.py'?",
    ),
    "script missing": ("      entry_script: script.py\n", "", "the task needs an entry_script"),
    "script wrong": ("script.py", "three.py", "code/three.py:2: run requires 3 arguments"),
    "script without run": ("script.py", "norun.py", "code/norun.py: the entry script has no function run"),
    "task type": ("type: run_function", "type: run_functio", "Did you mean 'run_function'?"),
    "model task": ("type: run_function", "type: model", "tasks of type 'model' are not run here"),
    "step type": (
        "    type: parallel",
        "    type: paralel",
        "'paralel' is no type of step; parallel and command are. Did you mean 'parallel'?",
    ),
    "foreign step": ("    type: parallel", "    type: sweep", "steps of type sweep are not run here"),
    "registered component": (
        "    type: parallel",
        "    component: azureml:scorer:1",
        "a component of an Azure ML workspace",
    ),
    "missing component": (
        "    type: parallel",
        "    component: ./scorer.yml",
        "can't read scorer.yml: No such file",
    ),
    "component type": (
        "    type: parallel",
        "    component: ./hello.yml",
        "is of type parallel, its component of type command",
    ),
    "component list": ("    type: parallel", "    component: [a]", "has to be a path or a mapping"),
    "step name": ("  score:", "  my-score:", "'my-score' is no name for a step"),
    "long step name": ("  score:", f"  {'s' * 300}:", "is too long for a step"),
    "pipeline type": ("type: pipeline", "type: pipelin", "Did you mean 'pipeline'?"),
    "twice": ("type: pipeline", "type: pipeline\ntype: pipeline", "the key is given twice, first in line 1"),
}


@pytest.mark.parametrize("name", REPLACED)
def test_one_mistake_put_in(folder: Folder, parallel_job: Text, name: str) -> None:
    folder.write("code/three.py", "\ndef run(a, b, c): return []")
    folder.write("code/norun.py", "def ran(a): return []")
    folder.write("hello.yml", "type: command\ncommand: ls")
    old, new, says = REPLACED[name]
    text = parallel_job()
    assert old in text
    problems = folder.problems(text.replace(old, new, 1))
    assert len(problems) == 1, [str(problem) for problem in problems]
    assert says in str(problems[0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("type: pipeline\n", "a pipeline needs jobs"),
        ("type: pipeline\njobs: {}\n", "a pipeline needs jobs"),
        ("type: pipeline\njobs: [a]\n", "a pipeline needs jobs"),
        ("type: pipeline\njob: {a: {type: command, command: ls}}\n", "Did you mean 'job'?"),
        ("type: pipeline\njobs: {a: 5}\n", "a step is a mapping, not 5"),
        ("type: pipeline\njobs: {a: }\n", "a step is a mapping"),
        ("type: pipeline\njobs: {a: {inputs: {}}}\n", "the step has no type"),
        (
            "type: pipeline\njobs: {a: {type: command, command: ls}, A: {type: command, command: ls}}\n",
            "differ only in case",
        ),
        ("type: pipeline\njobs: {a: {type: command}}\n", "a command step needs a command"),
        ("type: pipeline\njobs: {a: {type: command, command: [ls]}}\n", "has to be one text"),
        ("type: pipeline\njobs: {a: {type: parallel}}\n", "needs a task"),
        ("type: pipeline\njobs: {a: {type: command, command: ls, limits: {timeout: -1}}}\n", "more than 0"),
        ("type: spark\n", "a file of type 'spark' can't be run"),
        ("name: x\n", "the file has no type and no jobs"),
        ("- a\n", "a job is a mapping, not a list"),
        ("just text\n", "a job is a mapping, not 'just text'"),
    ],
)
def test_specs_that_are_no_job(folder: Folder, text: str, says: str) -> None:
    assert any(
        says.replace("'job'", "'jobs'") in str(problem) or says in str(problem)
        for problem in folder.problems(text)
    )


def test_a_circle_of_steps(folder: Folder) -> None:
    (problem,) = folder.problems("""
        type: pipeline
        jobs:
          free: {type: command, command: ls}
          a: {type: command, command: ls, inputs: {i: "${{parent.jobs.c.outputs.o}}"}, outputs: {o: }}
          b: {type: command, command: "ls ${{parent.jobs.a.outputs.o}}", outputs: {o: }}
          c: {type: command, command: ls, inputs: {i: "${{parent.jobs.b.outputs.o}}"}, outputs: {o: }}
          after: {type: command, command: ls, inputs: {i: "${{parent.jobs.c.outputs.o}}"}}
        """)
    assert "the steps need each other in a circle: b -> c -> a -> b." in problem.what
    assert problem.path == "jobs.b"
    assert re.search(r"a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c", problem.what)


WRONG_TYPES = {
    "name: [a]": "has to be a text, not a list",
    "display_name: {a: b}": "has to be a text, not a mapping",
    "tags: [a]": "has to be a mapping of names to texts, not a list",
    "properties: 3": "has to be a mapping of names to texts, not 3",
    "settings: [a]": "has to be a mapping, not a list",
}


@pytest.mark.parametrize("line", WRONG_TYPES)
def test_wrong_types_at_the_top(folder: Folder, command_job: Text, line: str) -> None:
    (problem,) = folder.problems(command_job("ls", head=line))
    assert (problem.line, problem.path) == (2, line.partition(":")[0])
    assert WRONG_TYPES[line] in problem.what


@pytest.mark.parametrize(
    "line", [*(line for line in WRONG_TYPES if not line.startswith("settings")), "is_deterministic: maybe"]
)
def test_wrong_types_in_a_step(folder: Folder, parallel_job: Text, command_job: Text, line: str) -> None:
    says = WRONG_TYPES.get(line, "has to be True or False, not 'maybe'")
    for text in (parallel_job(line), command_job("ls", extra=line)):
        (problem,) = folder.problems(text)
        assert says in problem.what


@pytest.mark.parametrize("command", ["''", "'  '", ""])
def test_a_command_without_a_word(folder: Folder, command: str) -> None:
    (problem,) = folder.problems(f"type: pipeline\njobs:\n  a: {{type: command, command: {command}}}")
    assert problem.what == "a command step needs a command."


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("mini_batch_timeout: 5", "Set the attribute retry_settings.timeout of the step."),
        ("max_retry: 5", "Did you mean 'max_retries' under retry_settings?"),
        ("entry_scripts: 5", "Did you mean 'entry_script' under task?"),
        ("allowed_failed_percents: 5", "Did you mean --allowed_failed_percent in task.program_arguments?"),
        ("instance_counts: 5", "Did you mean 'instance_count' under resources?"),
    ],
)
def test_a_name_that_is_nearly_one_in_another_place(
    folder: Folder, parallel_job: Text, extra: str, says: str
) -> None:
    (warning,) = folder.warnings(parallel_job(extra))
    assert says in warning


def test_a_misplaced_name_is_no_hint_for_another(folder: Folder, parallel_job: Text) -> None:
    warnings = folder.warnings(parallel_job("timeout: 5\ntimeouts: 6"))
    assert "Did you mean 'timeout' under retry_settings?" in warnings[1]


@pytest.mark.parametrize(
    ("parts", "grave"),
    [
        ({"extra": "mini_batch_error_treshold: 5"}, True),
        ({"extra": "eror_threshold: 5"}, True),
        ({"extra": "mini_batch_timeout: 5"}, True),
        ({"extra": "max_retry: 5"}, True),
        ({"extra": "retry_settings: {max_retry: 5}"}, True),
        ({"extra": "timeout: 5"}, True),
        ({"extra": "allowed_failed_percent: 5"}, True),
        ({"task": "program_arguments: --eror_threshold 5"}, True),
        ({"task": "program_arguments: --mini_batch_error_threshold 5"}, True),
        ({"task": "program_arguments: --mini_batch_timeout 5"}, True),
        ({"task": "program_arguments: --item_error_threshold 5"}, True),
        ({"task": "program_arguments: --instance_count 5"}, False),
        ({"task": "program_arguments: --resource_monitor_interva 5"}, False),
        ({"extra": "colour: blue"}, False),
        ({"extra": "mini_batch_sizes: 5"}, False),
        ({"extra": "instance_count: 5"}, False),
    ],
)
def test_a_limit_on_failures_that_does_not_hold_is_grave(
    folder: Folder, parallel_job: Text, parts: dict[str, str], grave: bool
) -> None:
    (warning,) = folder.load(parallel_job(**parts)).warnings
    assert warning.grave is grave


def test_a_component_run_by_itself_tells_each_wrong_input_once(folder: Folder) -> None:
    path = folder.write(
        "c.yml",
        """
        type: command
        inputs:
          e: {type: string, default: rde, enum: [red]}
          n: {type: integer, default: 5, max: 4}
        command: echo ${{inputs.e}} ${{inputs.n}}
        """,
    )
    with pytest.raises(SpecError) as caught:
        load_job(path)
    assert [problem.path for problem in caught.value.problems] == ["inputs.e.default", "inputs.n.default"]
    with pytest.raises(SpecError) as caught:
        load_job(path, overrides={"inputs.e": "blue", "inputs.n": "3"})
    assert [problem.file for problem in caught.value.problems] == ["command line"]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("jobs.work.max_retries", "4", "the step 'work' is a command, which has no max_retries."),
        (
            "jobs.work.resources.instance_count",
            "2",
            "the step 'work' is a command, which has no instance_count.",
        ),
        ("jobs.work.timeout", "4", "Write jobs.work.limits.timeout."),
        ("instance_count", "two", "no step of the job is parallel, so none has instance_count."),
        ("max_retries", "4", "no step of the job is parallel, so none has max_retries."),
    ],
)
def test_a_setting_of_parallel_steps_for_commands(
    folder: Folder, command_job: Text, key: str, value: str, says: str
) -> None:
    with pytest.raises(SpecError) as caught:
        folder.load(command_job("ls"), overrides={key: value})
    (problem,) = caught.value.problems
    assert says in str(problem)
    assert problem.file == "command line"


def test_inputs_that_lead_to_themselves(folder: Folder) -> None:
    problems = folder.problems("""
        type: pipeline
        jobs:
          a: {type: command, command: "ls ${{inputs.i}}", inputs: {i: "${{parent.jobs.b.inputs.i}}"}}
          b: {type: command, command: "ls ${{inputs.i}}", inputs: {i: "${{parent.jobs.a.inputs.i}}"}}
        """)
    assert any("leads back to itself" in problem.what for problem in problems)


def test_all_mistakes_at_once_in_file_order(folder: Folder, parallel_job: Text) -> None:
    folder.write("code/three.py", "def run(a, b, c): return []")
    text = parallel_job(
        "mini_batch_size: ten\nerror_threshold: x\nresources: {instance_count: no}",
        inputs="a: {path: ./nowhere}\nb: ${{parent.inputs.zzz}}",
        task="append_row_to: ${{outputs.nope}}\nprogram_arguments: --nice 99",
    ).replace("script.py", "three.py")
    problems = folder.problems(text)
    lines = [problem.line for problem in problems if problem.file == "pipeline.yml"]
    assert len(problems) == 8
    assert lines == sorted(lines)
    assert {problem.file for problem in problems} == {"pipeline.yml", "code/three.py"}


def test_problems_of_a_component_name_its_file(folder: Folder) -> None:
    folder.write(
        "parts/c.yml",
        "type: parallel\ninputs: {i: {type: uri_folder}}\ninput_data: ${{inputs.i}}\n"
        "mini_batch_size: x\ntask: {code: ./none, entry_script: s.py}\n",
    )
    problems = folder.problems("type: pipeline\njobs: {s: {component: ./parts/c.yml, inputs: {i: ./data}}}")
    assert [(problem.file, problem.line) for problem in problems] == [("parts/c.yml", 4), ("parts/c.yml", 5)]


def test_a_component_input_that_is_not_given(folder: Folder) -> None:
    folder.write(
        "c.yml",
        "type: command\ninputs: {who: {type: string}, n: {type: uri_file}}\ncommand: echo ${{inputs.who}}\n",
    )
    problems = folder.problems(
        "type: pipeline\ninputs: {d: 5}\njobs:\n  s:\n    component: ./c.yml\n    inputs: {whom: x, n: '${{parent.inputs.d}}'}"
    )
    assert [problem.what for problem in problems] == [
        "the component's input 'who' is not given and has no default.",
        "the input 'n' is of type uri_file, and ${{parent.inputs.d}} is a literal.",
    ]
    job = load_job(
        folder.write(
            "p.yml", "type: pipeline\njobs: {s: {component: ./c.yml, inputs: {who: x, n: file.csv, whom: y}}}"
        )
    )
    assert "the component has no input 'whom'. Did you mean 'who'?" in str(job.warnings[0])


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (
            {"extra": "mini_batch_sizes: 5"},
            "'mini_batch_sizes' is no setting of a parallel step and has no effect. Did you mean 'mini_batch_size'?",
        ),
        ({"extra": "retry_settings: {max_retry: 5}"}, "Did you mean 'max_retries'?"),
        ({"extra": "resources: {instances: 5}"}, "'instances' is no setting of resources"),
        ({"task": "entry: 5"}, "'entry' is no setting of task"),
        (
            {"extra": "append_row_to: ${{outputs.result}}"},
            "append_row_to belongs under task; here it has no effect.",
        ),
        ({"extra": "instance_count: 2"}, "instance_count belongs under resources; here it has no effect."),
        ({"extra": "timeout: 2"}, "timeout belongs under retry_settings"),
        ({"extra": "allowed_failed_percent: 5"}, "Write --allowed_failed_percent in task.program_arguments."),
        ({"head": "experiment: x"}, "Did you mean 'experiment_name'?"),
        ({"head": "settings: {continue_on_step_failures: true}"}, "Did you mean 'continue_on_step_failure'?"),
        ({"inputs": "a: {path: ./data, typ: uri_folder}"}, "Did you mean 'type'?"),
        ({"outputs": "a: {pth: ./data}"}, "Did you mean 'path'?"),
        ({"extra": "error_threshold: 2.5"}, "2.5 is no whole number; 2 is used"),
        ({"head": "outputs: {x: }"}, "no step writes the pipeline's output 'x'"),
        ({"outputs": "a: {path: ./data}"}, "which 'score' reads as its input 'images'"),
        (
            {"outputs": "a: {path: ./data/below}"},
            "the output a of 'score' lies in the input 'images' of 'score'",
        ),
        ({"task": "program_arguments: --error_treshold 5"}, "write --error_threshold"),
    ],
)
def test_warnings(folder: Folder, parallel_job: Text, parts: dict[str, str], says: str) -> None:
    (warning,) = folder.warnings(parallel_job(**parts))
    assert says in warning


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (".", "holds this spec"),
        ("..", "holds this spec"),
        ("./code", "is the code folder"),
        ("./data", "is the input 'd', which this output would replace"),
        ("./link", "is the input 'd', which this output would replace"),
        ("./deep", "holds the input 'e'"),
        ("./code/out", ""),
        ("./data/out", ""),
        ("./out", ""),
    ],
)
def test_a_command_writes_to_no_place_that_the_job_is_made_of(folder: Folder, path: str, says: str) -> None:
    (folder.path / "deep" / "er").mkdir(parents=True)
    (folder.path / "link").symlink_to("data")
    text = f"""
        type: pipeline
        jobs:
          c:
            type: command
            command: "ls ${{{{inputs.d}}}} ${{{{inputs.e}}}} > ${{{{outputs.o}}}}/x; exit 1"
            code: ./code
            environment: azureml:any:1
            inputs: {{d: {{type: uri_folder, path: ./data}}, e: {{type: uri_folder, path: ./deep/er}}}}
            outputs: {{o: {{path: {path}}}}}
        """
    if not says:
        assert folder.warnings(text) == []
        return
    (problem,) = folder.problems(text)
    assert says in problem.what and problem.hint == "Give it a path of its own."


@pytest.mark.parametrize("path", [".", "..", "./deep"])
def test_a_folder_that_a_parallel_step_fills_may_hold_what_the_job_is_made_of(
    folder: Folder, parallel_job: Text, path: str
) -> None:
    folder.write("deep/er/kept", "")
    assert folder.warnings(parallel_job(outputs=f"o: {{type: uri_folder, path: {path}}}")) == []


def test_an_entry_script_is_not_written_over_and_a_module_is_no_file_of_the_working_directory(
    folder: Folder, parallel_job: Text
) -> None:
    (problem,) = folder.problems(parallel_job(outputs="o: {type: uri_file, path: ./code/script.py}"))
    assert "is the entry script, which this output would replace" in problem.what
    folder.write("code/deep/er.py", (folder.path / "code/script.py").read_text())
    text = parallel_job(outputs="o: {type: uri_file, path: ./deep.er}").replace(
        "entry_script: script.py", "entry_script: deep.er"
    )
    assert folder.warnings(text) == []


def test_a_literal_input_refuses_no_output(folder: Folder, parallel_job: Text) -> None:
    folder.write("old.csv", "of the last run")
    inputs = "n: 5\nempty: ''\nword: old.csv\nfar: {type: uri_file, path: 'https://x.org/old.csv'}"
    assert folder.warnings(parallel_job(inputs=inputs, outputs="o: {type: uri_file, path: ./old.csv}")) == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("./data/a.png", "data/a.png is a file of the input 'images' ("),
        ("./hard", "hard is a file of the input 'images' ("),
        ("./soft", "soft is a file of the input 'images' ("),
        ("./through/a.png", "through/a.png is a file of the input 'images' ("),
        ("./table/MLTable", "table/MLTable is a file of the input 'rows' ("),
        ("./file.csv", "file.csv is the input 'more', "),
        ("./linked.csv", "linked.csv is the input 'more', "),
        ("./data/deep/c", "data/deep/c is a file of the input 'images' ("),
    ],
)
def test_no_output_replaces_a_file_of_an_input(
    folder: Folder, parallel_job: Text, path: str, says: str
) -> None:
    folder.write("data/deep/b")
    folder.write("data/deep/c")
    (folder.path / "soft").symlink_to("data/a.png")
    (folder.path / "through").symlink_to("data")
    os.link(folder.path / "data/deep/b", folder.path / "hard")
    os.link(folder.path / "file.csv", folder.path / "linked.csv")
    more = "rows: {type: mltable, path: ./table}\nmore: {type: uri_file, path: ./file.csv}"
    (problem,) = folder.problems(parallel_job(inputs=more, outputs=f"o: {{type: uri_file, path: {path}}}"))
    assert says in problem.what and problem.what.endswith("which this output would replace.")
    assert problem.hint == "Give it a place outside of the input."


def test_a_run_that_goes_on_may_have_written_a_file_in_an_input(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job(outputs="o: {type: uri_file, path: ./data/new}")
    (warning,) = folder.warnings(text)
    assert "lies in the input 'images'" in warning
    folder.write("data/new")
    folder.problems(text)
    load_job(folder.path / "pipeline.yml", resumed=True)


def test_what_azure_accepts_gives_no_warning(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job(
        """
        compute: azureml:serverless
        identity: {type: managed}
        is_deterministic: false
        tags: {a: b}
        output_data: x
        resources: {instance_count: 2, instance_type: STANDARD_D2, properties: {a: {b: c}}, shm_size: 2g}
        """,
        head="experiment_name: e\nidentity: {type: user_identity}\nsettings: {force_rerun: true, default_compute: cpu}",
        task="environment: azureml:env@latest",
    )
    job = folder.load(text)
    assert job.warnings == ()
    assert len([note for note in job.notes if "not used here" in note]) == 6


@pytest.mark.parametrize(
    ("compute", "named"), [("azureml:gpus", "gpus"), ("local", ""), ("serverless", ""), ("", "")]
)
def test_a_compute_is_a_note_where_it_may_name_a_cluster(
    folder: Folder, parallel_job: Text, compute: str, named: str
) -> None:
    job = folder.load(parallel_job(f"compute: {compute}" if compute else ""))
    said = [note for note in job.notes if "compute" in note]
    assert len(said) == bool(named) and all(f"daskpar.computes.{named}." in note for note in said)


@pytest.mark.parametrize(
    ("rows", "writes"), [("${{parent.outputs.all}}", True), ("./elsewhere.txt", False), ("", False)]
)
def test_an_output_of_the_pipeline_to_which_a_step_appends_rows_is_written(
    folder: Folder, parallel_job: Text, rows: str, writes: bool
) -> None:
    job = folder.load(
        parallel_job(
            head="outputs: {all: {type: uri_file, path: ./all.txt}}",
            task=f"append_row_to: {rows}" if rows else "",
        )
    )
    said = [str(problem) for problem in job.warnings]
    assert any("no step writes the pipeline's output 'all'" in text for text in said) is not writes


def test_a_step_with_mistakes_is_no_missing_step(folder: Folder) -> None:
    (problem,) = folder.problems("""
        type: pipeline
        jobs:
          a: {type: sweep}
          b: {type: command, command: "ls ${{inputs.i}}", inputs: {i: "${{parent.jobs.a.outputs.o}}"}}
        """)
    assert "sweep" in problem.what


def test_problems_of_scripts_in_two_steps_are_told_once(folder: Folder) -> None:
    folder.write("code/bad.py", "x = 1")
    step = "{type: parallel, inputs: {i: {path: ./data}}, input_data: '${{inputs.i}}', task: {code: ./code, entry_script: bad.py}}"
    assert len(folder.problems(f"type: pipeline\njobs:\n  a: {step}\n  b: {step}\n")) == 1


def test_a_missing_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yml").write_text("type: pipeline")
    with pytest.raises(
        SpecError, match=r"can't read pipline.yml: No such file or directory. Did you mean 'pipeline.yml'\?"
    ):
        load_job("pipline.yml")


def test_scripts_are_never_run(folder: Folder, parallel_job: Text) -> None:
    folder.write(
        "code/script.py", f"open({str(folder.path / 'ran')!r}, 'w')\n\ndef run(batch): return batch\n"
    )
    folder.load(parallel_job())
    assert not (folder.path / "ran").exists()


@pytest.mark.parametrize(
    ("kind", "size", "warned"),
    [
        ("type: mltable, path: ./table, mode: direct", "500", True),
        ("type: mltable, path: ./table, mode: direct", "1048576", False),
        ("type: mltable, path: ./table, mode: direct", "500kb", False),
        ("type: mltable, path: ./table", "500", False),
        ("type: uri_folder, path: ./data", "500", False),
        ("type: uri_folder, path: ./data, mode: direct", "500", False),
        ("type: uri_folder, path: s3://box/data, mode: direct", "500", False),
    ],
)
def test_few_bytes_of_a_table_were_probably_meant_to_be_rows(
    folder: Folder, parallel_job: Text, kind: str, size: str, warned: bool
) -> None:
    text = parallel_job(f'mini_batch_size: "{size}"').replace("type: uri_folder, path: ./data", kind)
    found = folder.warnings(text)
    assert sum("500 is a number of bytes, not of rows" in warning for warning in found) == warned


@pytest.mark.parametrize(
    ("rows", "warned"), [("./somewhere.txt", True), ("${{outputs.result}}", False), ("./there.txt", False)]
)
def test_rows_that_go_to_none_of_the_outputs(
    folder: Folder, parallel_job: Text, rows: str, warned: bool
) -> None:
    text = parallel_job(task=f"append_row_to: {rows}", outputs="there: {type: uri_file, path: ./there.txt}")
    assert (
        sum("which is none of the step's outputs" in warning for warning in folder.warnings(text)) == warned
    )
