"""Splits program arguments into `sys.argv` of the script, and finds the flags that are meant for the driver.

A new flag of the driver needs its name in `WITH_EFFECT` (and in `SWITCHES`, if it can stand without a value),
its setting in `step_settings.SETTINGS`, and its field in `model.DriverSettings`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import field

from daskpar.value_classes import frozen

_BINDING = re.compile(r"\$\{\{[^{}]*\}\}")
_SERVICE_INPUT = re.compile(r"--input(_ds_|_fds_|_pipeline_param_)?\w*\d")

SWITCHES = frozenset(
    {
        "copy_logs_to_parent",
        "append_row_dataframe_header",
        "append_row_safe_output",
        "push_metrics_to_parent",
        "amlbi_async_mode",
        "amlbi_dataframe_mixed_types",
        "allow_empty",
        "any_number_of_rows",
        "isolate_failed_items",
        "append_row_index",
        "backup",
    }
)
"""Flags that mean True when no value follows."""

WITH_EFFECT = frozenset(
    {
        "error_threshold",
        "allowed_failed_count",
        "allowed_failed_percent",
        "task_overhead_timeout",
        "progress_update_timeout",
        "first_task_creation_timeout",
        "run_invocation_timeout",
        "score_run_timeout",
        "run_max_try",
        "mini_batch_size",
        "partition_keys",
        "process_count_per_node",
        "logging_level",
        "append_row_dataframe_header",
        "append_row_file_name",
        "append_row_format",
        "append_row_columns",
        "append_row_part_size",
        "append_row_join",
        "append_row_index",
        "copy_logs_to_parent",
        "resource_monitor_interval",
        "profiling_module",
        "resume_from",
        "rank_mini_batch_count",
        "nice",
        "init_timeout",
        "allow_empty",
        "any_number_of_rows",
        "processor_memory",
        "max_mini_batches_per_processor",
        "max_processor_growth",
        "isolate_failed_items",
        "isolate_at_most",
        "failed_items_to",
        "job_timeout",
        "concurrent_mini_batches",
        "amlbi_async_mode",
        "rate_limit",
        "rate_limit_patience",
        "gpus_per_processor",
        "fetch_cache",
        "backup",
    }
)
"""Flags that the driver acts on."""

OURS_WITH_HYPHENS = {
    "processor-memory": "processor_memory",
    "max-mini-batches-per-processor": "max_mini_batches_per_processor",
    "max-processor-growth": "max_processor_growth",
    "allow-empty": "allow_empty",
    "any-number-of-rows": "any_number_of_rows",
    "init-timeout": "init_timeout",
    "append-row-format": "append_row_format",
    "append-row-columns": "append_row_columns",
    "isolate-failed-items": "isolate_failed_items",
    "isolate-at-most": "isolate_at_most",
    "failed-items-to": "failed_items_to",
    "job-timeout": "job_timeout",
    "gpus-per-processor": "gpus_per_processor",
    "fetch-cache": "fetch_cache",
    "append-row-part-size": "append_row_part_size",
    "append-row-join": "append_row_join",
    "append-row-index": "append_row_index",
    "concurrent-mini-batches": "concurrent_mini_batches",
    "rate-limit": "rate_limit",
    "rate-limit-patience": "rate_limit_patience",
}
"""Flags that Azure does not have may be written with hyphens as well."""

WITHOUT_EFFECT = frozenset(
    {
        "append_row_safe_output",
        "metrics_name_prefix",
        "push_metrics_to_parent",
        "amlbi_dataframe_mixed_types",
    }
)
"""Azure's flags that a user may give and that change nothing here."""

SERVICE_FLAGS = frozenset(
    {
        "output",
        "output_action",
        "cleanup_leaked_queues",
        "run_id",
        "run_context_type",
        "client_sdk_version",
        "scoring_module_name",
        "create_snapshot_at_runtime",
        "inputs",
        "input_format",
    }
)
"""Flags that Azure's service passes to its own driver; a script may use such a name for itself."""


@frozen
class NearMiss:
    """What somebody meant who wrote a name that the driver does not know."""

    setting: str
    """Name of the setting, as in `step_settings`."""
    right: str
    """What to do instead, in words."""


ATTRIBUTES = {
    "mini_batch_error_threshold": NearMiss(
        "mini_batch_error_threshold", "set the attribute mini_batch_error_threshold of the step"
    ),
    "item_error_threshold": NearMiss("error_threshold", "write --error_threshold"),
    "mini_batch_max_retries": NearMiss(
        "max_retries", "set the attribute retry_settings.max_retries of the step"
    ),
    "mini_batch_timeout": NearMiss("timeout", "set the attribute retry_settings.timeout of the step"),
    "overhead_timeout": NearMiss("task_overhead_timeout", "write --task_overhead_timeout"),
    "max_concurrency_per_instance": NearMiss(
        "max_concurrency_per_instance", "set this attribute of the step"
    ),
    "instance_count": NearMiss("instance_count", "set the attribute resources.instance_count of the step"),
}
"""Names for settings that are no flags of the driver's."""
_SHORTEST_NEAR_MISS = 8


class UnclosedQuote(ValueError):
    """A quote in program arguments has no partner; the message shows where it stands."""


@frozen(kw_only=True)
class DriverFlags:
    """The flags for the driver among a step's arguments."""

    values: Mapping[str, str] = field(default_factory=dict)
    """Flag without dashes -> its text; the last one wins."""
    missing: tuple[str, ...] = ()
    """Flags that need a value and have none."""
    ignored: tuple[str, ...] = ()
    """Flags of Azure's driver that change nothing here."""
    near_misses: Mapping[str, NearMiss] = field(default_factory=dict)
    """Argument that looks like a driver's flag -> what is meant. It has no effect, as in Azure."""


def split_arguments(text: str) -> tuple[str, ...]:
    """The arguments in a text: cut at blanks and line breaks outside quotes and bindings, quotes taken off.

    In double quotes, a backslash before a double quote or a backslash is taken off too; else backslashes are
    kept (Windows paths), but one that stands alone, as at the end of a line, is no argument. Raises
    UnclosedQuote.
    """
    words: list[str] = []
    word: list[str] = []
    # `begun`: an argument has begun. `bare`: nothing of it is in quotes, so a lone backslash is a line's end.
    begun = bare = False
    position = 0
    while position < len(text):
        sign = text[position]
        binding = _BINDING.match(text, position)
        if binding:
            word.append(binding.group())
            position, begun, bare = binding.end(), True, False
        elif sign in "'\"":
            content, position = _quoted(text, position)
            word.append(content)
            begun, bare = True, False
        elif sign.isspace():
            _end(words, word, begun, bare)
            begun, position = False, position + 1
        else:
            bare = bare if begun else True
            word.append(sign)
            begun, position = True, position + 1
    _end(words, word, begun, bare)
    return tuple(words)


def _quoted(text: str, start: int) -> tuple[str, int]:
    quote, position = text[start], start + 1
    content: list[str] = []
    while position < len(text):
        sign = text[position]
        if sign == quote:
            return "".join(content), position + 1
        binding = _BINDING.match(text, position)
        if binding:
            content.append(binding.group())
            position = binding.end()
            continue
        if quote == '"' and sign == "\\" and text[position + 1 : position + 2] in {'"', "\\"}:
            position += 1
            sign = text[position]
        content.append(sign)
        position += 1
    raise UnclosedQuote(f"the quote {quote} before {text[start + 1 : start + 25]!r} is not closed.")


def _end(words: list[str], word: list[str], begun: bool, bare: bool) -> None:
    if begun and not (bare and word == ["\\"]):
        words.append("".join(word))
    word.clear()


def join_arguments(arguments: Sequence[str]) -> str:
    """The text that `split_arguments` cuts into `arguments`."""
    return " ".join(_quote(argument) for argument in arguments)


def _quote(argument: str) -> str:
    if argument and argument != "\\" and not re.search(r"[\s'\"]", argument):
        return argument
    if "'" not in argument:
        return f"'{argument}'"
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def driver_flags(arguments: Sequence[str]) -> DriverFlags:
    """Take the driver's flags out of a step's arguments, which the script sees unchanged: `--flag value` or
    `--flag=value`.

    Names are never completed: a near miss has no effect.
    """
    values: dict[str, str] = {}
    missing: list[str] = []
    ignored: list[str] = []
    near: dict[str, NearMiss] = {}
    for position, argument in enumerate(arguments):
        if not argument.startswith("--"):
            continue
        flag, equals, value = argument[2:].partition("=")
        flag = OURS_WITH_HYPHENS.get(flag, flag)
        if flag in WITH_EFFECT:
            following = arguments[position + 1] if position + 1 < len(arguments) else "--"
            if not equals and following.startswith("--"):
                value = "True" if flag in SWITCHES else ""
                if flag not in SWITCHES:
                    missing.append(f"--{flag}")
                    continue
            values[flag] = value if equals else value or following
        elif flag in WITHOUT_EFFECT:
            ignored.append(f"--{flag}")
        elif (
            flag not in SERVICE_FLAGS
            and not _SERVICE_INPUT.fullmatch(f"--{flag}")
            and (meant := _near_miss(flag))
        ):
            near.setdefault(f"--{flag}", meant)
    return DriverFlags(
        values=values, missing=tuple(missing), ignored=tuple(dict.fromkeys(ignored)), near_misses=near
    )


def _near_miss(flag: str) -> NearMiss | None:
    """What is meant by a flag that is nearly one of the driver's."""
    if flag in ATTRIBUTES:
        return ATTRIBUTES[flag]
    if len(flag) < _SHORTEST_NEAR_MISS:
        return None
    known = [name for name in sorted(WITH_EFFECT | WITHOUT_EFFECT) if len(name) >= _SHORTEST_NEAR_MISS]
    found = difflib.get_close_matches(flag.lower().replace("-", "_"), known, n=1, cutoff=0.87)
    return NearMiss(found[0], f"write --{found[0]}") if found else None
