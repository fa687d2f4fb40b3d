"""What the data of `map_mini_batches` is, and how it becomes the input of a parallel step."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from daskpar.driver.staged_collections import BATCH, FrameParts, ItemBag, PathList, Staged, WholeFrame
from daskpar.errors import UsageError, nearest
from daskpar.locations import is_url
from daskpar.mapped.given_url import at_url, refuse_unreached
from daskpar.named_places import looked_up
from daskpar.sizes import parse_size
from daskpar.value_classes import frozen

_WHAT = (
    "give a pandas or Dask DataFrame, a Dask bag, a list, a folder, the path of an MLTable, or a pattern of "
    "files such as 'images/*.png'"
)


@frozen(kw_only=True)
class GivenData:
    """Data that is split into mini-batches."""

    type: str
    """Of the input: `mltable`, `uri_folder`, `uri_file`."""
    path: str = ""
    """Where it is; empty for what is staged."""
    staged: Staged | None = None
    token: str = ""
    """The same for the same data, as far as that can be known without reading files."""
    mini_batch_size: str = ""
    partition_keys: tuple[str, ...] = ()
    items: bool = False
    """Whether mini-batches are pickled items."""
    columns: Any = None
    dtypes: tuple[Any, ...] = ()
    """Of the frame, empty for anything else: Parquet and MLTables have fewer types."""


def given_data(
    data: Any, mini_batch_size: int | str | None, partition_keys: Sequence[str] | None
) -> GivenData:
    """What `data` is. Raises UsageError for what can't be split, or not so."""
    if isinstance(partition_keys, str):
        raise UsageError(f"partition_keys is a list of names of columns: write [{partition_keys!r}]")
    if mini_batch_size is not None and partition_keys:
        raise UsageError("mini_batch_size and partition_keys each say how to split: give one of them")
    if isinstance(mini_batch_size, bool) or not isinstance(mini_batch_size, int | str | None):
        raise UsageError(f"mini_batch_size is a number or a size such as '10mb', not {mini_batch_size!r}")
    kinds = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(data).__mro__}
    if kinds & {"pandas.DataFrame", "dask.DataFrame", "dask_expr.DataFrame"}:
        found = _frame(data, "pandas.DataFrame" in kinds, mini_batch_size)
        return replace(found, partition_keys=_keys(partition_keys, found.columns))
    if isinstance(data, str | os.PathLike):
        found = _path(os.fspath(data))
        if found.staged is not None:  # the files that fit a pattern
            return replace(found, mini_batch_size=str(_count(mini_batch_size)), partition_keys=())
        written = "" if mini_batch_size is None else str(mini_batch_size)
        found = replace(found, mini_batch_size=written)
        return replace(found, partition_keys=tuple(partition_keys or ()))
    if not ("dask.Bag" in kinds or isinstance(data, list | tuple)):
        hint = ""
        if kinds & {"pandas.Series", "dask.Series"}:
            hint = " Make a frame of it: data.to_frame()."
        elif hasattr(data, "__iter__") and not isinstance(data, Mapping):
            hint = " Make a list of it: list(data)."
        raise UsageError(f"data can't be of type {type(data).__name__}: {_WHAT}.{hint}")
    if partition_keys:
        raise UsageError("partition_keys are columns, and a list or bag has none: give mini_batch_size")
    return _bag(data, mini_batch_size) if "dask.Bag" in kinds else _list(list(data), mini_batch_size)


# -- frames --


def _frame(data: Any, is_pandas: bool, size: int | str | None) -> GivenData:
    from dask.base import tokenize

    token = tokenize(data)
    if getattr(data.columns, "nlevels", 1) > 1 or (getattr(data.index, "nlevels", 1) > 1 and not is_pandas):
        raise UsageError("data has several levels of columns: give each column one name")
    names = data.index.names if is_pandas else [data.index.name]
    if any(name is not None for name in names):
        if twice := [name for name in names if name is not None and name in data.columns]:
            raise UsageError(
                f"data has a column and an index that are named {twice[0]!r}: leave the index out "
                "(data.reset_index(drop=True)), or rename it (data.rename_axis('id'))"
            )
        data = data.reset_index()  # it has a name, so it says something
    columns = list(data.columns)
    double = next((name for name in columns if [str(each) for each in columns].count(str(name)) > 1), None)
    if double is not None:
        raise UsageError(f"data has two columns that are named {double!r}: give each a name of its own")
    dtypes = tuple(_dtype(each) for each in data.dtypes)
    bytes_ = _bytes(size)
    return GivenData(
        type="mltable",
        staged=WholeFrame(data) if is_pandas else FrameParts(data, bytes_),
        token=token,
        mini_batch_size="" if size is None else str(size),
        columns=data.columns if is_pandas else data._meta.columns,
        dtypes=dtypes,
    )


def _dtype(dtype: Any) -> Any:
    """The type to give a column again; categories that nobody knows yet are those of each mini-batch."""
    known = getattr(dtype, "categories", None)
    return "category" if known is not None and "__UNKNOWN_CATEGORIES__" in set(map(str, known)) else dtype


def _bytes(size: int | str | None) -> int:
    try:
        number, unit = parse_size("1mb" if size is None else size)
    except ValueError as error:
        raise UsageError(f"mini_batch_size: {size!r} is no size. {error}") from None
    if unit == 1:
        raise UsageError(
            f"mini_batch_size: {size!r} says no unit, and mini-batches of a DataFrame are sized in bytes: "
            "write '1mb' or '10kb', or partition_keys=[...] for one mini-batch of each key"
        )
    return number * unit


def _keys(keys: Sequence[str] | None, columns: Any) -> tuple[str, ...]:
    known = [str(name) for name in columns]
    for key in keys or ():
        if str(key) not in known:
            hint = nearest(str(key), known) or f"It has: {', '.join(known)}."
            raise UsageError(f"partition_keys: data has no column {key!r}. {hint}")
    return tuple(str(key) for key in keys or ())


# -- files and items --


def _path(text: str) -> GivenData:
    if is_url(text):
        place = looked_up(text)
        if is_url(place):
            seen = at_url(place)
            if seen.files:
                return replace(_files(list(seen.files)), token=place)
            return GivenData(type=seen.type, path=seen.path, token=seen.path)
        text = place  # of a datastore that is a folder
    if any(sign in text for sign in "*?[") and not os.path.exists(text):
        found = sorted(path for path in glob.glob(text, recursive=True) if os.path.isfile(path))
        if not found:
            raise UsageError(f"data: no file fits the pattern {text!r}")
        return replace(_files(found), token=os.path.abspath(text))
    path = Path(os.path.abspath(text))
    if path.name == "MLTable" and path.is_file():
        path = path.parent
    if not path.exists():
        there = os.listdir(path.parent) if path.parent.is_dir() else []
        raise UsageError(f"data: there is no {text}. {nearest(path.name, there)}".rstrip())
    kind = "uri_file" if path.is_file() else "mltable" if (path / "MLTable").is_file() else "uri_folder"
    return GivenData(type=kind, path=str(path), token=str(path))


def _list(data: list[Any], size: int | str | None) -> GivenData:
    """A list of files, or of anything else."""
    count = _count(size)
    if data and all(isinstance(each, str | os.PathLike) for each in data):
        texts = [os.fspath(each) for each in data]
        missing = [text for text in texts if not is_url(text) and not os.path.isfile(text)]
        if missing:
            raise UsageError(
                f"data: {len(missing)} of {len(texts)} are no files that are there, such as {missing[0]!r}. "
                "For a list of texts that are no files, give a Dask bag: dask.bag.from_sequence(texts)"
            )
        refuse_unreached(filter(is_url, texts))
        return replace(_files(texts), mini_batch_size=str(count))
    import dask.bag

    return _bag(dask.bag.from_sequence(data, npartitions=max(1, min(8, len(data)))), count)


def _files(paths: list[str]) -> GivenData:
    absolute = [path if is_url(path) else os.path.abspath(path) for path in paths]
    token = hashlib.sha256("\0".join(absolute).encode("utf-8", "surrogateescape")).hexdigest()
    return GivenData(type="mltable", staged=PathList(absolute), token=token)


def _bag(data: Any, size: int | str | None) -> GivenData:
    from dask.base import tokenize

    return GivenData(
        type="mltable",
        staged=ItemBag(data, _count(size)),
        token=tokenize(data),
        partition_keys=(BATCH,),
        items=True,
    )


def _count(size: int | str | None) -> int:
    if size is None:
        return 1
    try:
        number, unit = parse_size(size)
    except ValueError as error:
        raise UsageError(f"mini_batch_size: {size!r} is no number of items. {error}") from None
    if unit != 1 or number < 1:
        raise UsageError(f"mini_batch_size: {size!r}; files and items are counted: write a number such as 10")
    return number
