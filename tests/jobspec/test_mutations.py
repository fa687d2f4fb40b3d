"""Whatever is wrong with a spec, it ends in the errors that are meant for users, never in one of ours."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskpar.errors import SpecError
from daskpar.jobspec.load import load_job

GOOD = yaml.safe_load("""
type: pipeline
inputs: {a: 5, d: {type: uri_folder, path: ./data}, o: {type: string, optional: true, enum: [a]}}
outputs: {z: {type: uri_file, path: ./zz.csv}}
settings: {continue_on_step_failure: true, default_datastore: x}
jobs:
  c:
    type: command
    inputs: {x: "${{parent.inputs.a}}", y: "${{parent.inputs.d}}"}
    outputs: {q: , r: {path: "azureml://datastores/x/paths/${{name}}"}}
    command: ls ${{inputs.x}} $[[${{inputs.y}}]]
    environment_variables: {A: b}
    limits: {timeout: 5}
  p:
    component:
      type: parallel
      inputs: {i: {type: mltable}, n: {type: integer, default: 5, min: 1}}
      outputs: {r: {type: uri_file}}
      input_data: ${{inputs.i}}
      retry_settings: {timeout: 5}
      task:
        code: ./code
        entry_script: script.py
        program_arguments: --a ${{inputs.n}} --nice 3 --error_treshold
        append_row_to: ${{outputs.r}}
    inputs: {i: {path: "${{parent.jobs.c.outputs.q}}"}, n: "${{parent.inputs.a}}"}
    outputs: {r: "${{parent.outputs.z}}"}
    partition_keys: [a, b]
    error_threshold: 3
""")
VALUES = [
    *(None, True, 5, -1, 0.5, float("nan"), 10**400, "x", "", "a\nb", "'", [], {}, [1], {"a": 1}, [[]]),
    *(
        "${{inputs.x}}",
        "${{parent.inputs.a}}",
        "${{parent.jobs.c.outputs.q}}",
        "${{parent.jobs.p.inputs.i}}",
        "${{parent.outputs.z}}",
    ),
    *(
        "${{name}}",
        "${{",
        "$[[",
        "./code",
        "azureml:a:1",
        "azureml://datastores/q/paths/x",
        "s3://b/x",
        "x" * 5000,
    ),
    *(
        {"path": None},
        {"type": [1]},
        {"type": "mltable", "path": "./code"},
        {"default": {"x": 1}},
        {"value": 5, "type": "integer"},
    ),
]
KEYS = [
    "path",
    "type",
    "value",
    "inputs",
    "outputs",
    "a",
    "x.y",
    "component",
    "task",
    "command",
    "jobs",
    "instance_count",
]


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, value in (
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    ):
        yield from places(value, (*path, key))


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The good job with one to three things taken out, renamed or replaced."""
    tree = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(list(places(tree))))
        holder = tree
        for key in above:
            holder = holder[key]
        what = draw(st.sampled_from(["drop", "rename", "replace", "replace"]))
        if what == "drop":
            del holder[last]
        elif what == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(KEYS))] = holder.pop(last)
        else:
            holder[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return tree


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the spec goes, in a folder (the working directory) that has what it names."""
    folder = tmp_path_factory.mktemp("mutations")
    (folder / "data").mkdir()
    (folder / "code").mkdir()
    (folder / "code/script.py").write_text("def run(batch): return batch\n")
    before = Path.cwd()
    os.chdir(folder)
    yield folder / "pipeline.yml"
    os.chdir(before)


def test_the_job_is_good(spec: Path) -> None:
    spec.write_text(yaml.safe_dump(GOOD))
    assert [step.name for step in load_job(spec).steps] == ["c", "p"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutated())
def test_a_mutation_is_a_job_or_has_mistakes(spec: Path, tree: Any) -> None:
    """Every mistake has a text; the effective spec of a job that loads is plain YAML."""
    spec.write_text(yaml.safe_dump(tree))
    try:
        job = load_job(spec, run_directory=spec.parent / "RUN", datastores={"q": "/q"})
    except SpecError as error:
        assert error.problems and str(error)
        return
    assert yaml.safe_load(yaml.safe_dump(dict(job.effective)))["type"] == "pipeline"
