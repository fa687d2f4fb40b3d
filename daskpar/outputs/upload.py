"""Writes a file to a URL so that nobody sees half of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from daskpar.data.reach import advice
from daskpar.errors import InfrastructureLost
from daskpar.locations import filesystem, is_object_store, make_folder_of, remote_errors
from daskpar.outputs.meter import Meter

TRY_AGAIN = "What is committed is kept; `python -m daskpar resume` tries again."


def upload(pieces: Iterable[bytes], target: str, meter: Meter, token: str) -> None:
    """Write `pieces` to the URL `target`, which is replaced once all is there.

    `token`: a short name of who writes. Raises InfrastructureLost where the store refuses.
    """
    files, path = filesystem(target)
    whole_at_close = is_object_store(target)
    name = path if whole_at_close else beside(path, token)
    make_folder_of(target, files, path)
    try:
        with remote_errors():
            send(pieces, files, name, meter, whole_at_close)
            if not whole_at_close:
                files.mv(name, path)
    except OSError as error:
        raise InfrastructureLost(
            f"The output {target} can't be written: {error}{advice(target, error)}. {TRY_AGAIN}"
        ) from error


def beside(path: str, token: str) -> str:
    """A hidden name in the same folder: whoever reads the folder leaves it out."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.{token}.tmp"


def send(
    pieces: Iterable[bytes], files: Any, name: str, meter: Meter, whole_at_close: bool, **options: Any
) -> None:
    """Write `pieces` to the file `name` of an fsspec filesystem: on an error, nothing is left there.

    `whole_at_close`: whether the store shows it only when it is complete. `options` are those of `open`.
    """
    # Leaving a `with` block would finish the upload on an error too, and so would the garbage collector.
    file = files.open(name, mode="wb", autocommit=not whole_at_close, **options)
    try:
        for data in pieces:
            file.write(data)
            meter.add(len(data))
        file.close()
        if whole_at_close:
            file.commit()
    except BaseException:
        _abandon(file, files, name, whole_at_close)
        raise


def _abandon(file: Any, files: Any, name: str, whole_at_close: bool) -> None:
    try:
        if whole_at_close:
            file.discard()
            file.closed = True
        else:
            file.close()
            files.rm(name)
    except Exception:
        pass  # the error that led here is the one to tell
