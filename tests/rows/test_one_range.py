"""Rows of the pieces of a divided mini-batch become one range, in every format."""

from __future__ import annotations

import pytest

from daskpar.rows.csv_format import CsvFormat
from daskpar.rows.json_lines_format import JsonLinesFormat
from daskpar.rows.parquet_format import ParquetFormat
from daskpar.rows.row_format import RowFormat
from daskpar.rows.text_format import TextFormat

SAME = ([{"a": 1, "b": "x"}], [{"a": 2, "b": "y, z\n"}, {"a": None, "b": "u"}], [], [{"a": 3, "b": None}])
OTHERS = (*SAME, [{"b": "ü"}], [{"c": 1.5, "a": 3}])


def ranges_of(made: RowFormat, pieces) -> tuple[list[bytes], object]:
    encoder, ranges = made.encoder(), []
    for piece in pieces:
        encoder.add(piece, 0)
        ranges.append(encoder.take()[0])
    return [data for data in ranges if data], encoder.schema


@pytest.mark.parametrize("made", [TextFormat(), CsvFormat(), JsonLinesFormat()], ids=lambda made: made.name)
def test_where_the_output_is_all_ranges_so_is_that_of_a_mini_batch(made: RowFormat) -> None:
    assert made.concatenated
    ranges, _ = ranges_of(made, SAME)
    assert made.one_range(ranges) == b"".join(ranges)


@pytest.mark.parametrize(
    ("made", "pieces"),
    [
        (CsvFormat(columns="union"), OTHERS),
        (JsonLinesFormat(columns="union"), OTHERS),
        (ParquetFormat(), SAME),
        (ParquetFormat(columns="union"), OTHERS),
    ],
    ids=lambda value: value.name if isinstance(value, RowFormat) else "",
)
def test_where_ranges_are_joined_one_gives_the_same_output(made: RowFormat, pieces) -> None:
    ranges, schema = ranges_of(made, pieces)
    one = made.one_range(ranges)
    assert b"".join(made.join(iter([one]), schema)) == b"".join(made.join(iter(ranges), schema))
