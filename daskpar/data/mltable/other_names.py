"""What people write who know other readers, and what it is called in an MLTable: pure tables."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from daskpar.errors import nearest

_HEADER = (
    "`header: all_files_same_headers` where the files begin with their columns' names, `header: no_header` "
    "where they do not"
)
_KINDS = "`infer_column_types: {column_type_overrides: [{columns: NAME, column_type: string}]}`"

OPTIONS: dict[str, str] = {
    **dict.fromkeys(
        ("first_row_as_header", "firstrowasheader", "has_header", "header_row", "headers", "promote_headers",
         "first_line_is_header", "include_header"),
        _HEADER,
    ),
    **dict.fromkeys(("sep", "separator", "delim", "field_delimiter", "column_delimiter"), "`delimiter: ','`"),
    **dict.fromkeys(("multiline", "multi_line", "allow_newlines", "newlines_in_values"),
                    "`support_multi_line: true`"),
    **dict.fromkeys(("dtype", "dtypes", "column_types", "schema", "types", "set_column_types"), _KINDS),
    **dict.fromkeys(("charset", "file_encoding"), "`encoding: utf8`"),
    **dict.fromkeys(("skip_rows", "skiprows", "skip_lines", "skip_first_rows"),
                    "the step `skip: N` behind the reader (it skips rows, not lines before the header)"),
    **dict.fromkeys(("nrows", "limit", "max_rows"), "the step `take: N` behind the reader"),
    **dict.fromkeys(("usecols", "use_columns", "select"), "the step `keep_columns: [NAME]` behind it"),
    **dict.fromkeys(("quote", "quotechar", "quote_char", "quoting", "escapechar"),
                    "nothing: quotes are \" and doubled inside a field"),
    **dict.fromkeys(("version",), "`version_as_of: N`"),
}  # fmt: skip
"""Option of another reader -> what to write."""

STEPS: dict[str, str] = {
    **dict.fromkeys(("read_csv", "read_text", "read_delimited_files", "from_delimited_files"),
                    "`read_delimited`"),
    "read_tsv": "`read_delimited: {delimiter: \"\\t\"}`",
    **dict.fromkeys(("read_json", "read_jsonl", "read_ndjson", "from_json_lines_files"), "`read_json_lines`"),
    **dict.fromkeys(("read_parquet_files", "from_parquet_files"), "`read_parquet`"),
    **dict.fromkeys(("read_delta", "read_delta_table", "from_delta_lake"), "`read_delta_lake`"),
    **dict.fromkeys(("head", "limit"), "`take: N`"),
    **dict.fromkeys(("where", "query"), "`filter: \"col('NAME') > 5\"`"),
    **dict.fromkeys(("select", "select_columns"), "`keep_columns: [NAME]`"),
    **dict.fromkeys(("astype", "cast", "convert_types"),
                    "`convert_column_types: [{columns: NAME, column_type: int}]`"),
}  # fmt: skip
"""Step of another library -> what to write."""


def hint_for(word: Any, others: dict[str, str], known: Collection[str]) -> str:
    """What to write instead of an unknown word: its name here, the nearest known one, or all of them."""
    text = str(word)
    if meant := others.get(text.lower().replace("-", "_")):
        return f"Write {meant}."
    return nearest(text, known) or f"There are: {', '.join(known)}."
