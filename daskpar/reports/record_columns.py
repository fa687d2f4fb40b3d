"""Formats record arrays as columns of text, a bulk at a time: a million tries cost seconds, not minutes.

A column is a list of texts, or one text where all rows have the same: most columns of most bulks are such.
Arrow would make the lists in half the time, but loads pandas with it (pyarrow asks whether what it is given
is pandas' own): a quarter of a second and 60 MB that the driver needs for nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import repeat

import numpy as np

from daskpar.masking import hidden
from daskpar.paths import process_name
from daskpar.printable import printable
from daskpar.reports.wording import cell
from daskpar.results import Failure, Reason, TryStatus

Column = list[str] | str

TRY_STATUS = {
    Reason.NONE: "RUN_DONE",
    Reason.EXCEPTION: "RUN_EXCEPTION",
    Reason.TIMEOUT: "RUN_TIMEOUT",
    Reason.DIED: "RUN_EXCEPTION",
    Reason.MEMORY: "RUN_EXCEPTION",
    # readers of the report take RUN_DONE for success, and here a short return is none
    Reason.SHORT: "RUN_EXCEPTION",
    Reason.BAD_RETURN: "RUN_EXCEPTION",
    Reason.LOAD_ERROR: "LOAD_EXCEPTION",
    Reason.LOAD_TIMEOUT: "LOAD_TIMEOUT",
    Reason.LOST: "RUN_EXCEPTION",
    Reason.INPUT_CHANGED: "LOAD_EXCEPTION",
}
"""Azure's status of a try that failed for this reason (`NONE`: one that succeeded)."""

NOT_RUN = (Reason.LOAD_ERROR, Reason.LOAD_TIMEOUT, Reason.LOST, Reason.INPUT_CHANGED)
"""Reasons for which there is no time inside run()."""

_THREE_DIGITS = np.array([f"{i:03d}" for i in range(1000)]).view(np.uint32).reshape(1000, 3)
"""As numpy keeps text: four bytes for each letter."""


def try_status(records: np.ndarray) -> Column:
    """Azure's status of each try: `RUN_DONE`, `RUN_TIMEOUT`, `LOAD_DONE` (no rows: no call of run()), ..."""
    names = [TRY_STATUS[reason] for reason in Reason]
    names.append("LOAD_DONE")
    codes = np.where(records["status"] == TryStatus.EMPTY, len(names) - 1, records["reason"])
    return texts_by_code(codes, names)


def category(records: np.ndarray) -> Column:
    """The reason in words, `N/A` for a try that did not fail."""
    return texts_by_code(
        records["reason"], ["N/A" if reason is Reason.NONE else reason.name for reason in Reason]
    )


def reason_name(reason: int) -> str:
    """The reason in words; a number that this version does not know stays a number."""
    return Reason(reason).name if reason in Reason._value2member_map_ else f"REASON_{reason}"


def texts_by_code(codes: np.ndarray, names: Sequence[str]) -> Column:
    """For each code its text in `names`."""
    return names[int(codes[0])] if is_constant(codes) else [names[code] for code in codes.tolist()]


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
        which = slots[codes]
    else:
        used, which = np.unique(codes, return_inverse=True)
    return [divmod(code, width) for code in used.tolist()], which


def process_names(processors: list[tuple[int, int]], which: np.ndarray) -> Column:
    """`<node>/processNNN` of each try, from the result of `processors`."""
    return texts_by_code(which, [f"{node}/{process_name(processor)}" for node, processor in processors])


def iso_times(seconds: np.ndarray) -> list[str]:
    """UTC with microseconds and a Z, `N/A` where the time is not known (0)."""
    texts, whole = _moments(seconds)
    found = texts.view("U27").ravel().tolist()
    return (
        found
        if whole.all()
        else [text if known else "N/A" for text, known in zip(found, whole.tolist(), strict=True)]
    )


def log_times(seconds: np.ndarray) -> list[str]:
    """As at the start of a log line: `2026-11-23 13:03:23,042`, UTC."""
    texts = _moments(np.maximum(seconds, 1.0))[0][:, :23].copy()
    texts[:, 10], texts[:, 19] = ord(" "), ord(",")
    return texts.view("U23").ravel().tolist()


def _moments(seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`2026-11-23T13:03:23.042123Z` in letters, a row for each moment, and the whole seconds of each."""
    micros = np.rint(np.asarray(seconds, np.float64) * 1e6).astype(np.int64)
    whole = micros // 1_000_000
    rest = (micros - whole * 1_000_000).astype(np.int32)
    base = int(whole.min(initial=0)) if not whole.any() else int(whole[whole > 0].min(initial=whole.max()))
    text = np.empty((len(micros), 27), np.uint32)
    text[:, :20] = _dates(whole, base)
    text[:, 20:23] = _THREE_DIGITS[rest // 1000]
    text[:, 23:26] = _THREE_DIGITS[rest % 1000]
    text[:, 26] = ord("Z")
    return text, whole


def _dates(whole: np.ndarray, base: int) -> np.ndarray:
    """`2026-11-23T13:03:23.` in letters for each whole second: there are few, so each is written once."""
    span = int(whole.max(initial=0)) - base
    if 0 <= span < 100_000:
        slots = np.maximum(whole - base, 0)
        used = np.flatnonzero(np.bincount(slots, minlength=1))
        table: np.ndarray = np.zeros((span + 1, 20), np.uint32)
        table[used] = _date_letters([base + int(slot) for slot in used])
        texts: np.ndarray = table[slots]
        return texts
    seconds, where = np.unique(whole, return_inverse=True)
    return np.take(_date_letters(seconds.tolist()), where, axis=0)


def _date_letters(seconds: Sequence[int]) -> np.ndarray:
    texts = [time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)) for second in seconds]
    return np.array(texts, "U20").view(np.uint32).reshape(-1, 20)


def seconds_text(seconds: np.ndarray, known: np.ndarray | None = None) -> Column:
    """Seconds with six decimals; `N/A` where not `known`."""
    values = np.nan_to_num(np.asarray(seconds, np.float64)).clip(0)
    if is_constant(values) and (known is None or known.all()):
        return f"{values[0]:.6f}"
    texts = (
        _short_seconds(values) if values.max(initial=0.0) < 9.99 else [f"{v:.6f}" for v in values.tolist()]
    )
    if known is None or known.all():
        return texts
    return [text if there else "N/A" for text, there in zip(texts, known.tolist(), strict=True)]


def _short_seconds(seconds: np.ndarray) -> list[str]:
    """Seconds below 10 with six decimals, three times as fast as one by one."""
    text = np.empty((len(seconds), 8), np.uint32)
    _write_short_seconds(text, seconds)
    found: list[str] = text.view("U8").ravel().tolist()
    return found


def _write_short_seconds(text: np.ndarray, seconds: np.ndarray) -> None:
    """Their letters, into eight columns of letters."""
    micros = np.rint(seconds * 1e6).astype(np.int32)
    whole = micros // 1_000_000
    rest = micros - whole * 1_000_000
    text[:, 0], text[:, 1] = whole + ord("0"), ord(".")
    text[:, 2:5] = _THREE_DIGITS[rest // 1000]
    text[:, 5:8] = _THREE_DIGITS[rest % 1000]


def seconds_cells(columns: Sequence[np.ndarray], last_known: np.ndarray) -> list[Column]:
    """As `seconds_text` of each column, `N/A` in the last one where not `last_known`; of short times all in
    one column, with commas between, which is made in half the time.
    """
    *others, last = columns
    values = np.nan_to_num(np.array(columns, np.float64)).clip(0)
    if not last_known.all() or values.max(initial=0.0) >= 9.99:
        return [*map(seconds_text, others), seconds_text(last, last_known)]
    width = 9 * len(columns)
    text = np.full((values.shape[1], width), ord(","), np.uint32)
    for number, seconds in enumerate(values):
        _write_short_seconds(text[:, 9 * number : 9 * number + 8], seconds)
    found: list[str] = np.ascontiguousarray(text[:, :-1]).view(f"U{width - 1}").ravel().tolist()
    return [found]


def whole_numbers(values: np.ndarray) -> Column:
    """A column of whole numbers, as text."""
    return str(int(values[0])) if is_constant(values) else [str(value) for value in values.tolist()]


def cells(texts: Column) -> Column:
    """Texts of others as cells of a CSV table; `N/A` for an empty one."""
    if isinstance(texts, str):
        return cell(printable(texts)) or "N/A"
    # One look at all of them tells that they need nothing, as nearly always.
    joined = "\n".join(texts)
    together = hidden(joined)
    found = texts if together == joined else together.split("\n")
    if together.count("\n") != len(texts) - 1 or not "".join(found).isprintable():
        return [cell(printable(text)) or "N/A" for text in texts]
    needs_quotes = '"' in together or "," in together
    if needs_quotes or " \n" in together or "\n " in together or together != together.strip():
        return [cell(text) or "N/A" for text in found]
    return found if all(found) else [text or "N/A" for text in found]


def join_rows(count: int, *pieces: Column) -> bytes:
    """The rows' texts one after the other as UTF-8: in each row the pieces in their order, with nothing
    between them.
    """
    form = "".join(piece.replace("%", "%%") if isinstance(piece, str) else "%s" for piece in pieces)
    found = [piece for piece in pieces if not isinstance(piece, str)]
    rows = zip(*found, strict=True) if found else repeat((), count)
    # Names of files need not be text that UTF-8 can hold.
    return "".join([form % row for row in rows]).encode("utf-8", "backslashreplace")


def with_rows(records: np.ndarray, failures: Sequence[Failure]) -> list[tuple[int, Failure]]:
    """Each failure with the row of its try in `records`.

    That is the first failed try of its mini-batch that no other failure has. A failure whose try is not among
    the records is left out.
    """
    if not failures:
        return []
    # The failed tries of each mini-batch, the first one at the end, where `pop` takes it.
    rows: dict[int, list[int]] = {}
    for row in np.flatnonzero(records["status"] == TryStatus.FAILED)[::-1].tolist():
        rows.setdefault(int(records["index"][row]), []).append(row)
    return [(rows[failure.index].pop(), failure) for failure in failures if rows.get(failure.index)]
