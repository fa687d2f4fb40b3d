"""Makes columns of pandas frames out of arrays and lists of texts, without an object for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from daskpar.batches.names import Texts

TEXT: Any = "str" if pd.__version__ >= "3" else pd.StringDtype("pyarrow")


def texts(values: Texts, count: int) -> Any:
    """A column of texts; null where a text is empty. What is no Unicode becomes a sign (U+FFFD)."""
    if isinstance(values, str):
        return one_text(values, count)
    try:
        column = pa.array([value or None for value in values], pa.large_string())
    except UnicodeEncodeError:  # names of files may be any bytes
        clean = (value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for value in values)
        column = pa.array([value or None for value in clean], pa.large_string())
    return pd.array(column, TEXT)


def one_text(value: str, count: int) -> Any:
    """A column in which each row has this text."""
    return pd.array(pa.repeat(pa.scalar(value or None, pa.large_string()), count), TEXT)


def kinds(codes: np.ndarray, names: Sequence[str]) -> Any:
    """A column of few different texts, by their number in `names`; null where the text is empty."""
    place: list[int] = []
    kept: list[str] = []
    for name in names:
        place.append(len(kept) if name else -1)
        kept += [name] if name else []
    return pd.Categorical.from_codes(np.array(place)[codes], dtype=pd.CategoricalDtype(kept))


def integers(values: np.ndarray, known: np.ndarray) -> Any:
    """Whole numbers, null where they are not known."""
    return pd.arrays.IntegerArray(values.astype(np.int64), ~known)


def seconds(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Seconds to the microsecond; NaN where they are not known."""
    rounded: np.ndarray = np.where(known, np.round(np.maximum(values, 0).astype(np.float64), 6), np.nan)
    return rounded


def times(values: np.ndarray) -> Any:
    """Moments (seconds since the epoch) in UTC, to the microsecond; null where they are 0."""
    micros = np.rint(values * 1e6).astype("datetime64[us]")
    micros[values == 0] = np.datetime64("NaT")
    return pd.DatetimeIndex(micros).tz_localize("UTC")


def concatenated(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several frames with the same columns."""
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
