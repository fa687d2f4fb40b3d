"""Columns that say more than Arrow's types: values of several kinds, locations of files, nullable integers.

All are marked in their field's metadata. The first two are texts: "any" columns hold JSON, "stream" columns a
path or URL. "nullable" ones are integers that stay integers beside nulls, where a data frame has them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_MARK = b"daskpar.kind"


@dataclass(frozen=True, order=True)
class StreamInfo:
    """The location of a file as a table holds it, with the attributes of Azure ML's StreamInfo.

    `open()` takes one that is local.
    """

    resource_identifier: str
    """The absolute path or URL."""

    def __str__(self) -> str:
        return self.resource_identifier

    def __fspath__(self) -> str:
        return self.resource_identifier

    @property
    def handler(self) -> str:
        """`Local`, `Http`, or the store's name in Azure ML."""
        text = self.resource_identifier
        scheme = text.partition("://")[0].lower() if "://" in text else ""
        return {
            "": "Local",
            "file": "Local",
            "http": "Http",
            "https": "Http",
            "wasb": "AzureBlobStorage",
            "wasbs": "AzureBlobStorage",
        }.get(
            scheme,
            {"abfss": "ADLSGen2", "adl": "AzureDataLakeStorage", "azureml": "AmlDatastore"}.get(
                scheme, scheme
            ),
        )

    @property
    def arguments(self) -> dict[str, str]:
        """Always empty: access needs no arguments here."""
        return {}


def any_field(name: str) -> pa.Field:
    """A field whose values are JSON texts of values of any kind."""
    return pa.field(name, pa.string(), metadata={_MARK: b"any"})


def stream_field(name: str) -> pa.Field:
    """A field whose values are locations of files."""
    return pa.field(name, pa.string(), metadata={_MARK: b"stream"})


def is_any(field: pa.Field) -> bool:
    """Whether the texts of a column are JSON for values of any kind."""
    return bool(field.metadata) and field.metadata.get(_MARK) == b"any"


def is_stream(field: pa.Field) -> bool:
    """Whether the texts of a column are locations of files."""
    return bool(field.metadata) and field.metadata.get(_MARK) == b"stream"


def nullable_field(field: pa.Field) -> pa.Field:
    """A field of integers that data frames have as nullable integers, not as floats."""
    return field.with_metadata({**(field.metadata or {}), _MARK: b"nullable"})


def is_nullable(field: pa.Field) -> bool:
    """Whether integers stay integers beside nulls."""
    return (
        bool(field.metadata)
        and field.metadata.get(_MARK) == b"nullable"
        and bool(pa.types.is_integer(field.type))
    )


def values_of(column: pa.ChunkedArray | pa.Array, field: pa.Field) -> list[Any]:
    """The values of a column as Python objects."""
    values: list[Any] = column.to_pylist()
    if is_any(field):
        return [None if value is None else json.loads(value) for value in values]
    if is_stream(field):
        return [None if value is None else StreamInfo(value) for value in values]
    return values


def to_any(values: list[Any]) -> pa.Array:
    """Values of any kind as the JSON texts that an "any" column holds."""
    return pa.array(
        [
            None if value is None else json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
            for value in values
        ],
        pa.string(),
    )
