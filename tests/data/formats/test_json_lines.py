"""JSON lines: the fast reader and the careful one give the same, and what is no object is an error or dropped."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.data.columns.kinds import ColumnKind
from daskpar.data.columns.special_types import any_field, is_any
from daskpar.data.formats import json_lines
from daskpar.data.formats.json_lines import decode_line, infer_fields, line_starts, parse_lines
from daskpar.errors import InputError

FIELDS = [
    pa.field("i", pa.int64()),
    pa.field("f", pa.float64()),
    pa.field("s", pa.string()),
    pa.field("b", pa.bool_()),
]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], "int64"),
        ([1, 2.5], "double"),
        ([True, None], "bool"),
        (["x", "2020-01-01"], "string"),
        ([2**63], "uint64"),
        ([2**63, -1], "double"),
        ([2**64], "double"),
        ([1, True], "any"),
        ([1, "x"], "any"),
        ([{"x": 1}], "any"),
        ([None], "any"),
    ],
)
def test_kinds_of_sampled_values(values: list[Any], kind: str) -> None:
    found = infer_fields([{"a": value} for value in values])
    assert [("any" if is_any(field) else str(field.type)) for field in found] == [kind]


@pytest.mark.parametrize(
    ("kind", "values", "given", "lost"),
    [
        (
            ColumnKind("string"),
            [5, "x", 2.5, True, [1, "y"], 2**64],
            ["5", "x", "2.5", "True", '[1, "y"]', str(2**64)],
            0,
        ),
        (
            ColumnKind("int"),
            [5, 1.9, "7", "x", True, 2**63, 10**400],
            [5, 1, 7, None, None, 2**63 - 1, 2**63 - 1],
            2,
        ),
        (ColumnKind("float"), [5, 1.5, "1e3", None, {"a": 1}], [5.0, 1.5, 1000.0, None, None], 1),
        (
            ColumnKind("bool", true_values=("on",), false_values=("off",)),
            ["on", "off", "Yes", 0, 2**64],
            [True, False, None, False, True],
            1,
        ),
    ],
)
def test_values_of_declared_columns_are_converted(
    kind: ColumnKind, values: list[Any], given: list[Any], lost: int
) -> None:
    data = "\n".join(json.dumps({"a": value}) for value in values).encode()
    found = parse_lines(data, [pa.field("a", kind.arrow)], kinds={"a": kind})
    assert found.table.column("a").to_pylist() == given
    assert sum(failed.count for failed in found.failures.values()) == lost


@pytest.mark.parametrize("line", [r'{"s":"\ud800"}', r'{"\uDC00":1}', r'{"n":{"s":["a\ud83d"]}}'])
def test_half_of_a_surrogate_pair_makes_a_line_invalid(line: str) -> None:
    with pytest.raises(InputError, match="half of a surrogate pair"):
        parse_lines(line.encode(), [pa.field("s", pa.string())])
    both = parse_lines(rb'{"s":"\ud83d\ude00"}', [pa.field("s", pa.string()), any_field("x")])
    assert both.table.column("s").to_pylist() == ["😀"]


def test_an_integer_beyond_all_floats_is_lost_and_counted() -> None:
    found = parse_lines(b'{"f":1}\n{"f":' + b"9" * 400 + b"}\n", FIELDS)
    assert found.table.column("f").to_pylist() == [1.0, None]
    assert found.failures["f"].count == 1


OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "i": st.none() | st.integers(-(2**63), 2**63 - 1) | st.just(2.5),
        "f": st.none() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False),
        "s": st.none() | st.text(max_size=4) | st.just(7),
        "b": st.none() | st.booleans() | st.just("x"),
        "new": st.none() | st.integers(0, 3) | st.just({"a": [1]}),
    },
)


@given(
    objects=st.lists(OBJECTS, max_size=8),
    ascii_only=st.booleans(),
    ends=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_the_fast_reader_gives_what_the_careful_one_gives(
    objects: list[dict[str, Any]], ascii_only: bool, ends: str
) -> None:
    data = ends.join(json.dumps(item, ensure_ascii=ascii_only) for item in objects).encode()
    quick = parse_lines(data, FIELDS)
    careful = json_lines.parse_lines_carefully(data, line_starts(data), FIELDS, FIELDS, False, 0, "", {})
    assert (
        quick.table.equals(careful.table.combine_chunks())
        or quick.table.to_pylist() == careful.table.to_pylist()
    )
    assert {name: lost.count for name, lost in quick.failures.items()} == {
        name: lost.count for name, lost in careful.failures.items()
    }
    assert {name: lost.count for name, lost in quick.surplus.items()} == {
        name: lost.count for name, lost in careful.surplus.items()
    }


@pytest.mark.parametrize(
    "line", ["[1]", "5", "null", "{", '{"i":NaN}', '{"f":1e400}', '{"f":Infinity}', "   ", '{"i":01}', "x"]
)
def test_lines_that_are_no_object(line: str) -> None:
    data = f'{{"i":1}}\n{line}\n{{"i":2}}\n'.encode()
    with pytest.raises(InputError, match=r"d\.jsonl: the line at byte 108 is invalid"):
        parse_lines(data, FIELDS, offset=100, source="d.jsonl")
    found = parse_lines(data, FIELDS, drop_invalid=True)
    assert found.table.column("i").to_pylist() == [1, 2]
    assert found.kept is not None and found.kept.tolist() == [0, 2]
    assert found.dropped is not None and found.dropped.count == 1


def test_text_behind_an_object_and_repeated_keys() -> None:
    data = b'{"i":1}{"i":2}\n{"i":3} rest\n{"i":4,"i":5}\n'
    assert parse_lines(data, FIELDS).table.column("i").to_pylist() == [1, 3, 5]
    assert decode_line('  {"a": 1}') == {"a": 1}
