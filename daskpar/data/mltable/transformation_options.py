"""The options of each transformation of an MLTable, their types and defaults: pure rules on plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daskpar.data.columns.kinds import ColumnKind
from daskpar.data.formats.dialect import ENCODINGS
from daskpar.data.mltable.column_types import kind_of_column_type
from daskpar.data.mltable.option_checks import (
    Rules,
    TransformationError,
    check_options,
    may_be_anything,
    must_be_count,
    must_be_flag,
    must_be_one_of,
    must_be_positive,
    must_be_share,
    must_be_text,
    must_be_whole,
)
from daskpar.data.mltable.other_names import STEPS, hint_for

PARTITION_SIZE = 20 * 1024 * 1024
"""Bytes of a partition of `read_delimited` and `read_json_lines`, as in Microsoft's reader (20 MiB)."""
SAMPLE_SIZE = 200
"""Records that kinds are inferred from, as in Microsoft's reader (its schema says 100)."""

HEADERS = ("no_header", "from_first_file", "all_files_different_headers", "all_files_same_headers")
TEXT_ENCODINGS = tuple(ENCODINGS)
JSON_ENCODINGS = ("utf8", "utf-8", "iso88591", "latin1", "ascii", "utf16", "windows1252")
"""As Microsoft's schema: fewer spellings than `read_delimited` takes."""
BARE = (
    "read_delimited",
    "read_parquet",
    "read_json_lines",
    "read_delta_lake",
    "extract_columns_from_partition_format",
)
"""As Microsoft's schema: what may be written as a name alone."""


def check_transformation(name: Any, options: Any, bare: bool = False) -> Mapping[str, Any]:
    """The options of a transformation, checked and with defaults filled in.

    One that takes a single value (`take: 5`) has it as `value`. `bare`: it was written as a name alone.
    Raises TransformationError.
    """
    if name not in _OPTIONS_OF:
        raise TransformationError(f"there is no step {name!r}. {hint_for(name, STEPS, _OPTIONS_OF)}")
    if bare and name not in BARE:
        raise TransformationError(f"`{name}` needs its options: write `{name}: …`")
    return _OPTIONS_OF[name](name, options)


def _delimiter(value: Any) -> str | None:
    good = isinstance(value, str) and 1 <= len(value) <= 2 and value.isascii() and value[0] not in '"\r\n\0'
    return (
        None
        if good
        else "one ASCII character in quotes, like ',' or \"\\t\" (or two, of which the first counts), "
        "other than a quote or line break"
    )


def _header(value: Any) -> str | None:
    if isinstance(value, bool):
        meant = "all_files_same_headers" if value else "no_header"
        return f"one of {', '.join(HEADERS)} (`header: {meant}` is what you mean)"
    return must_be_one_of(*HEADERS)(value)


def _path_column(value: Any) -> str | None:
    return None if value == "Path" else "`Path`: files come in a column of that name"


_READER_OPTIONS: Rules = {
    "include_path_column": (must_be_flag, False),
    "path_column": (_path_column, "Path"),
}


def _read_delimited(name: str, options: Any) -> Mapping[str, Any]:
    found = check_options(
        name,
        options,
        {
            **_READER_OPTIONS,
            "delimiter": (_delimiter, ","),
            "header": (_header, "all_files_same_headers"),
            "support_multi_line": (must_be_flag, False),
            "empty_as_string": (must_be_flag, False),
            "encoding": (must_be_one_of(*TEXT_ENCODINGS), "utf8"),
            "infer_column_types": (may_be_anything, True),
            "partition_size": (must_be_positive, PARTITION_SIZE),
            "columns": (may_be_anything, {}),
        },
    )
    inference = found.pop("infer_column_types")
    found["infer"] = inference is not False
    found["sample_size"], overrides = SAMPLE_SIZE, []
    if not isinstance(inference, bool):
        rules: Rules = {
            "sample_size": (must_be_positive, SAMPLE_SIZE),
            "column_type_overrides": (may_be_anything, []),
        }
        try:
            inside = check_options("infer_column_types", inference, rules)
        except TransformationError as wrong:
            raise TransformationError(str(wrong).replace("bytes", "records"), name, *wrong.path) from None
        found["sample_size"], overrides = inside["sample_size"], inside["column_type_overrides"]
    found["overrides"], found["places"] = _overrides(overrides, name)
    found["columns"] = _declared(found["columns"], name)
    found["places"] |= {column: (name, "columns", column) for column in found["columns"]}
    return found


def _read_parquet(name: str, options: Any) -> Mapping[str, Any]:
    return check_options(name, options, _READER_OPTIONS)


def _read_json_lines(name: str, options: Any) -> Mapping[str, Any]:
    found = check_options(
        name,
        options,
        {
            **_READER_OPTIONS,
            "encoding": (must_be_one_of(*JSON_ENCODINGS), "utf8"),
            "invalid_lines": (must_be_one_of("error", "drop"), "error"),
            "partition_size": (must_be_positive, PARTITION_SIZE),
            "columns": (may_be_anything, {}),
        },
    )
    found["columns"] = _declared(found["columns"], name)
    return found


def _read_delta_lake(name: str, options: Any) -> Mapping[str, Any]:
    found = check_options(
        name,
        options,
        {**_READER_OPTIONS, "version_as_of": (must_be_whole, None), "timestamp_as_of": (must_be_text, None)},
    )
    if found["version_as_of"] is not None and found["timestamp_as_of"] is not None:
        raise TransformationError(
            "`read_delta_lake` takes `version_as_of` or `timestamp_as_of`, not both", name
        )
    if found["version_as_of"] is not None and found["version_as_of"] < 0:
        raise TransformationError(
            f"there is no version {found['version_as_of']} of a delta table", name, "version_as_of"
        )
    return found


def _overrides(entries: Any, name: str) -> tuple[dict[str, ColumnKind], dict[str, tuple[str | int, ...]]]:
    """Kinds by column, and where in the step each column is named."""
    at = (name, "infer_column_types", "column_type_overrides")
    found: dict[str, ColumnKind] = {}
    places: dict[str, tuple[str | int, ...]] = {}
    for names, kind, index in _entries(entries, at):
        if isinstance(names, dict):
            raise TransformationError(
                "`columns` of an override must be a name or a list of names", *at, index, "columns"
            )
        if kind.name == "stream_info":
            raise TransformationError(
                "the type of a column can't be overridden with stream_info", *at, index, "column_type"
            )
        for column in names:
            if column in found:
                raise TransformationError(f"the column {column!r} is overridden twice", *at, index, "columns")
            found[column] = kind
            places[column] = (*at, index, "columns")
    return found, places


def _declared(value: Any, name: str) -> dict[str, ColumnKind]:
    if not isinstance(value, dict) or not all(isinstance(column, str) for column in value):
        raise TransformationError(
            "`columns` must be a mapping from names of columns to types, e.g. `columns: {price: float}`",
            name,
            "columns",
        )
    return {column: kind_of_column_type(kind, name, "columns", column) for column, kind in value.items()}


def _convert(name: str, options: Any) -> Mapping[str, Any]:
    return {"value": [{"columns": names, "kind": kind} for names, kind, _ in _entries(options, (name,))]}


def _entries(entries: Any, at: tuple[str | int, ...]) -> list[tuple[Any, ColumnKind, int]]:
    if not isinstance(entries, list):
        raise TransformationError(f"`{at[-1]}` must be a list of `columns: …` with `column_type: …`", *at)
    found = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) != {"columns", "column_type"}:
            raise TransformationError(
                f"each entry of `{at[-1]}` has `columns` and `column_type`, nothing else", *at, index
            )
        names = _columns(entry["columns"], *at, index, "columns")
        found.append((names, kind_of_column_type(entry["column_type"], *at, index, "column_type"), index))
    return found


def _columns(value: Any, *at: str | int) -> list[str] | dict[str, Any]:
    """Names, or a pattern object; raises TransformationError."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return list(value)
    if (
        isinstance(value, dict)
        and isinstance(value.get("pattern"), str)
        and set(value) <= {"pattern", "ignore_case", "invert"}
    ):
        for flag in ("ignore_case", "invert"):
            if must_be_flag(value.get(flag, False)):
                raise TransformationError(f"`{flag}` must be true or false", *at, flag)
        why = _fault_of_pattern(value["pattern"])
        if why:
            raise TransformationError(f"{value['pattern']!r} is no regular expression: {why}", *at, "pattern")
        return {"pattern": value["pattern"], "invert": value.get("invert", False)}
    raise TransformationError(
        "columns are given as a name, a list of names, or `pattern: …` (with `invert`)", *at
    )


def _fault_of_pattern(pattern: str) -> str | None:
    """Why a pattern can't be understood."""
    # Arrow's patterns are RE2's, which are those of Microsoft's engine nearly to the letter
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""], pa.string()), pattern)
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("Invalid regular expression: ")
    return None


def _keep_or_drop(name: str, options: Any) -> Mapping[str, Any]:
    return {"value": _columns(options, name)}


def _number(name: str, options: Any) -> Mapping[str, Any]:
    if must_be_count(options):
        raise TransformationError(f"`{name}` must be {must_be_count(options)}, not {options!r}", name)
    return {"value": options}


def _filter(name: str, options: Any) -> Mapping[str, Any]:
    if not isinstance(options, str):
        raise TransformationError(f"`filter` must be an expression in a text, not {options!r}", name)
    return {"value": options}


def _random(name: str, options: Any) -> Mapping[str, Any]:
    found = check_options(
        name, options, {"probability": (must_be_share, None), "seed": (must_be_whole, None)}
    )
    for key, value in found.items():
        if value is None:
            raise TransformationError(f"`{name}` needs `{key}`", name)
    return {"low": 0.0, "high": found["probability"], "seed": found["seed"]}


def _sample(name: str, options: Any) -> Mapping[str, Any]:
    rules: Rules = {
        "sampler": (must_be_one_of("random_percent", "randomPercent"), None),
        "sampler_arguments": (may_be_anything, {}),
    }
    arguments = check_options(name, options, rules)["sampler_arguments"]
    try:
        found = check_options(
            "sampler_arguments",
            arguments,
            {
                "probability": (must_be_share, None),
                "probability_lower_bound": (must_be_share, None),
                "seed": (must_be_whole, None),
            },
        )
    except TransformationError as wrong:
        raise TransformationError(str(wrong), name, *wrong.path) from None
    for key, value in found.items():
        if value is None:
            raise TransformationError(f"`sampler_arguments` needs `{key}`", name, "sampler_arguments")
    return {"low": found["probability_lower_bound"], "high": found["probability"], "seed": found["seed"]}


def _partitions(name: str, options: Any) -> Mapping[str, Any]:
    if not isinstance(options, list) or any(must_be_count(index) for index in options):
        raise TransformationError(f"`{name}` must be a list of numbers of partitions, 0 or more", name)
    return {"value": sorted(set(options))}


def _extract(name: str, options: Any) -> Mapping[str, Any]:
    found = check_options(name, options, {"partition_format": (must_be_text, None)})
    if found["partition_format"] is None:
        raise TransformationError(f"`{name}` needs `partition_format`", name)
    return {"value": found["partition_format"]}


_OPTIONS_OF: Mapping[str, Callable[[str, Any], Mapping[str, Any]]] = {
    "read_delimited": _read_delimited,
    "read_parquet": _read_parquet,
    "read_json_lines": _read_json_lines,
    "read_delta_lake": _read_delta_lake,
    "keep_columns": _keep_or_drop,
    "drop_columns": _keep_or_drop,
    "convert_column_types": _convert,
    "filter": _filter,
    "take": _number,
    "skip": _number,
    "take_random_sample": _random,
    "sample": _sample,
    "select_partitions": _partitions,
    "extract_columns_from_partition_format": _extract,
}
