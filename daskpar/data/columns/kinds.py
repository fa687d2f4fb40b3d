"""The kinds of a column's values, and how a kind is inferred from sampled texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from daskpar.data.columns.date_formats import infer_formats
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import pyarrow as pa

Name = Literal["string", "int", "float", "bool", "datetime", "stream_info", "null"]

# as Microsoft's reader: exactly these spellings; `yes`, `on` and `tRuE` are texts
TRUE_WORDS = ("true", "True", "TRUE", "t", "T", "Yes", "YES", "Y", "1")
FALSE_WORDS = ("false", "False", "FALSE", "f", "F", "No", "NO", "N", "0")

_WORDS = frozenset(TRUE_WORDS + FALSE_WORDS)
INTEGER = re.compile(r"[+-]?[0-9]+")
"""An integer of any size."""

NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf|infinity))")
"""A number as inference and conversion know it, once blanks and tabs around it are gone."""


@frozen
class ColumnKind:
    """What a column's values are, and how texts become such values; fixed once for a whole table.

    A datetime kind reads by its `formats`, in order: `inferred` ones match a value exactly as it stands,
    given ones (of `convert_column_types` and overrides) ignore blanks around it and put `date_constant` in
    front. A datetime kind without formats (day and month could not be told apart in the sample) makes every
    value null, and so does "null". A bool kind with `true_values` and `false_values` looks texts up there
    instead of in the usual words; `mismatch` is the value of texts found in neither (None: null, counted as
    lost).
    """

    name: Name
    formats: tuple[str, ...] = ()
    inferred: bool = False
    date_constant: str | None = None
    true_values: tuple[str, ...] | None = None
    false_values: tuple[str, ...] | None = None
    mismatch: bool | None = None

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of a column of this kind ("stream_info": the resolved location as text)."""
        return _arrow_type("null" if self.name == "datetime" and not self.formats else self.name)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` understands; defaults are left out."""
        found = {
            name: getattr(self, name) for name, default in _DEFAULTS.items() if getattr(self, name) != default
        }
        return {
            "name": self.name,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in found.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ColumnKind:
        """The kind that `to_json` described."""
        plain: dict[str, Any] = {
            name: tuple(item) if isinstance(item, list) else item for name, item in value.items()
        }
        return cls(**plain)


@lru_cache
def _arrow_type(name: Name) -> pa.DataType:
    """Of columns of that kind; kept, for wide tables ask for thousands of them."""
    import pyarrow as pa

    types = {
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "datetime": pa.timestamp("ns"),
        "null": pa.null(),
    }
    return types.get(name, pa.string())


_DEFAULTS: Mapping[str, Any] = {
    "formats": (),
    "inferred": False,
    "date_constant": None,
    "true_values": None,
    "false_values": None,
    "mismatch": None,
}

STRING, INT, FLOAT, BOOL = ColumnKind("string"), ColumnKind("int"), ColumnKind("float"), ColumnKind("bool")


def infer_kind(values: Iterable[str | None]) -> ColumnKind:
    """The kind of a column from its sampled texts.

    As Microsoft's reader: the first of bool, int, float and datetime that all texts can be, else string.
    Missing values (None) say nothing; a sample without values is text. Integers 0 and 1 alone are booleans.
    """
    texts = list(dict.fromkeys(value for value in values if value is not None))
    if not texts:
        return STRING
    trimmed = [text.strip(" \t") for text in texts]
    if all(text in _WORDS or _integer(text) in (0, 1) for text in trimmed):
        return BOOL
    if all(_integer(text) is not None for text in trimmed):
        return INT
    if all(NUMBER.fullmatch(text) for text in trimmed):
        return FLOAT
    formats = infer_formats(texts)
    return STRING if formats is None else ColumnKind("datetime", formats=formats, inferred=True)


def _integer(text: str) -> int | None:
    """The integer of 64 bits that the text is."""
    digits = text.lstrip("+-").lstrip("0")  # Microsoft's reader takes leading zeros
    if not INTEGER.fullmatch(text) or len(digits) > 19:
        return None
    value = int(f"-{digits or 0}" if text.startswith("-") else digits or 0)
    return value if -(2**63) <= value < 2**63 else None
