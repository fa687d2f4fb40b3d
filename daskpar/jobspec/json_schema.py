"""The JSON schema of a spec (draft 2020-12), made from the tables that the loader itself goes by.

It refuses less than `validate`, which looks at files, bindings and the whole job; what it refuses, `validate`
refuses too, or warns of. (But for a wrong value in a component that a node overrules: nobody reads that.)
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from daskpar.jobspec import deployments, gpu_share, known_fields, scalars
from daskpar.jobspec.declared_job import STEP_NAME, STEP_NAME_CHARACTERS
from daskpar.jobspec.model import BySize
from daskpar.jobspec.ports import PORT_NAME
from daskpar.jobspec.program_arguments import OURS_WITH_HYPHENS, WITH_EFFECT, WITHOUT_EFFECT
from daskpar.jobspec.step_settings import SETTINGS, Reader, Setting

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NUMBER_TEXT: Schema = {"type": "string", "pattern": r"^\s*[+-]?[\d._]+([eE][+-]?\d+)?\s*$"}
"""Digits in quotes are a number."""
BINDING: Schema = {"type": "string", "pattern": r"\$\{\{"}
"""`${{...}}`, which may stand for a value."""
NOTHING: Schema = {"type": "null"}
"""An empty value is as good as none."""
TEXT: Schema = {"type": ["string", "null"]}
SINGLE: Schema = {"type": ["string", "number", "boolean", "null"]}
MAPPING: Schema = {"type": ["object", "null"]}


def _number(**limits: object) -> Schema:
    return {"anyOf": [{"type": "number", **limits}, NUMBER_TEXT]}


def _in_any_case(word: str) -> str:
    """A pattern for a word in capitals or not; JSON schemas have no flag for that."""
    return "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else re.escape(c) for c in word)


SWITCH: Schema = {
    "anyOf": [
        {"type": "boolean"},
        {"enum": [0, 1]},
        {
            "type": "string",
            "pattern": rf"^\s*({'|'.join(map(_in_any_case, ('true', 'false', 'yes', 'no', '1', '0')))})\s*$",
        },
    ]
}
SIZE: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {
            "type": "string",
            "pattern": rf"^\s*[0-9]{{1,18}} ?({'|'.join(map(_in_any_case, ('kb', 'mb', 'gb')))})?\s*$",
        },
    ]
}
READERS: Mapping[Reader, Schema] = {
    scalars.text: {"type": "string"},
    scalars.threshold: _number(minimum=-1),
    scalars.threshold_argument: _number(minimum=-1),
    scalars.retries: _number(minimum=0),
    scalars.tries: _number(minimum=1),
    scalars.nodes: {"allOf": [_number(minimum=-1), {"not": {"const": 0}}]},
    scalars.processors: _number(minimum=1),
    scalars.at_least_one: _number(minimum=1),
    scalars.in_flight: _number(minimum=1, maximum=scalars.MOST_IN_FLIGHT),
    scalars.call_rate: {"type": "string"},
    gpu_share.gpu_share: {
        "anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "number", "minimum": gpu_share.LEAST, "exclusiveMaximum": 1},
            NUMBER_TEXT,
        ]
    },
    scalars.mini_batches: _number(),
    scalars.percent: _number(minimum=0, maximum=100),
    scalars.seconds: _number(exclusiveMinimum=0, maximum=scalars.LONGEST_SECONDS),
    scalars.time_limit: _number(exclusiveMinimum=0),
    scalars.interval: _number(minimum=0),
    scalars.niceness: _number(minimum=0, maximum=20),
    scalars.switch: SWITCH,
    scalars.isolation: {
        "anyOf": [
            *SWITCH["anyOf"],
            {"type": "string", "pattern": rf"^\s*({_in_any_case('groups')})?\s*$"},
        ]
    },
    scalars.size: SIZE,
    scalars.memory: SIZE,
    scalars.keys: {
        "type": "array",
        "items": {"type": ["string", "null"], "minLength": 1},
        "uniqueItems": True,
    },
    scalars.keys_in_text: {"type": "string"},
    scalars.columns_in_text: {"type": "string"},
}
"""Reader of a value -> what it takes. One of the words that `scalars.choice` allows needs no line."""


def schema_of(reader: Reader) -> Schema:
    """What a reader takes; KeyError for one that is in no table."""
    words = getattr(reader, "allowed", None)
    return {"enum": list(words)} if words is not None else READERS[reader]


def spec_schema() -> Schema:
    """The schema of a pipeline job, of a component, or of a batch deployment."""
    kinds = {
        "parallel": _ref("parallel-component"),
        "command": _ref("command"),
        "pipeline": _ref("pipeline"),
    }
    return {
        "$schema": DRAFT,
        "title": "A job of daskpar: a pipeline as of Azure ML, a component of one, or a batch deployment",
        "type": "object",
        "if": _is_deployment(),
        "then": {
            "if": _deploys_pipeline(),
            "then": _ref("pipeline-deployment"),
            "else": _ref("model-deployment"),
        },
        "else": {
            "allOf": [{"if": _has_type(kind), "then": then} for kind, then in kinds.items()],
            "properties": {"type": _type_of(*kinds)},
            "anyOf": _one_of("type", "jobs", "task", "command"),
        },
        "$defs": {
            "pipeline": _pipeline(known_fields.PIPELINE),
            "nested": _pipeline(known_fields.NESTED),
            "step": _step(),
            "parallel": {**_ref("parallel-fields"), "anyOf": _one_of("task", "component")},
            "parallel-fields": _parallel(),
            "parallel-component": _parallel(in_component=True),
            "command": {**_ref("command-fields"), "anyOf": _one_of("command", "component")},
            "command-fields": _command(),
            "task": _task(),
            "input": _port(known_fields.INPUT, _input_fields(), "input", SINGLE),
            "output": _port(known_fields.OUTPUT, _output_fields(), "output", {"anyOf": [BINDING, NOTHING]}),
            "inputs": _ports("input"),
            "outputs": _ports("output"),
            "model-deployment": _model_deployment(),
            "pipeline-deployment": _pipeline_deployment(),
        },
    }


def _pipeline(known: Collection[str]) -> Schema:
    """A pipeline, or one that is a step; its steps are its own, or those of the component that it names."""
    settings = {
        "continue_on_step_failure": _value(SWITCH, "whether other steps go on when one has failed"),
        "default_compute": {"description": "the compute of steps that name none"},
    }
    steps = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{STEP_NAME.pattern}$", "maxLength": STEP_NAME_CHARACTERS},
        "additionalProperties": _ref("step"),
    }
    fields = {
        **_meta("pipeline"),
        "inputs": _ref("inputs"),
        "outputs": _ref("outputs"),
        "settings": _or_nothing(_mapping(known_fields.PIPELINE_SETTINGS, settings)),
        "component": _component("nested"),
        "jobs": steps,
    }
    if "is_deterministic" in known:
        fields["is_deterministic"] = _or_nothing(SWITCH)
    without = {"if": {"not": {"required": ["component"]}}, "then": {"required": ["jobs"]}}
    return {**_mapping(known, fields), **without}


def _is_deployment() -> Schema:
    named = {"properties": {"$schema": {"type": "string", "pattern": _in_any_case("deployment")}}}
    no_jobs: Schema = {"not": {"required": ["jobs"]}, "anyOf": _one_of(*deployments.MARKS)}
    return {"anyOf": [{**named, "required": ["$schema"]}, no_jobs]}


def _deploys_pipeline() -> Schema:
    kinds = [_has_type("pipeline"), _has_type("component")]
    return {"anyOf": [*kinds, *_one_of("component", "job_definition")]}


def _about_deployment(*kinds: str) -> Schema:
    texts = ("name", "display_name", "description", "version", "endpoint_name")
    return {
        "type": _type_of(*kinds),
        **dict.fromkeys(texts, SINGLE),
        "tags": MAPPING,
        "properties": MAPPING,
        "compute": {**TEXT, "description": "as of a step"},
    }


def _model_deployment() -> Schema:
    """A batch deployment of a model with a scoring script."""
    given = {name: value for name, value in _of_settings(SETTINGS).items() if name in deployments.IN_SETTINGS}
    # Its defaults are others than those of a step.
    fields = {name: {key: value[key] for key in value if key != "default"} for name, value in given.items()}
    for name, value in deployments.DEFAULTS.items():
        fields[name] = {**fields[name], "default": value}
    nodes = next(setting.read for setting in SETTINGS if setting.attribute == ("resources", "instance_count"))
    fields |= {
        "output_action": _or_nothing(_type_of(*deployments.ACTIONS)),
        "output_file_name": {
            **SINGLE,
            "description": "of the rows, which are text",
            "default": "predictions.csv",
        },
        "environment_variables": _or_nothing({"type": "object", "additionalProperties": TEXT}),
        "instance_count": _value(schema_of(nodes)),
        "logging_level": _or_nothing(_type_of("DEBUG", "INFO", "WARNING")),
    }
    code = {"code": {**TEXT, "description": "the folder on sys.path"}, "scoring_script": {"type": "string"}}
    return _mapping(
        deployments.OF_MODELS,
        {
            **_about_deployment("model"),
            **fields,
            "settings": _or_nothing(_mapping(deployments.IN_SETTINGS, fields)),
            "resources": _or_nothing(
                _mapping(known_fields.RESOURCES, {"instance_count": fields["instance_count"]})
            ),
            "model": {"type": ["string", "object", "null"], "description": "found in AZUREML_MODEL_DIR"},
            "code_configuration": {
                "type": "object",
                "properties": code,
                "required": ["scoring_script"],
            },
        },
        required=["code_configuration"],
    )


def _pipeline_deployment() -> Schema:
    """A batch deployment of a pipeline component."""
    fields = {
        **_about_deployment("pipeline", "component"),
        "component": _component("nested"),
        "job_definition": {"type": ["string", "object", "null"]},
        "settings": MAPPING,
    }
    return {**_mapping(deployments.OF_PIPELINES, fields), "anyOf": _one_of("component", "job_definition")}


def _component(definition: str) -> Schema:
    return {
        "description": "a component: a file, or the mapping itself",
        "anyOf": [NOTHING, {"type": "string"}, _ref(definition)],
    }


def _step() -> Schema:
    """One of `jobs`: what kind it is its type says, else what it has."""
    no_type: Schema = {"not": {"required": ["type"]}}
    kinds = []
    for kind, mark in (("parallel", "task"), ("command", "command"), ("pipeline", "jobs")):
        alone = {"required": [mark], "not": {"required": ["component"]}}
        inside = {
            "required": ["component"],
            "properties": {"component": {"type": "object", **_has_type(kind)}},
        }
        guessed = {"allOf": [no_type, {"anyOf": [alone, inside]}]}
        then = _ref("nested" if kind == "pipeline" else kind)
        kinds.append({"if": {"anyOf": [_has_type(kind), guessed]}, "then": then})
    return {
        "type": "object",
        "properties": {"type": _type_of(*known_fields.NODE_TYPES)},
        "anyOf": _one_of("type", "component", "task", "command", "jobs"),
        "allOf": kinds,
    }


def _parallel(*, in_component: bool = False) -> Schema:
    fields = {
        **_meta("parallel"),
        **_step_fields("parallel"),
        **_of_settings(SETTINGS),
        "task": _or_nothing(_ref("task")),
        "input_data": {
            "description": "the input that is split into mini-batches: ${{inputs.NAME}}",
            "anyOf": [NOTHING, {"type": "string"}, {"type": "array", "items": TEXT}],
        },
    }
    if not in_component:
        return _mapping(known_fields.PARALLEL, fields)
    rows = {**TEXT, "description": "as in the task, where it belongs"}
    return _mapping({*known_fields.PARALLEL, "append_row_to"}, {**fields, "append_row_to": rows})


def _command() -> Schema:
    timeout = _value(READERS[scalars.time_limit], "seconds that the command may take")
    fields = {
        **_meta("command"),
        **_step_fields("command"),
        "resources": _or_nothing(_mapping(known_fields.RESOURCES, {})),
        "command": {**TEXT, "description": "what is run, in a copy of the code folder"},
        "code": {**TEXT, "description": "the folder that the command runs in a copy of"},
        "limits": _or_nothing(_mapping(known_fields.LIMITS, {"timeout": timeout})),
    }
    return _mapping(known_fields.COMMAND, fields)


def _step_fields(kind: str) -> Schema:
    """What steps of both kinds have; those of a component are spread over it and the step that names it."""
    return {
        "component": _component("parallel-component" if kind == "parallel" else f"{kind}-fields"),
        "inputs": _ref("inputs"),
        "outputs": _ref("outputs"),
        "compute": {**TEXT, "description": "local, or a name below daskpar.computes in Dask's configuration"},
        "environment_variables": _or_nothing({"type": "object", "additionalProperties": TEXT}),
    }


def _task() -> Schema:
    fields = {
        "type": {"enum": ["run_function", "function", None]},
        "code": {**TEXT, "description": "the folder on sys.path"},
        "entry_script": {**TEXT, "description": "the file or module with init(), run() and shutdown()"},
        "program_arguments": {
            **TEXT,
            "description": "sys.argv of the script. The driver reads of it: "
            + ", ".join(f"--{flag}" for flag in sorted(WITH_EFFECT)),
            "x-program-arguments": program_arguments(),
        },
        "args": {**TEXT, "deprecated": True, "description": "older name of program_arguments"},
        "append_row_to": {**TEXT, "description": "one file of all that run() returned: ${{outputs.NAME}}"},
    }
    return _mapping(known_fields.TASK, fields)


def program_arguments() -> Schema:
    """Flag of the driver -> what its value may be; no key of JSON schemas, but for who wants to check it."""
    ours = set(OURS_WITH_HYPHENS.values())
    found: Schema = {flag: {"ours": flag in ours} for flag in sorted(WITH_EFFECT)}
    for setting in SETTINGS:
        for flag, reader in setting.flags.items():
            found[flag] |= {**schema_of(reader), **_default(setting)}
    return found | {flag: {"ours": False, "effect": False} for flag in sorted(WITHOUT_EFFECT)}


def _of_settings(settings: Iterable[Setting]) -> Schema:
    """The attributes of a parallel step that are settings, some of them below `retry_settings`,
    `resources` or `limits`.
    """
    fields: Schema = {}
    below: dict[str, Schema] = {}
    for setting in settings:
        if not setting.attribute:
            continue
        each = {**_value(schema_of(setting.read)), **_default(setting)}
        if len(setting.attribute) == 1:
            fields[setting.attribute[0]] = each
        else:
            below.setdefault(setting.attribute[0], {})[setting.attribute[1]] = each
    known = {
        "retry_settings": known_fields.RETRY_SETTINGS,
        "resources": known_fields.RESOURCES,
        "limits": known_fields.LIMITS,
    }
    return fields | {name: _or_nothing(_mapping(known[name], inner)) for name, inner in below.items()}


def _default(setting: Setting) -> Schema:
    value = setting.default
    if value is None or isinstance(value, BySize):
        return {}
    return {"default": list(value) if isinstance(value, tuple) else value}


def _meta(kind: str) -> Schema:
    texts = ("name", "display_name", "description", "experiment_name", "version", "comment")
    return {
        "type": _type_of(kind),
        **dict.fromkeys(texts, SINGLE),
        "tags": MAPPING,
        "properties": MAPPING,
        **({} if kind == "pipeline" else {"is_deterministic": _or_nothing(SWITCH)}),
    }


def _input_fields() -> Schema:
    return {
        "type": _words(known_fields.INPUT_TYPES),
        "mode": _words(known_fields.INPUT_MODES),
        "path": {**TEXT, "description": "relative to this file; a URL, azureml: or a binding"},
        "optional": _or_nothing(SWITCH),
        "enum": {"type": ["array", "null"]},
        "min": _or_nothing(_number()),
        "max": _or_nothing(_number()),
    }


def _output_fields() -> Schema:
    return {
        "type": _words(known_fields.INPUT_TYPES),
        "mode": _words(known_fields.OUTPUT_MODES),
        "path": {**TEXT, "description": "relative to this file; in the run directory where there is none"},
    }


def _ports(kind: str) -> Schema:
    """Inputs or outputs by name."""
    named = {
        "type": "object",
        "propertyNames": {"pattern": f"^{PORT_NAME.pattern}$"},
        "additionalProperties": _ref(kind),
    }
    return _or_nothing(named)


def _port(known: Collection[str], fields: Schema, kind: str, bare: Schema) -> Schema:
    """An input or output: `bare`, a mapping of its settings, or a group of some, of which none has the name
    of a setting.
    """
    group = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"not": {"enum": sorted(known_fields.INPUT)}},
        "additionalProperties": _ref(kind),
    }
    return {"anyOf": [bare, _mapping(known, fields), group]}


def _mapping(known: Collection[str], fields: Schema, required: list[str] | None = None) -> Schema:
    """A mapping with the `known` keys, of which `fields` says what each may be; all others are warned of."""
    assert fields.keys() <= set(known), f"not known: {sorted(fields.keys() - set(known))}"
    schema: Schema = {
        "type": "object",
        "properties": {name: fields.get(name, {}) for name in sorted(known)},
        "additionalProperties": False,
    }
    return schema | ({"required": required} if required else {})


def _words(words: Collection[str]) -> Schema:
    """One of some types or modes, in any spelling that is read: `uri_folder`, `UriFolder`, `URI-FOLDER`."""
    patterns = ("[-_]?".join(map(_in_any_case, word.split("_"))) for word in words)
    return {
        "anyOf": [{"enum": [*words, None]}, {"type": "string", "pattern": rf"^\s*({'|'.join(patterns)})\s*$"}]
    }


def _type_of(*kinds: str) -> Schema:
    patterns = "|".join(map(_in_any_case, kinds))
    return {"anyOf": [{"enum": [*kinds, None]}, {"type": "string", "pattern": rf"^\s*({patterns})\s*$"}]}


def _has_type(kind: str) -> Schema:
    pattern = rf"^\s*{_in_any_case(kind)}\s*$"
    return {"properties": {"type": {"type": "string", "pattern": pattern}}, "required": ["type"]}


def _value(schema: Schema, description: str = "") -> Schema:
    """A value for which a binding may stand."""
    said = {"description": description} if description else {}
    return {"anyOf": [schema, BINDING, NOTHING], **said}


def _one_of(*names: str) -> list[Schema]:
    return [{"required": [name]} for name in names]


def _or_nothing(schema: Schema) -> Schema:
    return {"anyOf": [schema, NOTHING]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
