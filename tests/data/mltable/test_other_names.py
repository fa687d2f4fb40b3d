"""A refused option or step says what to write."""

from __future__ import annotations

import pytest

from daskpar.data.mltable.document import parse_document
from daskpar.data.mltable.other_names import OPTIONS, STEPS
from daskpar.data.mltable.transformation_options import check_transformation
from daskpar.errors import InputError


@pytest.mark.parametrize(
    ("step", "line", "way_out"),
    [
        ("read_delimited: {first_row_as_header: true}", 4, "Write `header: all_files_same_headers` where"),
        ("read_delimited: {First-Row-As-Header: true}", 4, "Write `header: all_files_same_headers` where"),
        ("read_delimited: {header: true}", 4, "`header: all_files_same_headers` is what you mean"),
        ("read_delimited: {header: false}", 4, "`header: no_header` is what you mean"),
        ("read_delimited: {sep: ';'}", 4, "Write `delimiter: ','`."),
        ("read_delimited: {delimeter: ';'}", 4, "Did you mean 'delimiter'?"),
        ("read_delimited: {frobnicate: 5}", 4, "There are: include_path_column, path_column, delimiter"),
        ("read_delimited:\n      delimiter: ,", 5, "begins with , has to be quoted: delimiter: ','"),
        ("read_delimited:\n      delimiter: '", 6, ""),
        ("read_delimited:\n      delimiter: %", 5, "begins with % has to be quoted: delimiter: '%'"),
        ("read_delimited:\n      delimiter: \t", 5, 'A tab is written "\\t", in double quotes.'),
        ("read_delimited:\n      delimiter: |", 5, "one ASCII character in quotes, like ','"),
        ("read_delimited:\n      delimiter: #", 5, "one ASCII character in quotes, like ','"),
        ("read_csv", 4, "Write `read_delimited`."),
        ("read_tsv", 4, 'Write `read_delimited: {delimiter: "\\t"}`.'),
        ("frobnicate: 5", 4, "There are: read_delimited, read_parquet"),
    ],
)
def test_a_refusal_says_what_to_write(step: str, line: int, way_out: str) -> None:
    text = f"paths:\n  - file: a.csv\ntransformations:\n  - {step}\n"
    with pytest.raises(InputError) as caught:
        parse_document(text.encode(), "MLTable", ".")
    assert str(caught.value).startswith(f"MLTable:{line}: ")
    assert way_out in str(caught.value)


def test_no_name_of_our_own_is_called_another() -> None:
    known = check_transformation("read_delimited", {})
    assert not set(OPTIONS) & set(known)
    assert not set(STEPS) & {
        "read_delimited",
        "read_parquet",
        "read_json_lines",
        "read_delta_lake",
        "take",
        "filter",
    }
