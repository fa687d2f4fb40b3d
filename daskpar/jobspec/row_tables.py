"""The MLTable that makes a table of a file of rows: what to write where a file is to be split by its rows."""

from __future__ import annotations

import os

_READERS = {
    ".csv": "read_delimited: {delimiter: ',', encoding: utf8, header: all_files_same_headers}",
    ".tsv": 'read_delimited: {delimiter: "\\t", encoding: utf8, header: all_files_same_headers}',
    ".tab": 'read_delimited: {delimiter: "\\t", encoding: utf8, header: all_files_same_headers}',
    ".txt": "read_delimited: {delimiter: ',', encoding: utf8, header: all_files_same_headers}",
    ".jsonl": "read_json_lines: {encoding: utf8, invalid_lines: error}",
    ".ndjson": "read_json_lines: {encoding: utf8, invalid_lines: error}",
    ".parquet": "read_parquet: {}",
    ".parq": "read_parquet: {}",
    ".pq": "read_parquet: {}",
}


def reader_of(name: str) -> str:
    """The transformation that reads rows of a file with this name; empty where its ending tells of none."""
    return _READERS.get(os.path.splitext(name)[1].lower(), "")


def table_text(paths: list[str], reader: str) -> str:
    """An MLTable that reads files or patterns (as they stand in `paths:`) with a transformation."""
    listed = "\n".join(f"  - {path}" for path in paths)
    return f"paths:\n{listed}\ntransformations:\n  - {reader}\n"


def table_hint(path: str, size: str) -> str:
    """What to write so that the rows of the file at `path` are split by `size` bytes."""
    name = os.path.basename(path)
    reader = reader_of(name)
    if not reader:
        return 'Write a number of files, like "10".'
    lines = table_text([f"file: ./{name}"], reader).rstrip().replace("\n", "\n    ")
    return (
        f"To split its rows by {size}, write a file named MLTable beside it:\n    {lines}\n"
        "  and name its folder: {type: mltable, mode: direct, path: FOLDER}."
    )
