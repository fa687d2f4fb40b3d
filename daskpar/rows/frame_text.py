"""Turns DataFrames into the text that pandas' `to_csv` gives for them, about ten times faster where it can.

Fast are columns whose text is made element by element: integers, floats, booleans and text, as numpy,
nullable or categorical columns. Everything else (dates above all, whose text depends on the whole frame) is
left to `to_csv` itself.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

TEXT = pa.large_string()
NOTHING, LINE_END, QUOTE, POINT_ZERO, TRUE, FALSE = (
    pa.scalar(text, TEXT) for text in ("", "\n", '"', ".0", "True", "False")
)
PLAIN = {
    separator: pacsv.WriteOptions(
        include_header=False, delimiter=separator, quoting_style="none", batch_size=16_384
    )
    for separator in " ,"
}
"""By what stands between two fields."""
SLICE_ROWS = 65_536
"""Rows formatted at once: bounds the memory that a large frame takes on top of itself."""

NUMPY_KINDS = {
    np.dtype(name): name
    for name in (
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float32",
        "float64",
        "bool",
    )
}
TEXT_BYTES = 64
"""More for each text are not the texts alone, as a rule, but the column that they are a slice of."""
SIZES = {"float64": 18, "float32": 11, "bool": 6}

SIMPLE_RANGE = {"float64": (1e-4, 1e10), "float32": (1e-3, 1e5)}
"""Absolute values that Arrow writes as Python and numpy do, but for the `.0` of whole numbers."""
SHORT_EXPONENTS = (9.9e-10, 9.9e-7)
"""Absolute values that Arrow writes with an exponent of one digit, Python and numpy with two; those below are
written alike.
"""
ALWAYS_EXPONENT = 1e16
"""Absolute values from here on are written alike, with an exponent."""
WIDEST_FLOAT = 24
"""Characters of a float in that range at most: its sign, 17 digits, and `0.0001` before them."""
FEW = 200
"""One text in so many is replaced by putting together what lies between: Arrow copies text by text."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The columns of one frame, apart from the frame: numpy arrays (numbers) and Arrow arrays (text, and
    whatever has nulls).
    """

    kinds: tuple[str, ...]
    arrays: tuple[Any, ...]
    rows: int
    size: int
    """About how many bytes its text will have."""


def snapshot(frame: pd.DataFrame, *, copy: bool) -> Snapshot | None:
    """The columns of `frame`, or None where its text must come from `plain`; without `copy` they may share
    memory with the frame.
    """
    if type(frame) is not pd.DataFrame or not frame.shape[1]:
        return None
    kinds: list[str] = []
    arrays: list[Any] = []
    size = 0
    for values in column_arrays(frame):
        column = known_column(values, copy)
        if column is None:
            return None
        kinds.append(column[0])
        arrays.append(column[1])
        size += column[2]
    return Snapshot(tuple(kinds), tuple(arrays), frame.shape[0], size)


def join(frames: Sequence[Snapshot], separator: str = " ") -> tuple[bytes | memoryview, list[int], bool]:
    """The text of frames of equal kinds one after the other, the length in bytes of each one's, and whether
    there may be quotes in it, and line breaks in these.
    """
    kinds = frames[0].kinds
    columns = [_together(kind, [frame.arrays[i] for frame in frames]) for i, kind in enumerate(kinds)]
    bounds = np.cumsum([0, *(frame.rows for frame in frames)])
    rows = int(bounds[-1])
    as_numbers = len(frames) == 1  # else it is by the texts of its columns that each one's length is known
    texts: list[bytes | memoryview] = []
    ends = np.zeros(len(bounds), np.int64)
    for start in range(0, rows, SLICE_ROWS):
        stop = min(start + SLICE_ROWS, rows)
        inside = np.clip(bounds - start, 0, stop - start)
        text, offsets = _lines(
            [
                _fields(kind, column[start:stop], separator, as_numbers=as_numbers)
                for kind, column in zip(kinds, columns, strict=True)
            ],
            inside,
            separator,
        )
        ends += offsets
        texts.append(text)
    lengths: list[int] = np.diff(ends).tolist()
    quoted = any(isinstance(text, bytes) for text in texts)  # else all of it is what `_written` gives
    return texts[0] if len(texts) == 1 else b"".join(texts), lengths, quoted


def column_arrays(frame: pd.DataFrame) -> list[Any]:
    # Forty times as fast as going through Series; there since pandas 1.3.
    column = getattr(frame, "_get_column_array", None)
    if column is None:
        return [series.array for _, series in frame.items()]
    return [column(i) for i in range(frame.shape[1])]


def known_column(values: Any, copy: bool) -> tuple[str, Any, int] | None:
    """Kind, values and about how much text, or None where only `to_csv` knows the text."""
    if isinstance(values, np.ndarray):
        kind = NUMPY_KINDS.get(values.dtype)
        if kind is not None:
            return kind, values.copy() if copy else values, len(values) * SIZES.get(kind, 7)
        return _text_column(_from_objects(values)) if values.dtype == object else None
    dtype = values.dtype
    if isinstance(dtype, pd.StringDtype):
        return _text_column(_arrow_text(values))
    if isinstance(dtype, pd.CategoricalDtype):
        return _text_column(_from_categories(values))
    if isinstance(dtype, pd.BooleanDtype):
        return "nullable bool", _plain_array(pa.array(values.copy())), len(values) * 6
    if str(dtype) in NULLABLE_INTEGERS:
        return f"nullable {dtype}", _plain_array(pa.array(values.copy())), len(values) * 7
    return None


NULLABLE_INTEGERS = frozenset({"Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"})


def _text_column(array: pa.Array | None) -> tuple[str, Any, int] | None:
    if array is None:
        return None
    # Exact for a slice, and for small frames a fifth of all that is done here.
    size = array.get_total_buffer_size()
    return "text", array, size if size < TEXT_BYTES * len(array) else array.nbytes


def _from_objects(values: np.ndarray) -> pa.Array | None:
    """Objects as text, or None if any is neither text nor null."""
    if pd.api.types.infer_dtype(values, skipna=True) not in ("string", "empty"):
        return None
    try:
        return pa.array(values, type=TEXT, from_pandas=True)
    except (pa.ArrowException, UnicodeError):  # lone surrogates, a null of a kind that Arrow does not know
        return None


def _arrow_text(values: Any) -> pa.Array | None:
    try:
        array = values.__arrow_array__()
        return _plain_array(array if array.type == TEXT else array.cast(TEXT))
    except (pa.ArrowException, UnicodeError):
        return None


def _from_categories(values: Any) -> pa.Array | None:
    categories = values.categories.array
    if isinstance(categories.dtype, pd.StringDtype):
        text = _arrow_text(categories)
    elif categories.dtype == object:
        text = _from_objects(np.asarray(categories, dtype=object))
    else:
        return None
    codes = np.asarray(values.codes, dtype=np.int64)
    return None if text is None else text.take(pa.array(codes, mask=codes < 0))


def _plain_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    return pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)


def _together(kind: str, arrays: list[Any]) -> Any:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if isinstance(arrays[0], np.ndarray) else pa.concat_arrays(arrays)


@dataclass(frozen=True, slots=True)
class _Fields:
    """One text per element, null for an empty field; or numbers without nulls whose texts are Arrow's."""

    array: pa.Array
    plain: bool = True
    """Whether Arrow's writer takes them as they are: none holds a quote, a separator or a line break."""


def _fields(kind: str, values: Any, separator: str, *, as_numbers: bool) -> _Fields:
    """`as_numbers`: numbers may stay numbers, where Arrow's writer makes the right text of them."""
    if kind == "text":
        return _quoted(values, separator)
    if kind in SIMPLE_RANGE:
        plain = as_numbers and _written_alike(kind, values)
        return _Fields(pa.array(values) if plain else float_text(kind, values))
    array = pa.array(values) if isinstance(values, np.ndarray) else values
    if kind.endswith("bool"):
        return _Fields(pc.if_else(array, TRUE, FALSE))
    return _Fields(array if as_numbers and not array.null_count else array.cast(TEXT))


def _written_alike(kind: str, values: np.ndarray) -> bool:
    """Whether Arrow writes all of these as Python and numpy do: none is missing, whole, large or tiny."""
    low, high = SIMPLE_RANGE[kind]
    size = np.abs(values)
    # Also false where there is a NaN.
    return bool(len(size) and size.min() >= low and size.max() < high and not (np.floor(size) == size).any())


def float_text(kind: str, values: np.ndarray) -> pa.Array:
    """Arrow's text where it is that of Python and numpy, or can be made so for many at once; else theirs, one
    by one.
    """
    low, high = SIMPLE_RANGE[kind]
    size = np.abs(values)
    text = pa.array(values, from_pandas=True).cast(TEXT)  # from_pandas: NaN is an empty field
    whole = np.floor(size) == size
    if whole.any():
        places = np.flatnonzero(whole & (size < high))
        found = text if len(places) == len(text) else text.take(pa.array(places))
        text = _replaced(text, places, pc.binary_join_element_wise(found, POINT_ZERO, NOTHING))
    if not len(size) or (size.min() >= low and size.max() < high):  # neither with NaN
        return text
    apart = np.flatnonzero(~(((size >= low) & (size < high)) | (size == 0)))
    values, size = values[apart], size[apart]
    short = (size >= SHORT_EXPONENTS[0]) & (size < SHORT_EXPONENTS[1])
    if short.any():
        found = text.take(pa.array(apart[short]))
        text = _replaced(text, apart[short], pc.replace_substring_regex(found, r"e-(\d)$", r"e-0\1"))
    odd = ~(
        short
        | (size < SHORT_EXPONENTS[0])
        | (size >= ALWAYS_EXPONENT) & np.isfinite(values)
        | np.isnan(values)
    )
    if odd.any():
        words = (
            list(map(repr, values[odd].tolist())) if kind == "float64" else values[odd].astype(str).tolist()
        )
        text = _replaced(text, apart[odd], pa.array(words, TEXT))
    return text


def _replaced(text: pa.Array, places: np.ndarray, words: pa.Array) -> pa.Array:
    """The texts with others at these places."""
    if len(places) == len(text):
        return words
    if len(places) * FEW > len(text):
        mask = np.zeros(len(text), bool)
        mask[places] = True
        return pc.replace_with_mask(text, pa.array(mask), words)
    parts, at = [], 0
    for number, place in enumerate(places.tolist()):
        parts += [text[at:place], words[number : number + 1]]
        at = place + 1
    return pa.concat_arrays([*parts, text[at:]])


def _quoted(array: pa.Array, separator: str) -> _Fields:
    """The same texts, those in quotes that the csv module would put in quotes."""
    offsets = (
        np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        if len(array)
        else np.zeros(1, np.int64)
    )
    buffer = array.buffers()[2]
    if buffer is None or offsets[0] == offsets[-1]:
        return _Fields(array)
    data = memoryview(buffer)[offsets[0] : offsets[-1]]
    special, table = _special(separator)
    flat = bytes(data)
    if not any(char in flat for char in special):
        return _Fields(array, plain=b"\r" not in flat)
    places = np.flatnonzero(table[np.frombuffer(data, np.uint8)]) + offsets[0]
    mask = np.zeros(len(array), bool)
    mask[np.searchsorted(offsets, places, side="right") - 1] = True
    mask_array = pa.array(mask)
    inner = pc.replace_substring(array.filter(mask_array), '"', '""')
    return _Fields(
        pc.replace_with_mask(array, mask_array, pc.binary_join_element_wise(QUOTE, inner, QUOTE, NOTHING)),
        plain=False,
    )


@functools.cache
def _special(separator: str) -> tuple[tuple[bytes, ...], np.ndarray]:
    """The characters for which this Python's csv module puts a field in quotes (they differ by version), and
    a table of them by byte.
    """
    table = np.zeros(256, bool)
    for code in range(128):
        line = io.StringIO()
        csv.writer(line, delimiter=separator, lineterminator="\n").writerow([f"a{chr(code)}a", "a"])
        table[code] = line.getvalue().startswith('"')
    return tuple(bytes([code]) for code in np.flatnonzero(table)), table


def _lines(columns: list[_Fields], rows: np.ndarray, separator: str) -> tuple[bytes | memoryview, np.ndarray]:
    """The rows of fields as text, and the bytes before each of `rows`."""
    arrays = [column.array for column in columns]
    if len(columns) > 1 and all(column.plain for column in columns):
        return _written(arrays, rows, separator)
    return _joined([array if array.type == TEXT else array.cast(TEXT) for array in arrays], rows, separator)


def _written(columns: list[pa.Array], rows: np.ndarray, separator: str) -> tuple[memoryview, np.ndarray]:
    """By Arrow's writer, which takes no field that needs quotes: three times as fast as `_joined`. The text
    is not copied out of the buffer that it was written to.
    """
    columns = [pc.fill_null(column, NOTHING) if column.null_count else column for column in columns]
    before = rows * len(columns)
    numbers = [column for column in columns if column.type != TEXT]
    for column in columns:
        if column.type == TEXT:
            before += _offsets(column)[rows]
    # Of just the size that the text will have, or of what it may have at most where it is of one frame: a
    # buffer that grows copies it several times.
    room = int(before[-1]) + int(rows[-1]) * sum(map(_widest, numbers))
    buffer = pa.allocate_buffer(room)
    with pa.FixedSizeBufferWriter(buffer) as sink:
        pacsv.write_csv(
            pa.Table.from_arrays(columns, names=list(map(str, range(len(columns))))), sink, PLAIN[separator]
        )
        size = sink.tell()
    return memoryview(buffer)[:size], np.array([0, size]) if numbers else before


def _widest(numbers: pa.Array) -> int:
    """How many characters the text of one of the numbers has at most."""
    if pa.types.is_floating(numbers.type):
        return WIDEST_FLOAT
    ends = pc.min_max(numbers)
    return max(len(str(ends["min"])), len(str(ends["max"])))


def _offsets(array: pa.Array) -> np.ndarray:
    """Where each text begins, counted from the first, and where the last one ends."""
    if not len(array):
        return np.zeros(1, np.int64)
    found = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    counted: np.ndarray = found - found[0]
    return counted


def _joined(columns: list[pa.Array], rows: np.ndarray, separator: str) -> tuple[bytes, np.ndarray]:
    """Element by element, whatever is in the fields."""
    if len(columns) == 1:  # csv writes "" for a row that is one empty field: an empty line would be no row
        empty = pc.fill_null(pc.equal(columns[0], NOTHING), True)
        columns = [pc.if_else(empty, pa.scalar('""', TEXT), columns[0])]
    options = {"null_handling": "replace", "null_replacement": ""}
    columns[-1] = pc.binary_join_element_wise(columns[-1], NOTHING, LINE_END, **options)
    lines = (
        pc.binary_join_element_wise(*columns, pa.scalar(separator, TEXT), **options)
        if len(columns) > 1
        else columns[0]
    )
    if lines.type != TEXT:
        lines = lines.cast(TEXT)
    start = np.frombuffer(lines.buffers()[1], np.int64)[lines.offset]
    ends = _offsets(lines)
    return bytes(memoryview(lines.buffers()[2])[start : start + ends[-1]]), ends[rows]
