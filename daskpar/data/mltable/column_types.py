"""The column types that an MLTable can name (`column_type: …`), as kinds of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daskpar.data.columns.date_formats import check_formats
from daskpar.data.columns.kinds import ColumnKind
from daskpar.data.mltable.option_checks import TransformationError
from daskpar.errors import nearest

PLAIN_KINDS = {
    "string": "string",
    "int": "int",
    "float": "float",
    "boolean": "bool",
    "stream_info": "stream_info",
}
"""Column types written as one word, and the kinds that they mean."""
BOOLEAN_OPTIONS = ("true_values", "false_values", "mismatch_as")
DATETIME_OPTIONS = ("formats", "date_constant")


def kind_of_column_type(value: Any, *at: str | int) -> ColumnKind:
    """The kind that a `column_type` means; raises TransformationError.

    `at` is its place in the transformation.
    """
    if isinstance(value, str) and value in PLAIN_KINDS:
        return ColumnKind(PLAIN_KINDS[value])  # type: ignore[arg-type]
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
        name, options = next(iter(value.items()))
        if name == "boolean":
            return _boolean(options, *at, name)
        if name == "datetime":
            return _datetime(options, *at, name)
        if name == "stream_info":
            return ColumnKind("stream_info")
    hint = nearest(value, PLAIN_KINDS) if isinstance(value, str) else ""
    if value == "datetime":
        hint = "A datetime needs its formats: `column_type: {datetime: {formats: ['%Y-%m-%d']}}`."
    raise TransformationError(
        f"{value!r} is no column type: use {', '.join(PLAIN_KINDS)} "
        f"or datetime with formats. {hint}".rstrip(),
        *at,
    )


def _boolean(options: Mapping[str, Any], *at: str | int) -> ColumnKind:
    for key, value in options.items():
        if key in ("true_values", "false_values"):
            if not isinstance(value, (str, list)) or not all(isinstance(word, str) for word in value):
                raise TransformationError(
                    f"`{key}` must be a text or a list of texts (quote words such as 'yes')", *at, key
                )
        elif key == "mismatch_as":
            if value not in ("error", "true", "false"):
                raise TransformationError(
                    "`mismatch_as` must be 'error', 'true' or 'false' (quoted)", *at, key
                )
        else:
            raise TransformationError(
                f"`boolean` has no option {key!r}. {nearest(str(key), BOOLEAN_OPTIONS)}".rstrip(), *at
            )
    if ("true_values" in options) != ("false_values" in options):
        raise TransformationError("`true_values` and `false_values` come together", *at)
    true = _words(options["true_values"]) if "true_values" in options else None
    false = _words(options["false_values"]) if "false_values" in options else None
    both = set(true or ()) & set(false or ())
    if both:
        raise TransformationError(f"{sorted(both)[0]!r} can't be both a true and a false value", *at)
    # as Microsoft's reader: `error`, the default, makes nulls of texts found in neither list
    mismatch = {"true": True, "false": False}.get(options.get("mismatch_as", "error"))
    return ColumnKind("bool", mismatch=mismatch, true_values=true, false_values=false)


def _words(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _datetime(options: Mapping[str, Any], *at: str | int) -> ColumnKind:
    for key in options:
        if key not in DATETIME_OPTIONS:
            raise TransformationError(
                f"`datetime` has no option {key!r}. {nearest(str(key), DATETIME_OPTIONS)}".rstrip(), *at
            )
    formats = options.get("formats")
    if (
        not isinstance(formats, (str, list))
        or not formats
        or not all(isinstance(text, str) for text in formats)
    ):
        raise TransformationError(
            "`formats` must be a format such as '%Y-%m-%d', or a list of them, at least one", *at, "formats"
        )
    constant = options.get("date_constant")
    if constant is not None and not isinstance(constant, str):
        raise TransformationError("`date_constant` must be a text", *at, "date_constant")
    try:
        check_formats(_words(formats), constant)
    except ValueError as error:
        raise TransformationError(str(error), *at, "formats") from None
    return ColumnKind("datetime", formats=_words(formats), date_constant=constant)
