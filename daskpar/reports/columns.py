"""Record arrays as columns of text, a whole bulk at a time: a million tries cost the driver a second or less, not minutes.

A column is an Arrow array of texts, or one text where all rows have the same: most columns of most bulks are such.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from daskpar.batches.records import Reason, Status
from daskpar.processor.protocol import Failure
from daskpar.reports.layout import process_name

if TYPE_CHECKING:
    import pyarrow as pa

Column: TypeAlias = "pa.Array | str"

TRY_STATUS = {
    Reason.NONE: "RUN_DONE",
    Reason.EXCEPTION: "RUN_EXCEPTION",
    Reason.TIMEOUT: "RUN_TIMEOUT",
    Reason.DIED: "RUN_EXCEPTION",
    Reason.MEMORY: "RUN_EXCEPTION",
    Reason.SHORT: "RUN_EXCEPTION",  # readers of the report take RUN_DONE for success, and here a short return is none
    Reason.BAD_RETURN: "RUN_EXCEPTION",
    Reason.LOAD_ERROR: "LOAD_EXCEPTION",
    Reason.LOAD_TIMEOUT: "LOAD_TIMEOUT",
    Reason.LOST: "RUN_EXCEPTION",
}
"""Azure's status of a try that failed for this reason (`NONE`: one that succeeded)."""

NOT_RUN = (Reason.LOAD_ERROR, Reason.LOAD_TIMEOUT, Reason.LOST)
"""Reasons for which there is no time inside run()."""

_THREE_DIGITS = np.array([f"{i:03d}".encode() for i in range(1000)]).view("u1").reshape(1000, 3)


def try_status(records: np.ndarray) -> Column:
    """Azure's status of each try: `RUN_DONE`, `LOAD_DONE` (no row, so run() was not called), `RUN_TIMEOUT`..."""
    names = [TRY_STATUS[reason] for reason in Reason]
    names.append("LOAD_DONE")
    codes = np.where(records["status"] == Status.EMPTY, len(names) - 1, records["reason"])
    return named(codes, names)


def category(records: np.ndarray) -> Column:
    """The reason in words, `N/A` for a try that did not fail."""
    return named(records["reason"], ["N/A" if reason is Reason.NONE else reason.name for reason in Reason])


def reason_name(reason: int) -> str:
    """The reason in words; a number that this version does not know stays a number."""
    return Reason(reason).name if reason in Reason._value2member_map_ else f"REASON_{reason}"


def named(codes: np.ndarray, names: Sequence[str]) -> Column:
    """Text from a table of texts."""
    import pyarrow as pa

    if is_constant(codes):
        return names[int(codes[0])]
    return pa.array(list(names)).take(pa.array(np.ascontiguousarray(codes)))


def is_constant(values: np.ndarray) -> bool:
    """Whether there are rows and all have one value."""
    return bool(len(values) and (values == values[0]).all())


def processors(records: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """The different (node, processor) of the tries in order, and for each try which of them ran it."""
    width = int(records["processor"].max(initial=0)) + 1
    codes = records["node"].astype(np.int64) * width + records["processor"]
    top = int(codes.max(initial=0)) + 1
    if top <= 4 * len(codes) + 1000:  # counting is many times faster than sorting
        used = np.flatnonzero(np.bincount(codes, minlength=top))
        slots = np.zeros(top, np.int64)
        slots[used] = np.arange(len(used))
        where = slots[codes]
    else:
        used, where = np.unique(codes, return_inverse=True)
    return [divmod(code, width) for code in used.tolist()], where


def process_names(who: list[tuple[int, int]], where: np.ndarray) -> Column:
    """`<node>/processNNN` of each try, from what `processors` says."""
    return named(where, [f"{node}/{process_name(processor)}" for node, processor in who])


def iso_times(seconds: np.ndarray) -> pa.Array:
    """UTC with microseconds and a Z, `N/A` where the time is not known (0)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    micros = np.rint(np.asarray(seconds, np.float64) * 1e6).astype(np.int64)
    whole = micros // 1_000_000
    rest = (micros - whole * 1_000_000).astype(np.int32)
    base = int(whole.min(initial=0)) if not whole.any() else int(whole[whole > 0].min(initial=whole.max()))
    text = np.empty((len(micros), 27), np.uint8)
    text[:, :20] = _dates(whole, base)
    text[:, 20:23] = _THREE_DIGITS[rest // 1000]
    text[:, 23:26] = _THREE_DIGITS[rest % 1000]
    text[:, 26] = ord("Z")
    column = pa.Array.from_buffers(pa.binary(27), len(micros), [None, pa.py_buffer(text)]).cast(pa.string())
    return column if whole.all() else pc.if_else(pa.array(whole > 0), column, "N/A")


def _dates(whole: np.ndarray, base: int) -> np.ndarray:
    """`2026-11-23T13:03:23.` as bytes for each whole second: few different ones, so each is written once."""
    span = int(whole.max(initial=0)) - base
    if 0 <= span < 100_000:
        slots = np.maximum(whole - base, 0)
        used = np.flatnonzero(np.bincount(slots, minlength=1))
        table: np.ndarray = np.zeros((span + 1, 20), np.uint8)
        table[used] = _date_bytes([base + int(slot) for slot in used])
        texts: np.ndarray = table[slots]
        return texts
    seconds, where = np.unique(whole, return_inverse=True)
    return np.take(_date_bytes(seconds.tolist()), where, axis=0)


def _date_bytes(seconds: Sequence[int]) -> np.ndarray:
    texts = [time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode() for second in seconds]
    return np.frombuffer(b"".join(texts), np.uint8).reshape(-1, 20)


def log_times(seconds: np.ndarray) -> pa.Array:
    """As at the start of a log line: `2026-11-23 13:03:23,042`, UTC."""
    import pyarrow.compute as pc

    text = iso_times(np.maximum(seconds, 1.0))
    day, second, millis = (pc.utf8_slice_codeunits(text, start, stop) for start, stop in ((0, 10), (11, 19), (20, 23)))
    return pc.binary_join_element_wise(pc.binary_join_element_wise(day, second, " "), millis, ",")


def seconds_text(seconds: np.ndarray, known: np.ndarray | None = None) -> Column:
    """Seconds with six decimals; `N/A` where not `known`. By way of decimals, which become text faster than floats."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_constant(seconds) and (known is None or known.all()):
        return f"{max(float(np.nan_to_num(seconds[0])), 0.0):.6f}"
    words = np.zeros((len(seconds), 2), np.int64)  # a 128-bit number is two 64-bit words, the lower one first
    words[:, 0] = np.rint(np.nan_to_num(np.asarray(seconds, np.float64)) * 1e6).clip(0)
    column = pa.Array.from_buffers(pa.decimal128(18, 6), len(seconds), [None, pa.py_buffer(words)]).cast(pa.string())
    return column if known is None or known.all() else pc.if_else(pa.array(known), column, "N/A")


def whole(values: np.ndarray) -> Column:
    """A column of whole numbers, as text."""
    import pyarrow as pa

    return str(int(values[0])) if is_constant(values) else pa.array(np.ascontiguousarray(values)).cast(pa.string())


def lines(count: int, *pieces: Column) -> memoryview:
    """The rows' texts one after the other as UTF-8: in each row the pieces in their order, with nothing between them."""
    import pyarrow.compute as pc

    merged: list[pa.Array | str] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    if all(isinstance(piece, str) for piece in merged):
        return memoryview("".join(merged).encode() * count)
    joined = pc.binary_join_element_wise(*merged, "")
    start, stop = joined.offset, joined.offset + len(joined)
    offsets = np.frombuffer(joined.buffers()[1], np.int32)
    return memoryview(joined.buffers()[2])[int(offsets[start]) : int(offsets[stop])]


def pair(records: np.ndarray, failures: Sequence[object]) -> list[tuple[int, Failure]]:
    """Each failure with the row of its try in `records`: the first failed try of its mini-batch that is not taken yet.

    A failure whose try is not among the records is left out.
    """
    wanted = [failure for failure in failures if isinstance(failure, Failure)]
    if not wanted:
        return []
    rows: dict[int, list[int]] = {}
    for row in np.flatnonzero(records["status"] == Status.FAILED)[::-1].tolist():
        rows.setdefault(int(records["index"][row]), []).append(row)
    return [(rows[failure.index].pop(), failure) for failure in wanted if rows.get(failure.index)]
