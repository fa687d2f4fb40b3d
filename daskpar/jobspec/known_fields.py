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
INPUT_MODES = ("ro_mount", "rw_mount", "mount", "download", "direct", "eval_mount", "eval_download")
OUTPUT_MODES = ("rw_mount", "mount", "upload", "direct")
TABLE_ONLY_MODES = frozenset({"eval_mount", "eval_download"})

STEP_TYPES = ("parallel", "command")
FOREIGN_STEP_TYPES = frozenset(
    {
        "sweep",
        "pipeline",
        "automl",
        "spark",
        "import",
        "data_transfer",
        "do_while",
        "if_else",
        "parallel_for",
        "distributed",
        "finetuning",
    }
)
