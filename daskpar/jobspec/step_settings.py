"""The settings of a parallel step: where a user may write each, how it is read, which place wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from daskpar.jobspec import row_formats, scalars
from daskpar.jobspec.gpu_share import gpu_share
from daskpar.jobspec.model import BySize, DriverSettings
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.program_arguments import DriverFlags
from daskpar.jobspec.yaml_source import Value
from daskpar.value_classes import frozen

Reader = Callable[[Value, Problems], object]
_DEFAULTS = DriverSettings()
_LEVEL = scalars.choice("DEBUG", "INFO", "WARNING")


@frozen(kw_only=True)
class Setting:
    """One setting: its name, where YAML has it, which program arguments set it."""

    name: str
    read: Reader
    attribute: tuple[str, ...] = ()
    """Keys from the step down; empty where only a program argument or the command line sets it."""
    flags: Mapping[str, Reader] = field(default_factory=dict)
    default: object = None

    @property
    def keys(self) -> tuple[str, ...]:
        """What `--set` may call it below `jobs.STEP.`."""
        return tuple(dict.fromkeys((self.name, ".".join(self.attribute) or self.name)))


def _driver(name: str, read: Reader, *flags: str) -> Setting:
    return Setting(
        name=name, read=read, flags=dict.fromkeys((name, *flags), read), default=getattr(_DEFAULTS, name)
    )


SETTINGS = (
    Setting(
        name="mini_batch_size",
        read=scalars.size,
        attribute=("mini_batch_size",),
        flags={"mini_batch_size": scalars.size},
        default=BySize(number=0, unit=1),
    ),
    Setting(
        name="partition_keys",
        read=scalars.keys,
        attribute=("partition_keys",),
        flags={"partition_keys": scalars.keys_in_text},
        default=(),
    ),
    Setting(
        name="error_threshold",
        read=scalars.threshold,
        attribute=("error_threshold",),
        flags={"error_threshold": scalars.threshold_argument},
        default=_DEFAULTS.error_threshold,
    ),
    Setting(
        name="mini_batch_error_threshold",
        read=scalars.threshold,
        attribute=("mini_batch_error_threshold",),
        flags={"allowed_failed_count": scalars.threshold},
        default=_DEFAULTS.mini_batch_error_threshold,
    ),
    Setting(
        name="max_retries",
        read=scalars.retries,
        attribute=("retry_settings", "max_retries"),
        flags={"run_max_try": scalars.tries},
        default=_DEFAULTS.max_retries,
    ),
    Setting(
        name="timeout",
        read=scalars.seconds,
        attribute=("retry_settings", "timeout"),
        flags={"run_invocation_timeout": scalars.seconds, "score_run_timeout": scalars.seconds},
        default=_DEFAULTS.timeout,
    ),
    Setting(name="instance_count", read=scalars.nodes, attribute=("resources", "instance_count"), default=1),
    Setting(
        name="max_concurrency_per_instance",
        read=scalars.processors,
        attribute=("max_concurrency_per_instance",),
        flags={"process_count_per_node": scalars.processors},
    ),
    Setting(
        name="logging_level",
        read=_LEVEL,
        attribute=("logging_level",),
        flags={"logging_level": _LEVEL},
        default="INFO",
    ),
    _driver("allowed_failed_percent", scalars.percent),
    _driver("task_overhead_timeout", scalars.seconds),
    _driver("progress_update_timeout", scalars.seconds),
    _driver("first_task_creation_timeout", scalars.seconds),
    _driver("init_timeout", scalars.seconds),
    _driver("copy_logs_to_parent", scalars.switch),
    _driver("resource_monitor_interval", scalars.interval),
    _driver("append_row_dataframe_header", scalars.switch),
    _driver("append_row_format", scalars.choice(*row_formats.FORMATS)),
    _driver("append_row_columns", scalars.choice(*row_formats.COLUMN_RULES)),
    _driver("append_row_part_size", scalars.memory),
    _driver("append_row_join", scalars.columns_in_text),
    _driver("append_row_index", scalars.switch),
    _driver("isolate_failed_items", scalars.isolation),
    _driver("isolate_at_most", scalars.at_least_one),
    _driver("failed_items_to", scalars.text),
    Setting(
        name="job_timeout",
        read=scalars.time_limit,
        attribute=("limits", "timeout"),
        flags={"job_timeout": scalars.time_limit},
    ),
    _driver("allow_empty", scalars.switch),
    _driver("any_number_of_rows", scalars.switch),
    _driver("profiling_module", scalars.choice("", "cProfile", "profile")),
    _driver("nice", scalars.niceness),
    _driver("processor_memory", scalars.memory),
    _driver("max_mini_batches_per_processor", scalars.at_least_one),
    _driver("max_processor_growth", scalars.memory),
    _driver("concurrent_mini_batches", scalars.in_flight),
    _driver("amlbi_async_mode", scalars.switch),
    _driver("rate_limit", scalars.call_rate),
    _driver("rate_limit_patience", scalars.interval),
    _driver("gpus_per_processor", gpu_share),
    _driver("fetch_cache", scalars.memory),
    _driver("backup", scalars.switch),
    _driver("resume_from", scalars.text),
    _driver("rank_mini_batch_count", scalars.mini_batches),
)
BY_KEY = {key: setting for setting in SETTINGS for key in setting.keys}
"""Setting by its name and by its dotted place in a step."""
LIMITS_OF_FAILURE = frozenset(
    {
        *(
            "error_threshold",
            "mini_batch_error_threshold",
            "allowed_failed_count",
            "allowed_failed_percent",
            "max_retries",
            "timeout",
        ),
        *(
            "retry_settings",
            "task_overhead_timeout",
            "progress_update_timeout",
            "first_task_creation_timeout",
            "init_timeout",
            "job_timeout",
        ),
        *("run_invocation_timeout", "run_max_try"),
    }
)
"""Keys and program arguments that limit failures, or how long something may take."""
_OWN_FIELDS = frozenset(
    {"mini_batch_size", "partition_keys", "instance_count", "max_concurrency_per_instance"}
)


@frozen(kw_only=True)
class ChosenSettings:
    """The settings that a step runs with, and where each came from."""

    values: Mapping[str, object]
    sources: Mapping[str, str]

    def driver_settings(self) -> DriverSettings:
        """All but those that ParallelStep has as fields of its own."""
        values: dict[str, Any] = {n: value for n, value in self.values.items() if n not in _OWN_FIELDS}
        return DriverSettings(**values)


def choose_settings(
    attribute: Callable[[tuple[str, ...]], Value | None],
    overrides: Mapping[str, Value],
    flags: DriverFlags,
    place_of: Callable[[str], Place],
    problems: Problems,
) -> ChosenSettings:
    """Command line over program argument over attribute (node over component, merged before) over default.

    `attribute` gives the value at a place in the step, `place_of` the place of a program argument. A mistake
    is recorded and the default taken, also in a value that is overruled.
    """
    found: dict[str, object] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        candidates: list[tuple[object, str]] = []
        if setting.name in overrides:
            value = overrides[setting.name]
            candidates.append(
                (_read(setting.flags.get(setting.name, setting.read), value, problems), value.place.source)
            )
        for flag in flags.values:
            if flag in setting.flags:
                place = place_of(f"--{flag}").below(f"--{flag}")
                candidates.append(
                    (
                        _read(setting.flags[flag], Value(flags.values[flag], place), problems),
                        f"program argument {place.where}",
                    )
                )
                break
        own = attribute(setting.attribute) if setting.attribute else None
        if own is not None:
            candidates.append((_read(setting.read, own, problems), own.place.source))
        read = [(value, source) for value, source in candidates if value is not None]
        found[setting.name], sources[setting.name] = read[0] if read else (setting.default, "default")
        if len(read) > 1:
            overruled = ", ".join(f"{source}: {_shown(value)}" for value, source in read[1:])
            sources[setting.name] += f" (overrules {overruled})"
    return ChosenSettings(values=found, sources=sources)


def _read(reader: Reader, value: Value, problems: Problems) -> object:
    if isinstance(value.data, str) and "${{" in value.data:
        return None  # a binding that could not be filled in: its own mistake is recorded
    return reader(value, problems)


def _shown(value: object) -> str:
    if isinstance(value, BySize):
        return value.written
    return ", ".join(value) if isinstance(value, tuple) else str(value)
