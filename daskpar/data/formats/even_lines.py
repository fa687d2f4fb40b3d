"""JSON lines that all have the same keys in the same places, read by pyarrow's CSV reader.

That is how programs write tables. Each line is then cut at its commas, and a field is the text of a key,
known from the first line, and a plain value behind it: a quarter less work than to read objects. Anything
else (another key, a comma, quote or escape inside a text, a number that JSON does not know) gives None, and
the reader of objects has to say what the lines are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from daskpar.value_classes import frozen

_LONGEST = 1 << 30  # bytes: one block of pyarrow holds less than 2 GiB
_MEMBER = re.compile(
    rb'[ \t]*"([^"\\,\x00-\x1f]*)"[ \t]*:[ \t]*(?=("[^"\\,\x00-\x1f]*"|[-+.\w]+)([ \t]*\}[ \t]*\r?$)?)'
)
"""A key with its colon; looked at behind it are its value, and the end of the line."""
_TO_THE_END = (1 << 31) - 1
_BEHIND_ZERO = np.isin(np.arange(256), list(b".eE"))
"""By sign: whether JSON knows a number that begins with 0 and goes on with it."""


@frozen
class Layout:
    """What stands before each value of a line, the commas left out, and behind the last one."""

    names: tuple[str, ...]
    before: tuple[str, ...]
    after: str


class _Uneven(Exception):
    """A line is not laid out as the first one, or has a value that is not plain."""


def read_even_lines(data: bytes, wanted: Sequence[pa.Field]) -> pa.Table | None:
    """The columns `wanted` (numbers, text, booleans) of lines (UTF-8) that are laid out alike.

    None where they are not, have other keys, or hold a value that is not plainly of its column's type.
    """
    if b"\\" in data or len(data) > _LONGEST:
        return None
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        return None  # a blank sign for JSON, the end of a line for the reader of CSV
    layout = layout_of(data)
    types = {found.name: found.type for found in wanted}
    if (
        layout is None
        or set(layout.names) != types.keys()
        or not _READ.keys() >= set(map(str, types.values()))
    ):
        return None
    try:
        fields = _fields(data, layout)
        columns = {
            name: _READ[str(types[name])](field, types[name])
            for name, field in zip(layout.names, fields, strict=True)
        }
    except (_Uneven, pa.ArrowInvalid):
        return None
    return pa.table([columns[found.name] for found in wanted], schema=pa.schema(list(wanted)))


def layout_of(data: bytes) -> Layout | None:
    """How the first line of `data` is laid out, where one in the middle and the last are alike."""
    last = len(data) - data.endswith(b"\n")
    layout = _layout(data[: data.find(b"\n") % (len(data) + 1)])
    for end in (last, data.rfind(b"\n", 0, len(data) // 2)):
        start = data.rfind(b"\n", 0, max(end, 0)) + 1
        if layout is None or (end > 0 and _layout(data[start:end]) != layout):
            return None
    return layout


def _layout(line: bytes) -> Layout | None:
    if not line.startswith(b"{"):
        return None
    names, before, at = list[bytes](), list[bytes](), 1
    while found := _MEMBER.match(line, at):
        names.append(found[1])
        before.append(line[0 if at == 1 else at : found.end()])
        at = found.end(2)
        if found[3] is not None:
            after = found[3].removesuffix(b"\r").decode()
            texts, starts = ([part.decode() for part in parts] for parts in (names, before))
            return Layout(tuple(texts), tuple(starts), after) if len(set(texts)) == len(texts) else None
        if line[at : at + 1] != b",":
            return None
        at += 1
    return None


def _fields(data: bytes, layout: Layout) -> list[pa.Array]:
    """The text of each value, by column."""
    names = [str(number) for number in range(len(layout.names))]
    table = csv.read_csv(
        pa.BufferReader(data),
        csv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
        csv.ParseOptions(quote_char=False, double_quote=False),
        csv.ConvertOptions(
            check_utf8=False, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )
    fields: list[pa.Array] = []
    for column, before in zip(table.columns, layout.before, strict=True):
        texts = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        _check(pc.starts_with(texts, before))
        start = len(before.encode())
        fields.append(pc.binary_slice(texts.view(pa.binary()), start, _TO_THE_END).view(pa.string()))
    fields[-1] = _trimmed(fields[-1], pc.ascii_rtrim, layout.after, len(layout.after))
    return fields


def _trimmed(texts: pa.Array, trim: Callable[..., pa.Array], signs: str, count: int) -> pa.Array:
    """The texts without these signs at their ends, of which each must have so many."""
    found = trim(texts, signs)
    _check(pc.equal(pc.subtract(pc.binary_length(texts), pc.binary_length(found)), count))
    return found


def _check(holds: pa.Array) -> None:
    if not pc.all(holds, min_count=0).as_py():  # nulls are no values
        raise _Uneven


def _without_nulls(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, "null"), pa.scalar(None, pa.string()), texts)


def _numbers(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    try:
        values = texts.cast(type_)
    except pa.ArrowInvalid:
        texts = _without_nulls(texts)
        values = texts.cast(type_)
    if not are_json_numbers(texts.drop_null() if texts.null_count else texts):
        raise _Uneven
    return values


def are_json_numbers(texts: pa.Array) -> bool:
    """Whether texts that pyarrow takes for numbers are some for JSON: no `.5`, `5.`, `05`, `0x5` or `inf`."""
    if not len(texts):
        return True
    signs, at = _bytes_and_bounds(texts)
    starts, ends = at[:-1], at[1:]
    lead = signs.take(starts)
    negative = np.flatnonzero(lead == ord("-"))
    digits = starts.copy()
    digits[negative] += 1
    lead[negative] = signs.take(digits[negative])
    if not (_are_digits(lead) and _are_digits(signs.take(ends - 1))):
        return False
    zero = np.flatnonzero(lead == ord("0"))
    behind = digits[zero] + 1
    behind = behind[behind < ends[zero]]
    if not _BEHIND_ZERO.take(signs.take(behind)).all():
        return False
    text = signs.tobytes()
    return (b"e" not in text or b".e" not in text) and (b"E" not in text or b".E" not in text)


def _are_digits(signs: np.ndarray) -> bool:
    return bool(((signs - np.uint8(ord("0"))) < 10).all())


def _bytes_and_bounds(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """All texts one after the other, and where each begins and the last one ends."""
    _, bounds, data = texts.buffers()
    at = np.frombuffer(bounds, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.intp)
    signs = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return signs[at[0] : at[-1]], at - at[0]


def _texts(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    quoted = pc.starts_with(texts, '"')
    if not pc.all(quoted, min_count=0).as_py():
        texts = _without_nulls(texts)
    found = _trimmed(texts, pc.ascii_trim, '"', 2)
    signs = _bytes_and_bounds(found)[0]
    if b'"' in signs.tobytes() or bool((signs < 32).any()):
        raise _Uneven
    return found.cast(type_)


def _booleans(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    texts = _without_nulls(texts)
    true = pc.equal(texts, "true")
    _check(pc.or_(true, pc.equal(texts, "false")))
    return true.cast(type_)


_READ: Mapping[str, Callable[[pa.Array, pa.DataType], pa.Array]] = {
    "bool": _booleans,
    "int64": _numbers,
    "uint64": _numbers,
    "double": _numbers,
    "string": _texts,
}
