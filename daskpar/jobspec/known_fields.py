"""The names that each mapping of a spec may use: those that are read, and those that have no effect."""

from __future__ import annotations

META = frozenset(
    {
        "$schema",
        "name",
        "version",
        "type",
        "display_name",
        "description",
        "tags",
        "properties",
        "comment",
        "experiment_name",
    }
)

PIPELINE = META | {
    "jobs",
    "component",
    "inputs",
    "outputs",
    "settings",
    "compute",
    "identity",
    "services",
    "id",
    "creation_context",
}
PIPELINE_SETTINGS = frozenset(
    {"default_compute", "default_datastore", "continue_on_step_failure", "force_rerun", "default_environment"}
)

NESTED = PIPELINE | {"is_deterministic", "resources"}
"""Of a pipeline that is a step of another one."""

STEP = META | {
    "component",
    "inputs",
    "outputs",
    "compute",
    "environment_variables",
    "identity",
    "resources",
    "is_deterministic",
    "services",
}
PARALLEL = STEP | {
    "task",
    "input_data",
    "output_data",
    "mini_batch_size",
    "partition_keys",
    "error_threshold",
    "mini_batch_error_threshold",
    "max_concurrency_per_instance",
    "logging_level",
    "retry_settings",
    "environment",
    "limits",
}
COMMAND = STEP | {
    "command",
    "code",
    "environment",
    "limits",
    "distribution",
    "queue_settings",
    "job_tier",
    "priority",
    "additional_includes",
}
TASK = frozenset(
    {"type", "code", "entry_script", "program_arguments", "args", "append_row_to", "environment", "model"}
)
RETRY_SETTINGS = frozenset({"max_retries", "timeout"})
RESOURCES = frozenset(
    {
        "instance_count",
        "instance_type",
        "properties",
        "docker_args",
        "shm_size",
        "locations",
        "max_instance_count",
    }
)
LIMITS = frozenset({"timeout"})

INPUT = frozenset(
    {
        "type",
        "path",
        "mode",
        "value",
        "default",
        "optional",
        "enum",
        "min",
        "max",
        "description",
        "name",
        "version",
        "properties",
    }
)
OUTPUT = frozenset(
    {
        "type",
        "path",
        "mode",
        "name",
        "version",
        "description",
        "optional",
        "is_control",
        "early_available",
        "default",
        "properties",
    }
)

DATA_TYPES = ("uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model")
FOLDER_TYPES = frozenset(DATA_TYPES) - {"uri_file"}
LITERAL_TYPES = ("string", "number", "integer", "boolean")
ANY_PATH = "path"
"""An older type of data: a file or a folder."""
ALL_DATA = (*DATA_TYPES, ANY_PATH)
INPUT_TYPES = (*ALL_DATA, *LITERAL_TYPES)
INPUT_MODES = ("ro_mount", "rw_mount", "mount", "download", "direct", "eval_mount", "eval_download")
OUTPUT_MODES = ("rw_mount", "mount", "upload", "direct")
TABLE_ONLY_MODES = frozenset({"eval_mount", "eval_download"})

STEP_TYPES = ("parallel", "command")
NODE_TYPES = (*STEP_TYPES, "pipeline")
"""What a node of a pipeline may be here."""
FOREIGN_STEP_TYPES = {
    "sweep": "It tries many values of its inputs: write a command step for the values that you want.",
    "automl": "Azure ML searches for the model on its own servers: run such a job there.",
    "spark": "It needs a Spark cluster: write its script as a command or parallel step.",
    "import": "It copies data from a database or store into Azure: name the data as an input instead.",
    "data_transfer": "It copies data between stores of Azure: name the data as an input instead.",
    "do_while": "Loops are not run here: write the steps one after the other.",
    "if_else": "Conditions are not run here: write the steps of the branch that you want.",
    "parallel_for": "It runs a step for each value: write a parallel step with a mini-batch for each.",
    "distributed": "It starts one program on several nodes: write it as a command step, which runs on one.",
    "finetuning": "Azure ML tunes the model on its own servers: run such a job there.",
    "promptflow_parallel": "A prompt flow runs in Azure ML: call it in run() of a parallel step.",
    "promptflow": "A prompt flow runs in Azure ML: call it in run() of a parallel step.",
    "flow_parallel": "A prompt flow runs in Azure ML: call it in run() of a parallel step.",
}
"""Types of Azure's steps that are not run here, and what to do instead."""
