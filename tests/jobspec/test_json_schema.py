"""The JSON schema of a spec: made from the loader's tables, and of one mind with `validate`.

That it takes what is accepted without a warning is said of each spec of these tests (`Folder` in conftest.py).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator

from daskpar.errors import SpecError
from daskpar.jobspec import known_fields
from daskpar.jobspec.json_schema import schema_of, spec_schema
from daskpar.jobspec.load import load_job
from daskpar.jobspec.program_arguments import WITH_EFFECT
from daskpar.jobspec.step_settings import SETTINGS
from spec_schema import TextDates, schema_mistakes

from .test_mutations import GOOD, mutated

ROOT = Path(__file__).parents[2]
SCHEMA = spec_schema()


def test_it_is_a_schema_of_the_draft_that_it_names() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def test_it_has_every_field_setting_and_program_argument() -> None:
    parts = SCHEMA["$defs"]
    for name, known in (
        ("pipeline", known_fields.PIPELINE),
        ("parallel-fields", known_fields.PARALLEL),
        ("command-fields", known_fields.COMMAND),
        ("task", known_fields.TASK),
    ):
        assert set(parts[name]["properties"]) == known
    flags = parts["task"]["properties"]["program_arguments"]["x-program-arguments"]
    assert flags.keys() >= WITH_EFFECT
    assert flags["init_timeout"]["ours"] and not flags["error_threshold"]["ours"]
    assert flags["append_row_format"]["enum"] == ["text", "csv", "parquet", "jsonl"]
    for setting in SETTINGS:
        schema_of(setting.read)  # a reader without a line in the table would be a KeyError


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("notebooks/*/pipeline.yml")), ids=lambda path: path.parent.name
)
def test_the_examples_fit(path: Path) -> None:
    assert schema_mistakes(yaml.load(path.read_text(), TextDates)) == []


def test_the_first_job_of_the_readme_fits() -> None:
    shown = (ROOT / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    assert schema_mistakes(yaml.load(shown, TextDates)) == []


def changed(*keys: str, to: Any) -> Any:
    tree = copy.deepcopy(GOOD)
    holder = tree
    for key in keys[:-1]:
        holder = holder[key]
    holder[keys[-1]] = to
    return tree


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (changed("jobs", "p", "error_treshold", to=3), "error_treshold"),
        (changed("jobs", "p", "error_threshold", to="many"), "many"),
        (changed("jobs", "p", "error_threshold", to=-2), "-2"),
        (changed("jobs", "p", "retry_settings", to={"timeout": 0}), "timeout"),
        (changed("jobs", "p", "retry_settings", to={"max_retry": 1}), "max_retry"),
        (changed("jobs", "p", "partition_keys", to="Store"), "Store"),
        (changed("jobs", "p", "logging_level", to="VERBOSE"), "VERBOSE"),
        (changed("jobs", "p", "mini_batch_size", to="10 rows"), "10 rows"),
        (changed("jobs", "c", "limits", to={"timeout": "soon"}), "soon"),
        (changed("jobs", "c", "type", to="sweep"), "sweep"),
        (changed("jobs", "9c", to={"type": "command", "command": "ls"}), "9c"),
        (changed("inputs", "d", to={"type": "folder", "path": "./data"}), "folder"),
        (changed("jobs", to={}), "jobs"),
        ({"type": "pipeline"}, "jobs"),
        (changed("jobs", "n", to={"type": "pipeline", "jobs": {"a": {"command": "ls", "comand": 1}}}), "comand"),
        (changed("jobs", "n", to={"type": "pipeline", "component": {"jobs": {"9": {}}}}), "9"),
        ({"endpoint_name": "e", "code_configuration": {"code": "."}}, "scoring_script"),
        ({"code_configuration": {"scoring_script": "s.py"}, "settings": {"mini_batch_sise": 3}}, "sise"),
        ({"endpoint_name": "e", "component": "p.yml", "jobz": 1}, "jobz"),
    ],
)  # fmt: skip
def test_mistakes_are_refused(tree: Any, says: str) -> None:
    assert any(says in mistake for mistake in schema_mistakes(tree))


def test_a_component_alone_fits_too() -> None:
    component = GOOD["jobs"]["p"]["component"]
    assert schema_mistakes(component) == []
    assert schema_mistakes({**component, "tasks": 1})
    assert schema_mistakes({"command": "ls", "type": " Command "}) == []


@given(mutated())
@settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_it_refuses_validate_refuses_or_warns_of(folder: Any, tree: Any) -> None:
    wrong = schema_mistakes(tree)
    if not wrong:
        return
    path = folder.path / "mutated.yml"
    path.write_text(yaml.safe_dump(tree))
    try:
        warnings = load_job(path).warnings
    except SpecError:
        return
    assert warnings, f"validate accepts this: {wrong}"
