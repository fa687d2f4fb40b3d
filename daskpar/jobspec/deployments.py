"""Turns a batch deployment into a pipeline: a step with the scoring script, or the pipeline it deploys."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from daskpar.errors import LocationError
from daskpar.jobspec import scalars
from daskpar.jobspec.components import read_component
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.program_arguments import join_arguments
from daskpar.jobspec.row_formats import TEXT
from daskpar.jobspec.yaml_source import Value
from daskpar.locations import is_url, resolve

DATA, MODEL, SCORES = "data", "azureml_model", "score"
"""Names of the step's inputs and output; the output is called so by Azure."""
IN_SETTINGS = frozenset(
    {
        "max_concurrency_per_instance",
        "mini_batch_size",
        "retry_settings",
        "output_action",
        "output_file_name",
        "error_threshold",
        "logging_level",
        "environment_variables",
        "instance_count",
        "partition_keys",
    }
)
_ABOUT = frozenset(
    {
        "$schema",
        "name",
        "version",
        "type",
        "description",
        "display_name",
        "tags",
        "properties",
        "endpoint_name",
    }
)
OF_MODELS = (
    _ABOUT | IN_SETTINGS | {"model", "code_configuration", "environment", "compute", "resources"}
) | {"settings"}
OF_PIPELINES = _ABOUT | {"component", "job_definition", "settings", "compute"}
_ONLINE = ("instance_type", "request_settings", "liveness_probe", "scale_settings", "app_insights_enabled")
MARKS = ("endpoint_name", "code_configuration", "job_definition")
"""Keys by which a deployment is known."""
ACTIONS = ("append_row", "summary_only")
DEFAULTS = {"mini_batch_size": 10, "error_threshold": -1, "max_concurrency_per_instance": 1}
"""Azure's own, of a deployment."""


def is_deployment(document: Value) -> bool:
    """Whether a file is a deployment or an endpoint rather than a job or a component."""
    schema = document.get("$schema")
    word = str(schema.data).lower() if schema else ""
    return "deployment" in word or "endpoint" in word or _looks_like_one(document)


def _looks_like_one(document: Value) -> bool:
    return document.get("jobs") is None and any(document.get(key) is not None for key in MARKS)


def deployment_as_pipeline(
    document: Value, path: Path, problems: Problems, registered: Mapping[str, str]
) -> Value | None:
    """A deployment as a pipeline's tree; None after recording why it can't be run."""
    schema = document.get("$schema")
    kind = document.get("type")
    word = str(kind.data).strip().lower() if kind else ""
    if (schema and "endpoint" in str(schema.data).lower()) or not _looks_like_one(document):
        problems.error(
            document.place,
            "an endpoint is a name for its deployments; what runs is a deployment.",
            "Give the file of the deployment, and --input DATA.",
        )
        return None
    if word in ("managed", "kubernetes") or any(document.get(key) for key in _ONLINE):
        problems.error(
            kind.place if kind else document.place,
            "an online deployment answers requests one by one, which is not run here.",
            "Batch deployments are.",
        )
        return None
    if word in ("pipeline", "component") or document.get("component") or document.get("job_definition"):
        return _pipeline(document, problems, registered)
    if word not in ("", "model"):
        problems.error(
            document.place, f"a deployment of type {word!r} is not run here; model and pipeline are."
        )
        return None
    return _Scoring(document, path, problems).tree()


def _pipeline(document: Value, problems: Problems, registered: Mapping[str, str]) -> Value | None:
    """The pipeline component that a deployment runs, with the deployment's settings."""
    scalars.unknown_keys(document, OF_PIPELINES, problems, "a deployment of a pipeline")
    job = document.get("job_definition")
    reference = document.get("component")
    if reference is None and job is not None:
        reference = job.get("component") if job.is_mapping else job
    if reference is None:
        problems.error(
            document.place, "the deployment names no pipeline.", "Write component: ./pipeline.yml."
        )
        return None
    if isinstance(reference.data, str) and job is reference and reference.data.startswith("azureml:"):
        problems.error(
            reference.place,
            f"{reference.data!r} is a job of an Azure ML workspace, which can't be read here.",
            "Write component: ./pipeline.yml, the pipeline that the job ran.",
        )
        return None
    component = read_component(reference, problems, registered)
    if component is None:
        return None
    parts = [part for part in (job, document) if part is not None and part.is_mapping]
    changes = {
        key: found for part in parts for key in ("settings", "compute", "name") if (found := part.get(key))
    }
    if job is not None and job.is_mapping and (given := job.get("inputs")):
        declared = component.get("inputs") or Value({}, given.place)
        changes["inputs"] = declared.with_keys(dict(given.items()))
    return component.with_keys(changes)


class _Scoring:
    """A deployment of a model with a scoring script."""

    def __init__(self, document: Value, path: Path, problems: Problems) -> None:
        self.document = document
        self.place = document.place
        self.problems = problems
        named = document.get("name")
        name = re.sub(r"\W", "_", str(named.data) if named else path.stem, flags=re.ASCII)
        self.name = f"_{name}" if name[:1].isdigit() else name

    def tree(self) -> Value | None:
        """The pipeline of one step `NAME`, with the input `data` and the output `score`."""
        code = self.document.get("code_configuration")
        scalars.unknown_keys(self.document, OF_MODELS, self.problems, "a batch deployment")
        if not self._is_well_formed():
            return None
        if settings := self.document.get("settings"):
            scalars.unknown_keys(settings, IN_SETTINGS, self.problems, "settings of a batch deployment")
        if code is None:
            self.problems.error(
                self.place,
                "a deployment without code_configuration runs a script that Azure makes for MLflow models.",
                "Write code_configuration: {code: ./code, scoring_script: score.py}, whose init() loads the "
                "model from AZUREML_MODEL_DIR.",
            )
            return None
        action = self._setting("output_action")
        if action is not None and str(action.data).lower() not in ACTIONS:
            self.problems.error(
                action.place, f"has to be append_row or summary_only, not {scalars.quoted(action.data)}."
            )
        rows = action is None or str(action.data).lower() == "append_row"
        node = self._node(code, rows=rows)
        tree: dict[str, object] = {
            key: value
            for key in ("description", "display_name", "compute")
            if (value := self.document.get(key))
        }
        tree |= {
            "type": "pipeline",
            "name": self.name,
            "inputs": {DATA: {"type": "uri_folder"}},
            "outputs": {SCORES: {"type": "uri_folder"}},
            "jobs": {self.name: node},
        }
        return self._value(tree)

    def _is_well_formed(self) -> bool:
        """Whether the mappings of the document are some; records what is none."""
        document = self.document
        wrong = [
            value
            for key in ("code_configuration", "resources", "settings")
            if (value := document.get(key)) is not None and not value.is_mapping
        ]
        wrong += [
            value
            for key in ("retry_settings", "environment_variables")
            if (value := self._setting(key)) is not None and not value.is_mapping
        ]
        for value in wrong:
            self.problems.error(value.place, f"has to be a mapping, not {scalars.quoted(value.data)}.")
        code = document.get("code_configuration")
        if code is not None and code.is_mapping and code.get("scoring_script") is None:
            self.problems.error(code.place, "code_configuration needs a scoring_script.")
            return False
        return not wrong

    def _node(self, code: Value, *, rows: bool) -> dict[str, object]:
        inputs: dict[str, object] = {DATA: f"${{{{parent.inputs.{DATA}}}}}"}
        if model := self._model():
            inputs[MODEL] = {"type": "custom_model", "path": model}
        variables: dict[str, object] = dict(
            (self._setting("environment_variables") or self._value({})).items()
        )
        variables.setdefault("AZUREML_BI_OUTPUT_PATH", f"${{{{outputs.{SCORES}}}}}")
        task: dict[str, object] = {"type": "run_function", "code": code.get("code") or "."}
        if script := code.get("scoring_script"):
            task["entry_script"] = script
        if (environment := self.document.get("environment")) is not None:
            task["environment"] = environment
        if rows:
            name = self._setting("output_file_name")
            file = str(name.data) if name else "predictions.csv"
            task["program_arguments"] = self._at(join_arguments(["--append_row_file_name", file]), name)
            task["append_row_to"] = f"${{{{outputs.{SCORES}}}}}"
        node: dict[str, object] = {
            "type": "parallel",
            "inputs": inputs,
            "outputs": {SCORES: f"${{{{parent.outputs.{SCORES}}}}}"},
            "input_data": f"${{{{inputs.{DATA}}}}}",
            "environment_variables": variables,
            "retry_settings": self._retries(),
            "task": task,
        }
        for key, default in DEFAULTS.items():
            node[key] = self._setting(key) or default
        if keys := self._setting("partition_keys"):
            node["partition_keys"] = keys
        if level := self._setting("logging_level"):
            word = level.data.upper() if isinstance(level.data, str) else level.data
            node["logging_level"] = Value(word, level.place)
        count = self.document.get("resources", "instance_count") or self._setting("instance_count")
        if count:
            node["resources"] = {"instance_count": count}
        return node

    def _retries(self) -> dict[str, object]:
        given = self._setting("retry_settings")
        own = dict(given.items()) if given else {}
        return {"max_retries": 3, "timeout": 30, **own}

    def _model(self) -> Value | None:
        """What names the place of the model, or None where there is none."""
        model = self.document.get("model")
        if model is None or not model.is_mapping:
            return model
        path = model.get("path")
        if path is None:
            named, version = model.get("name"), model.get("version")
            if named is None:
                self.problems.error(model.place, "the model has no path.")
                return None
            text = f"azureml:{named.data}" + (f":{version.data}" if version else "@latest")
            return Value(text, model.place)
        return path

    def _setting(self, key: str) -> Value | None:
        return self.document.get("settings", key) or self.document.get(key)

    def _at(self, text: str, named: Value | None) -> Value:
        return Value(text, named.place if named else self.place)

    def _value(self, data: object) -> Value:
        """Plain data as a tree; what has a place keeps it."""
        if isinstance(data, Value):
            return data
        if isinstance(data, dict):
            return Value({key: self._value(value) for key, value in data.items()}, self.place)
        return Value(data, self.place)


def rows_as_text(tree: Value) -> dict[str, dict[str, Value]]:
    """The setting by which a deployment's rows are text, whatever its file is called: `predictions.csv` holds
    data frames with blanks between the values and without a header.
    """
    jobs = tree.get("jobs") or tree
    return {
        name: {"append_row_format": Value(TEXT, node.place)}
        for name, node in jobs.items()
        if node.get("task", "append_row_to")
    }


def with_kind_of_data(tree: Value) -> Value:
    """The tree with the type that the input `data` of a deployment has by what lies there."""
    data = tree.get("inputs", DATA)
    path = data.get("path") if data else None
    if data is None or path is None or not isinstance(path.data, str):
        return tree
    try:
        place = resolve(path.data.strip(), path.place.folder, {})
    except LocationError:
        return tree
    if is_url(place):
        return tree
    changes = {}
    if os.path.isfile(place):
        changes = {"type": "uri_file"}
    elif os.path.isfile(os.path.join(place, "MLTable")):
        changes = {"type": "mltable", "mode": "eval_mount"}
    typed = data.with_keys({key: Value(word, data.place) for key, word in changes.items()})
    return tree.with_keys({"inputs": (tree.get("inputs") or tree).with_keys({DATA: typed})})
