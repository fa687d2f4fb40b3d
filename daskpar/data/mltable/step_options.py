"""What each step of an MLTable takes: its options, their types and defaults; pure rules on plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daskpar.data.columns.dates import check_formats
from daskpar.data.columns.kinds import Kind
from daskpar.errors import nearest

PARTITION_SIZE = 20 * 1024 * 1024
SAMPLE_SIZE = 200

HEADERS = ("no_header", "from_first_file", "all_files_different_headers", "all_files_same_headers")
TEXT_ENCODINGS = (
    "utf8",
    "utf-8",
    "ascii",
    "latin1",
    "latin-1",
    "iso88591",
    "iso-8859-1",
    "windows1252",
    "windows-1252",
    "utf16",
    "utf-16",
)
JSON_ENCODINGS = ("utf8", "utf-8", "iso88591", "latin1", "ascii", "utf16", "windows1252")
BARE = (
    "read_delimited",
    "read_parquet",
    "read_json_lines",
    "read_delta_lake",
    "extract_columns_from_partition_format",
)
PLAIN_KINDS = {
    "string": "string",
    "int": "int",
    "float": "float",
    "boolean": "bool",
    "stream_info": "stream_info",
}


class Wrong(Exception):
    """A mistake in a step: `path` leads from the step to the value that is wrong."""

    def __init__(self, what: str, *path: str | int) -> None:
        super().__init__(what)
        self.path = path


def check_step(name: Any, options: Any, bare: bool = False) -> Mapping[str, Any]:
    """The options of a step, checked and with defaults filled in; steps that take one value have it as
    `value`. Raises Wrong.
    """
    if name not in _STEPS:
        raise Wrong(f"there is no step {name!r}. {nearest(str(name), _STEPS)}".rstrip())
    if bare and name not in BARE:
        raise Wrong(f"`{name}` needs its options: write `{name}: …`")
    return _STEPS[name](name, options)


def _mapping(
    name: str, options: Any, rules: Mapping[str, tuple[Callable[[Any], str | None], Any]]
) -> dict[str, Any]:
    if not isinstance(options, dict):
        raise Wrong(
            f"the options of `{name}` must be a mapping (write `{name}: {{}}` or just `{name}` for none)",
            name,
        )
    for key, value in options.items():
        if key not in rules:
            raise Wrong(
                f"`{name}` has no option {key!r}. {nearest(str(key), rules)}".rstrip(), name, str(key)
            )
        problem = rules[key][0](value)
        if problem:
            raise Wrong(f"`{key}` of `{name}` must be {problem}, not {value!r}", name, key)
    return {key: options.get(key, default) for key, (_, default) in rules.items()}


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "a text"


def _count(value: Any) -> str | None:
    return (
        None
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0
        else "a whole number, 0 or more"
    )


def _whole(value: Any) -> str | None:
    return None if isinstance(value, int) and not isinstance(value, bool) else "a whole number"


def _size(value: Any) -> str | None:
    return None if _count(value) is None and value > 0 else "a number of bytes above 0"


def _share(value: Any) -> str | None:
    return (
        None
        if isinstance(value, float) and 0 <= value <= 1
        else "a decimal number from 0.0 to 1.0 (with its point: 1.0, not 1)"
    )


def _one_of(*words: str) -> Callable[[Any], str | None]:
    return lambda value: None if isinstance(value, str) and value in words else f"one of {', '.join(words)}"


def _delimiter(value: Any) -> str | None:
    good = isinstance(value, str) and 1 <= len(value) <= 2 and value.isascii() and value[0] not in '"\r\n\0'
    return (
        None
        if good
        else "one ASCII character (or two, of which the first counts) other than a quote or line break"
    )


def _path_column(value: Any) -> str | None:
    return None if value == "Path" else "`Path`: files come in a column of that name"


def _any(value: Any) -> str | None:
    return None


_READER: Mapping[str, tuple[Callable[[Any], str | None], Any]] = {
    "include_path_column": (_flag, False),
    "path_column": (_path_column, "Path"),
}


def _read_delimited(name: str, options: Any) -> Mapping[str, Any]:
    found = _mapping(
        name,
        options,
        {
            **_READER,
            "delimiter": (_delimiter, ","),
            "header": (_one_of(*HEADERS), "all_files_same_headers"),
            "support_multi_line": (_flag, False),
            "empty_as_string": (_flag, False),
            "encoding": (_one_of(*TEXT_ENCODINGS), "utf8"),
            "infer_column_types": (_any, True),
            "partition_size": (_size, PARTITION_SIZE),
            "columns": (_any, {}),
        },
    )
    inference = found.pop("infer_column_types")
    found["infer"] = inference is not False
    found["sample_size"], overrides = SAMPLE_SIZE, []
    if not isinstance(inference, bool):
        rules: dict[str, tuple[Callable[[Any], str | None], Any]] = {
            "sample_size": (_size, SAMPLE_SIZE),
            "column_type_overrides": (_any, []),
        }
        try:
            inside = _mapping("infer_column_types", inference, rules)
        except Wrong as wrong:
            raise Wrong(str(wrong).replace("bytes", "records"), name, *wrong.path) from None
        found["sample_size"], overrides = inside["sample_size"], inside["column_type_overrides"]
    found["overrides"], found["places"] = _overrides(overrides, name)
    found["columns"] = _declared(found["columns"], name)
    found["places"] |= {column: (name, "columns", column) for column in found["columns"]}
    return found


def _read_parquet(name: str, options: Any) -> Mapping[str, Any]:
    return _mapping(name, options, _READER)


def _read_json_lines(name: str, options: Any) -> Mapping[str, Any]:
    found = _mapping(
        name,
        options,
        {
            **_READER,
            "encoding": (_one_of(*JSON_ENCODINGS), "utf8"),
            "invalid_lines": (_one_of("error", "drop"), "error"),
            "partition_size": (_size, PARTITION_SIZE),
            "columns": (_any, {}),
        },
    )
    found["columns"] = _declared(found["columns"], name)
    return found


def _read_delta_lake(name: str, options: Any) -> Mapping[str, Any]:
    found = _mapping(
        name, options, {**_READER, "version_as_of": (_whole, None), "timestamp_as_of": (_text, None)}
    )
    if found["version_as_of"] is not None and found["timestamp_as_of"] is not None:
        raise Wrong("`read_delta_lake` takes `version_as_of` or `timestamp_as_of`, not both", name)
    if found["version_as_of"] is not None and found["version_as_of"] < 0:
        raise Wrong(f"there is no version {found['version_as_of']} of a delta table", name, "version_as_of")
    return found


def _overrides(entries: Any, name: str) -> tuple[dict[str, Kind], dict[str, tuple[str | int, ...]]]:
    """Kinds by column, and where in the step each column is named."""
    at = (name, "infer_column_types", "column_type_overrides")
    found: dict[str, Kind] = {}
    places: dict[str, tuple[str | int, ...]] = {}
    for names, kind, index in _entries(entries, at):
        if isinstance(names, dict):
            raise Wrong("`columns` of an override must be a name or a list of names", *at, index, "columns")
        if kind.name == "stream_info":
            raise Wrong(
                "the type of a column can't be overridden with stream_info", *at, index, "column_type"
            )
        for column in names:
            if column in found:
                raise Wrong(f"the column {column!r} is overridden twice", *at, index, "columns")
            found[column] = kind
            places[column] = (*at, index, "columns")
    return found, places


def _declared(value: Any, name: str) -> dict[str, Kind]:
    if not isinstance(value, dict) or not all(isinstance(column, str) for column in value):
        raise Wrong(
            "`columns` must be a mapping from names of columns to types, e.g. `columns: {price: float}`",
            name,
            "columns",
        )
    return {column: kind_of(kind, name, "columns", column) for column, kind in value.items()}


def _convert(name: str, options: Any) -> Mapping[str, Any]:
    return {"value": [{"columns": names, "kind": kind} for names, kind, _ in _entries(options, (name,))]}


def _entries(entries: Any, at: tuple[str | int, ...]) -> list[tuple[Any, Kind, int]]:
    if not isinstance(entries, list):
        raise Wrong(f"`{at[-1]}` must be a list of `columns: …` with `column_type: …`", *at)
    found = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) != {"columns", "column_type"}:
            raise Wrong(f"each entry of `{at[-1]}` has `columns` and `column_type`, nothing else", *at, index)
        names = _columns(entry["columns"], *at, index, "columns")
        found.append((names, kind_of(entry["column_type"], *at, index, "column_type"), index))
    return found


def _columns(value: Any, *at: str | int) -> list[str] | dict[str, Any]:
    """Names, or a pattern object; raises Wrong."""
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
            if _flag(value.get(flag, False)):
                raise Wrong(f"`{flag}` must be true or false", *at, flag)
        why = _fault_of_pattern(value["pattern"])
        if why:
            raise Wrong(f"{value['pattern']!r} is no regular expression: {why}", *at, "pattern")
        return {"pattern": value["pattern"], "invert": value.get("invert", False)}
    raise Wrong("columns are given as a name, a list of names, or `pattern: …` (with `invert`)", *at)


def _fault_of_pattern(pattern: str) -> str | None:
    """Why a pattern can't be understood. Arrow's patterns are RE2's, which are those of Microsoft's engine
    nearly to the letter.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""], pa.string()), pattern)
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("Invalid regular expression: ")
    return None


def kind_of(value: Any, *at: str | int) -> Kind:
    """The kind that a `column_type` means; raises Wrong."""
    if isinstance(value, str) and value in PLAIN_KINDS:
        return Kind(PLAIN_KINDS[value])  # type: ignore[arg-type]
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
        name, options = next(iter(value.items()))
        if name == "boolean":
            return _boolean(options, *at, name)
        if name == "datetime":
            return _datetime(options, *at, name)
        if name == "stream_info":
            return Kind("stream_info")
    hint = nearest(value, PLAIN_KINDS) if isinstance(value, str) else ""
    if value == "datetime":
        hint = "A datetime needs its formats: `column_type: {datetime: {formats: ['%Y-%m-%d']}}`."
    raise Wrong(
        f"{value!r} is no column type: use {', '.join(PLAIN_KINDS)} or datetime with formats. {hint}".rstrip(),
        *at,
    )


def _boolean(options: Mapping[str, Any], *at: str | int) -> Kind:
    for key, value in options.items():
        if key in ("true_values", "false_values"):
            if not isinstance(value, (str, list)) or not all(isinstance(word, str) for word in value):
                raise Wrong(
                    f"`{key}` must be a text or a list of texts (quote words such as 'yes')", *at, key
                )
        elif key == "mismatch_as":
            if value not in ("error", "true", "false"):
                raise Wrong("`mismatch_as` must be 'error', 'true' or 'false' (quoted)", *at, key)
        else:
            raise Wrong(
                f"`boolean` has no option {key!r}. {nearest(str(key), ('true_values', 'false_values', 'mismatch_as'))}".rstrip(),
                *at,
            )
    if ("true_values" in options) != ("false_values" in options):
        raise Wrong("`true_values` and `false_values` come together", *at)
    true = _words(options["true_values"]) if "true_values" in options else None
    false = _words(options["false_values"]) if "false_values" in options else None
    both = set(true or ()) & set(false or ())
    if both:
        raise Wrong(f"{sorted(both)[0]!r} can't be both a true and a false value", *at)
    mismatch = {"true": True, "false": False}.get(options.get("mismatch_as", "error"))
    return Kind("bool", mismatch=mismatch, true_values=true, false_values=false)


def _words(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _datetime(options: Mapping[str, Any], *at: str | int) -> Kind:
    for key in options:
        if key not in ("formats", "date_constant"):
            raise Wrong(
                f"`datetime` has no option {key!r}. {nearest(str(key), ('formats', 'date_constant'))}".rstrip(),
                *at,
            )
    formats = options.get("formats")
    if (
        not isinstance(formats, (str, list))
        or not formats
        or not all(isinstance(text, str) for text in formats)
    ):
        raise Wrong(
            "`formats` must be a format such as '%Y-%m-%d', or a list of them, at least one", *at, "formats"
        )
    constant = options.get("date_constant")
    if constant is not None and not isinstance(constant, str):
        raise Wrong("`date_constant` must be a text", *at, "date_constant")
    try:
        check_formats(_words(formats), constant)
    except ValueError as error:
        raise Wrong(str(error), *at, "formats") from None
    return Kind("datetime", formats=_words(formats), date_constant=constant)


def _keep_or_drop(name: str, options: Any) -> Mapping[str, Any]:
    return {"value": _columns(options, name)}


def _number(name: str, options: Any) -> Mapping[str, Any]:
    if _count(options):
        raise Wrong(f"`{name}` must be {_count(options)}, not {options!r}", name)
    return {"value": options}


def _filter(name: str, options: Any) -> Mapping[str, Any]:
    if not isinstance(options, str):
        raise Wrong(f"`filter` must be an expression in a text, not {options!r}", name)
    return {"value": options}


def _random(name: str, options: Any) -> Mapping[str, Any]:
    found = _mapping(name, options, {"probability": (_share, None), "seed": (_whole, None)})
    for key, value in found.items():
        if value is None:
            raise Wrong(f"`{name}` needs `{key}`", name)
    return {"low": 0.0, "high": found["probability"], "seed": found["seed"]}


def _sample(name: str, options: Any) -> Mapping[str, Any]:
    rules: dict[str, tuple[Callable[[Any], str | None], Any]] = {
        "sampler": (_one_of("random_percent", "randomPercent"), None),
        "sampler_arguments": (_any, {}),
    }
    arguments = _mapping(name, options, rules)["sampler_arguments"]
    try:
        found = _mapping(
            "sampler_arguments",
            arguments,
            {
                "probability": (_share, None),
                "probability_lower_bound": (_share, None),
                "seed": (_whole, None),
            },
        )
    except Wrong as wrong:
        raise Wrong(str(wrong), name, *wrong.path) from None
    for key, value in found.items():
        if value is None:
            raise Wrong(f"`sampler_arguments` needs `{key}`", name, "sampler_arguments")
    return {"low": found["probability_lower_bound"], "high": found["probability"], "seed": found["seed"]}


def _partitions(name: str, options: Any) -> Mapping[str, Any]:
    if not isinstance(options, list) or any(_count(index) for index in options):
        raise Wrong(f"`{name}` must be a list of numbers of partitions, 0 or more", name)
    return {"value": sorted(set(options))}


def _extract(name: str, options: Any) -> Mapping[str, Any]:
    found = _mapping(name, options, {"partition_format": (_text, None)})
    if found["partition_format"] is None:
        raise Wrong(f"`{name}` needs `partition_format`", name)
    return {"value": found["partition_format"]}


_STEPS: Mapping[str, Callable[[str, Any], Mapping[str, Any]]] = {
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
