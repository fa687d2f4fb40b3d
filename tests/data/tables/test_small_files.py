"""Small files that are read together give what each gives alone: rows, dtypes, errors, and what was lost."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.data.formats import arrow_csv
from daskpar.data.mltable.open import open_mltable
from daskpar.data.stamps import planned_stamp
from daskpar.data.tables import file_reader, small_files
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader
from daskpar.errors import DaskparError, InputChanged

PLAIN = "a,b,c\n1,x,0.5\n2,y,1.5\n3,z,2\n"
CSV = {
    "plain": PLAIN,
    "others": "a,b,c\n" + "".join(f"{row},w{row},{row}.25\n" for row in range(40)),
    "no line end": PLAIN.rstrip("\n"),
    "carriage returns": PLAIN.replace("\n", "\r\n"),
    "a lone return": PLAIN.replace("x", "x\ry"),
    "a return at the end": PLAIN.rstrip("\n") + "\r",
    "a return in the last line": "a,b,c\n\n\r",
    "blank lines": "a,b,c\n\n1,x,0.5\n\n\n2,y,1.5\n\n",
    "quotes": 'a,b,c\n1,"x, and ""more""",0.5\n2,y,"1.5"\n',
    "a line break in quotes": 'a,b,c\n1,"x\ny",0.5\n2,z,3\n',
    "an open quote": 'a,b,c\n1,x,0.5\n2,"y,1.5\n',
    "an open quote, and no line end": 'a,b,c\n1,x,0.5\n2,"y',
    "empty fields": "a,b,c\n,,\n1,x,\n",
    "few fields": "a,b,c\n1,x\n2,y\n",
    "one with few fields": "a,b,c\n1,x,2\n2,y\n",
    "many fields": "a,b,c\n1,x,2,3,4\n2,y,1,3,3\n",
    "no number": "a,b,c\none,x,0.5\n2,y,much\n",
    "a number in hexadecimal": "a,b,c\n0x1F,x,0.5\n",
    "a large number": "a,b,c\n1,x,9007199254740993\n",
    "no number by Arrow's rules": "a,b,c\n1,x,nan(1)\n",
    "a mark": "\ufeff" + PLAIN,
    "a mark inside": "a,b,c\n1,x,0.5\n\ufeff2,y,1.5\n",
    "a null": "a,b,c\n1,x\0y,0.5\n",
    "a header alone": "a,b,c\n",
    "a header without its end": "a,b,c",
    "text of many bytes": "a,b,c\n1,é\U0001f600,0.5\n",
    "another order": "c,b,a\n0.5,x,1\n",
    "another header": "a,b,d\n1,x,0.5\n",
    "a longer header": "a,b,c,d\n1,x,0.5,9\n",
}
BROKEN = {"no UTF-8": b"a,b,c\n1,\xff,0.5\n2,y,1\n"}
LINES = {
    "plain": '{"a": 1, "b": "x", "c": 0.5}\n{"a": 2, "b": "y", "c": 1.5}\n',
    "others": "".join(f'{{"a": {row}, "b": "w{row}", "c": {row}.25}}\n' for row in range(40)),
    "no line end": '{"a": 1, "b": "x", "c": 0.5}',
    "blank lines": '\n{"a": 1, "b": "x", "c": 0.5}\n\n\r\n{"a": 2, "b": "y", "c": 1}\n\n',
    "another order": '{"c": 0.5, "a": 1, "b": "x"}\n',
    "few keys": '{"a": 1}\n{"b": "y"}\n',
    "many keys": '{"a": 1, "b": "x", "c": 0.5, "d": 2}\n',
    "no number": '{"a": "one", "b": "x", "c": 0.5}\n',
    "nested": '{"a": 1, "b": ["x"], "c": 0.5}\n',
    "two in one line": '{"a": 1, "b": "x"}{"a": 2, "b": "y"}\n',
    "one over two lines": '{"a": 3, "z":\n{"b": 1}}\n',
    "a return at the end": '{"a": 1, "b": "x", "c": 0.5}\r',
    "blanks behind": '{"a": 1, "b": "x", "c": 0.5} \n{"a": 2, "b": "y", "c": 1.5}\t\r\n',
    "no line": '{"a": 1, "b": "x", "c": 0.5}\nno object\n',
    "nulls": '{"a": null, "b": null, "c": null}\n',
}
READERS = {
    "read_delimited": ("read_delimited:\n      delimiter: ','\n      include_path_column: false", "csv"),
    "several lines": ("read_delimited:\n      delimiter: ','\n      support_multi_line: true", "csv"),
    "no header": ("read_delimited:\n      delimiter: ','\n      header: no_header", "csv"),
    "the first header": ("read_delimited:\n      delimiter: ','\n      header: from_first_file", "csv"),
    "the same headers": (
        "read_delimited:\n      delimiter: ','\n      header: all_files_same_headers",
        "csv",
    ),
    "different headers": ("read_delimited:\n      header: all_files_different_headers", "csv"),
    "in Latin-1": ("read_delimited:\n      delimiter: ','\n      encoding: latin1", "csv"),
    "path": ("read_delimited:\n      delimiter: ','\n      include_path_column: true", "csv"),
    "read_json_lines": ("read_json_lines", "jsonl"),
    "invalid lines left out": ("read_json_lines:\n      invalid_lines: drop", "jsonl"),
}
STEPS = {
    "none": "",
    "keep": "  - keep_columns: [b, a]\n",
    "convert": "  - convert_column_types:\n    - columns: a\n      column_type: string\n",
    "only a": "  - keep_columns: [a]\n",
    "lossy": "  - convert_column_types:\n    - columns: b\n      column_type: int\n",
    "filter": "  - filter: 'col(\"a\") > 1'\n",
    "sample": "  - take_random_sample: {probability: 0.5, seed: 7}\n",
    "columns of paths": "  - extract_columns_from_partition_format: {partition_format: '/{folder}/{part}.{ending}'}\n",
}


def table_of(folder: str, texts: list[bytes], reader: str, steps: str = "none") -> Table:
    """An MLTable of files with these texts."""
    text, ending = READERS[reader]
    Path(folder, "data").mkdir()
    for number, content in enumerate(texts):
        Path(folder, "data", f"{number:03}.{ending}").write_bytes(content)
    Path(folder, "MLTable").write_text(
        f"paths:\n  - folder: ./data\ntransformations:\n  - {text}\n{STEPS[steps]}"
    )
    found = open_mltable(folder)
    assert isinstance(found, Table)
    return found


def outcome(table: Table, size: int, order: list[int] | None = None) -> list[Any]:
    """What all pieces give, each a frame or an error, and then what was lost."""
    pieces = cut_into_pieces(table, size)
    reader = TableReader(table, pieces)
    found: list[Any] = []
    for i in range(len(pieces)) if order is None else [at % len(pieces) for at in order if len(pieces)]:
        try:
            found.append(reader.frame(i))
        except DaskparError as error:
            found.append(f"{type(error).__name__}: {error}")
    return [*found, reader.take_notices()]


def places(table: Table, size: int, order: list[int] | None = None) -> list[Any]:
    """The rows of all pieces, of which file they are, and where they stand there."""
    pieces = cut_into_pieces(table, size)
    reader = TableReader(table, pieces, positions=True)
    found: list[Any] = []
    for i in range(len(pieces)) if order is None else [at % len(pieces) for at in order if len(pieces)]:
        try:
            chunk = reader.chunk(i)
        except DaskparError as error:
            found.append(str(error))
        else:
            found.append((chunk.table.to_pylist(), chunk.table.schema, chunk.file, chunk.positions.tolist()))
    return found


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        else:
            assert one == other


def alone(look: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
    """The same, each file by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_files, "MOST_FILES", 1)
        return look(*arguments)


def only_known_errors(read: Callable[..., Any]) -> Callable[..., Any]:
    """Any error leads to reading each file by itself: one that shows a mistake of ours would only cost time."""

    def checked(*arguments: Any) -> Any:
        try:
            return read(*arguments)
        except (DaskparError, pa.ArrowException, arrow_csv.UnconvertedColumn):
            raise
        except Exception as error:
            pytest.exit(f"reading small files together raised {error!r}", 1)

    return checked


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_together_they_give_what_each_gives_alone(data: st.DataObject) -> None:
    reader = data.draw(st.sampled_from(list(READERS)))
    known = LINES if READERS[reader][1] == "jsonl" else {**CSV, **BROKEN}
    # Mostly plain ones, or nothing would be read together.
    names = st.one_of(st.sampled_from(["plain", "others"]), st.sampled_from(list(known)))
    chosen = ["plain", *data.draw(st.lists(names, max_size=9))]
    texts = [text if isinstance(text := known[name], bytes) else text.encode() for name in chosen]
    steps, size = data.draw(st.sampled_from(list(STEPS))), data.draw(st.sampled_from([10, 30, 200, 10_000]))
    order = data.draw(st.none() | st.lists(st.integers(0, 30), max_size=12))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_files.SmallFiles, "_read", only_known_errors(small_files.SmallFiles._read))
        try:
            table = table_of(folder, texts, reader, steps)
        except DaskparError:
            return
        assert_same(outcome(table, size, order), alone(outcome, table, size, order))
        assert places(table, size, order) == alone(places, table, size, order)


ALONE = -1


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were parsed together by each parse; ALONE for one of a file by itself."""
    found: list[int] = []
    for name in ("plain_rows", "_read_text"):
        original = getattr(file_reader.FileReader, name)

        def counted(self: Any, *args: Any, original: Any = original, name: str = name) -> Any:
            found.append(len(args[0]) if name == "plain_rows" else ALONE)
            return original(self, *args)

        monkeypatch.setattr(file_reader.FileReader, name, counted)
    return found


def body(text: str) -> int:
    return len(text) - text.index("\n") - 1


@pytest.mark.parametrize(
    ("reader", "text", "parsed"),
    [("read_delimited", PLAIN, body(PLAIN)), ("read_json_lines", LINES["plain"], len(LINES["plain"]))],
)
def test_how_many_are_read_together(
    tmp_path: Path, parses: list[int], reader: str, text: str, parsed: int
) -> None:
    table = table_of(str(tmp_path), [text.encode()] * 150, reader)
    parses.clear()  # planning reads some
    found = outcome(table, 1000)
    assert len(found) == 151 and parses == [64 * parsed, 64 * parsed, 22 * parsed]


def test_reading_ahead_ends_where_the_block_ends(tmp_path: Path, parses: list[int]) -> None:
    table = table_of(str(tmp_path), [PLAIN.encode()] * 20, "read_delimited")
    parses.clear()  # planning reads some
    reader = TableReader(table, cut_into_pieces(table, 1000))
    reader.expect(3, 8)
    for i in range(3, 8):
        assert len(reader.frame(i)) == 3
    assert parses == [5 * body(PLAIN)]


FEW, OTHER = "a,b,c\n1,x\n", "a,b,d\n1,x,2\n"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([PLAIN, FEW, PLAIN], [2 * body(PLAIN) + body(FEW), ALONE, ALONE, ALONE]),
        ([PLAIN] * 2 + [OTHER] * 3, [2 * body(PLAIN), 3 * body(OTHER)]),
        (
            [PLAIN] * 2 + ["a,b,c\n" + "1,x,2\n" * 50_000] + [PLAIN] * 2,
            [2 * body(PLAIN), ALONE, 2 * body(PLAIN)],
        ),
    ],
    ids=["one has few fields", "other headers", "one is large"],
)
def test_what_is_not_read_together(
    tmp_path: Path, parses: list[int], texts: list[str], expected: list[int]
) -> None:
    table = table_of(str(tmp_path), [text.encode() for text in texts], "different headers")
    parses.clear()  # planning reads some
    assert len(outcome(table, 1_000_000)) == len(texts) + 1
    assert parses == expected


def test_a_file_that_changes_fails_alone(tmp_path: Path) -> None:
    table = table_of(str(tmp_path), [PLAIN.encode()] * 6, "read_delimited")
    stamps = [planned_stamp(path) for path in table.files]
    table = replace(table, marks=tuple(stamp.mark for stamp in stamps))
    Path(table.files[2]).write_text(PLAIN + "4,w,1\n")
    os.unlink(table.files[4])
    found = outcome(table, 1000)
    assert [isinstance(each, pd.DataFrame) for each in found[:-1]] == [True, True, False, True, False, True]
    assert all(str(found[at]).startswith(InputChanged.__name__) for at in (2, 4))


def test_where_reading_takes_long_fewer_are_read_together(
    tmp_path: Path, parses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(str(tmp_path), [PLAIN.encode()] * 6, "read_delimited")
    parses.clear()  # planning reads some
    clock = itertools.count()
    monkeypatch.setattr(small_files, "monotonic", lambda: next(clock) * 0.4)
    assert [len(each) for each in outcome(table, 1000)[:-1]] == [3] * 6
    assert parses == [3 * body(PLAIN)] * 2


def test_values_of_any_kind_are_not_read_together(tmp_path: Path, parses: list[int]) -> None:
    table = table_of(str(tmp_path), [LINES["nested"].encode()] * 5, "read_json_lines")
    parses.clear()  # planning reads some
    assert len(outcome(table, 1000)) == 6
    assert parses == [ALONE] * 5


def test_a_json_object_of_one_file_is_no_row_of_another(tmp_path: Path) -> None:
    texts = ['{"a":1,"z":{"b":1}}\n', '{"a":1}{"a":2}\n', '{"a":3,"z":\n{"b":1}}\n', '{"a":9}\n']
    table = table_of(str(tmp_path), [text.encode() for text in texts], "invalid lines left out", "only a")
    assert_same(outcome(table, 1000), alone(outcome, table, 1000))


def test_after_one_that_is_odd_the_next_are_read_one_by_one_for_a_while(
    tmp_path: Path, parses: list[int]
) -> None:
    texts = [PLAIN.encode()] * 400
    texts[200] = b"a,b,c\nmuch,x,1\n"
    table = table_of(str(tmp_path), texts, "read_delimited")
    parses.clear()  # planning reads some
    assert sum(len(each) for each in outcome(table, 1000)[:-1]) == 3 * 399 + 1
    many = 64 * body(PLAIN)
    assert parses[:3] == [many] * 3, "0 to 191"
    assert parses[3] == 63 * body(PLAIN) + len("much,x,1\n") and parses[4:132] == [ALONE] * 128, "192 to 319"
    assert parses[132:] == [many, 16 * body(PLAIN)]
