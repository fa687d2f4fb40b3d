"""The formats that appended rows may have, and what the name of a file says of its format."""

from __future__ import annotations

import os

TEXT, CSV, PARQUET, JSONL = "text", "csv", "parquet", "jsonl"
FORMATS = (TEXT, CSV, PARQUET, JSONL)
"""What `--append_row_format` may be."""
SAME, UNION = "same", "union"
COLUMN_RULES = (SAME, UNION)
"""What `--append_row_columns` may be."""

PART_BYTES = 128 << 20
"""About how many bytes a part file has where rows go to a folder, unless the user says otherwise."""
ALL, PATH = "all", "path"
"""What `--append_row_join` may be beside names of columns: all of a table's; the path of each file."""
INDEX_COLUMN = "minibatch_index"
"""The column that `--append_row_index` adds; scripts know it by this name from `mini_batch_context`."""

_PARQUET = (".parquet", ".parq", ".pq")
_OTHER_TABLES = (".arrow", ".feather", ".orc", ".avro", ".xlsx")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_COMMAS, _JSON, _LINES = (".csv", ".tsv"), (".json", ".jsonl", ".ndjson"), (".txt", ".log")

FILE_ENDINGS = {TEXT: ".txt", CSV: ".csv", PARQUET: ".parquet", JSONL: ".jsonl"}
"""What the name of a file ends in that has rows of a format, where nobody chose the name."""
_PROMISE_OTHERS = {
    TEXT: frozenset((*_PARQUET, *_OTHER_TABLES, *_PACKED)),
    CSV: frozenset((*_PARQUET, *_OTHER_TABLES, *_PACKED, *_JSON)),
    JSONL: frozenset((*_PARQUET, *_OTHER_TABLES, *_PACKED, *_COMMAS)),
    PARQUET: frozenset((*_OTHER_TABLES, *_PACKED, *_COMMAS, *_JSON, *_LINES)),
}


def format_by_name(path: str) -> str:
    """The format of rows for whose file only a path was given: text as in Azure, for a name that ends in
    `.csv` too; Parquet for one that ends in `.parquet`.
    """
    return PARQUET if path.lower().endswith(".parquet") else TEXT


def wrong_ending(row_format: str, path: str) -> str:
    """The ending of `path` where it promises another format than `row_format`, else an empty text."""
    ending = os.path.splitext(path)[1].lower()
    return ending if ending in _PROMISE_OTHERS[row_format] else ""
