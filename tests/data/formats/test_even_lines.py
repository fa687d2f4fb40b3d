"""JSON lines that are laid out alike are read by columns, as the careful reader reads them; others are left to it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.data.formats.even_lines import are_json_numbers, layout_of, read_even_lines
from daskpar.data.formats.json_lines import line_starts, parse_lines, parse_lines_carefully

FIELDS = [
    pa.field("i", pa.int64()),
    pa.field("u", pa.uint64()),
    pa.field("f", pa.float64()),
    pa.field("b", pa.bool_()),
    pa.field("s", pa.string()),
]
PLAIN = {"i": -1, "u": 2**63, "f": 0.5, "b": True, "s": "grün }"}


def carefully(data: bytes, fields: list[pa.Field]) -> pa.Table:
    return parse_lines_carefully(data, line_starts(data), fields, fields, False, 0, "", {}).table


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,", " : ")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["s", "f", "b"])
def test_lines_laid_out_alike(separators: tuple[str, str], end: str, last: str) -> None:
    objects = [
        PLAIN,
        {"i": 0, "u": 0, "f": -0.25, "b": False, "s": ""},
        {"i": None, "u": None, "f": None, "b": None, "s": None},
        {"i": -(2**63), "u": 7, "f": 1e-300, "b": True, "s": "null"},
        {"i": 5, "u": 7, "f": 20, "b": True, "s": "x:y {}"},
    ]
    order = [name for name in PLAIN if name != last] + [last]
    lines = [json.dumps({name: item[name] for name in order}, separators=separators) for item in objects]
    lines = [line.replace("\\u00fc", "ü") for line in lines]
    data = end.join(lines).encode()
    found = read_even_lines(data, FIELDS)
    if separators == (" ,", " : "):
        assert found is None  # a blank behind a value is none of its text
    else:
        assert found is not None and found.schema == pa.schema(FIELDS)
        assert found.to_pylist() == objects
    assert parse_lines(data, FIELDS).table.to_pylist() == carefully(data, FIELDS).to_pylist()


@pytest.mark.parametrize(
    "other",
    [
        '{"f":1,"s":"a"}',
        '{"s":"a","f":1}',
        '{"f":1,"s":"a","f":2}',
        '{"f":1,"s":"a","x":2}',
        '{"f":1,"s":"a"} rest',
        '{"f":1,"s":"a"}\r{"f":1,"s":"a"}',
        '{"f":1,"s":"a"}\r',
        '{"f":1,"s":"a"}}',
        '{"f": 1,"s":"a"}',
        '{"f":1 ,"s":"a"}',
        '{"f":1,"s":"a" }',
        ' {"f":1,"s":"a"}',
        '{"f":01,"s":"a"}',
        '{"f":-00.5,"s":"a"}',
        '{"f":0x1F,"s":"a"}',
        '{"f":.5,"s":"a"}',
        '{"f":-.5,"s":"a"}',
        '{"f":5.,"s":"a"}',
        '{"f":5.e3,"s":"a"}',
        '{"f":+5,"s":"a"}',
        '{"f":NaN,"s":"a"}',
        '{"f":-Infinity,"s":"a"}',
        '{"f":nan,"s":"a"}',
        '{"f":1e400,"s":"a"}',
        '{"f":9007199254740993,"s":"a"}',
        '{"f":true,"s":"a"}',
        '{"f":"1","s":"a"}',
        '{"f":[1],"s":"a"}',
        '{"f":,"s":"a"}',
        '{"f":1,"s":a}',
        '{"f":1,"s":5}',
        '{"f":1,"s":nil}',
        '{"f":1,"s":"}',
        '{"f":1,"s":""a"}',
        '{"f":1,"s":"a"b"}',
        '{"f":1,"s":"a\\"b"}',
        '{"f":1,"s":"a\\u0041"}',
        '{"f":1,"s":"a,b"}',
        '{"f":1,"s":"a\tb"}',
        '{"f":1,"s":"a\rb"}',
        '{"f":1,"s":"a\0b"}',
        "[1,2]",
        "null",
        " ",
        "",
    ],
)
def test_no_value_is_another_one_beside_an_odd_line(other: str) -> None:
    fields = FIELDS[2:3] + FIELDS[4:]
    for lines in (["%s", other, "%s", "%s", "%s"], [other, "%s", "%s"], ["%s", "%s", other]):
        data = "\n".join(lines).replace("%s", '{"f":1.5,"s":"a"}').encode()
        quick, slow = (
            parse(data) for parse in (lambda d: parse_lines(d, fields, drop_invalid=True), careful_dropping)
        )
        assert quick.table.to_pylist() == slow.table.to_pylist()
        assert quick.dropped == slow.dropped
        assert quick.changed == slow.changed
        assert {name: lost.count for name, lost in quick.failures.items()} == {
            name: lost.count for name, lost in slow.failures.items()
        }


def careful_dropping(data: bytes) -> Any:
    fields = FIELDS[2:3] + FIELDS[4:]
    return parse_lines_carefully(data, line_starts(data), fields, fields, True, 0, "", {})


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        *(
            (text, True)
            for text in ("0", "-0", "5", "-17", "0.5", "-0.25", "10", "1e5", "0e1", "1.5E-7", "0E+9")
        ),
        *(
            (text, False)
            for text in ("05", "-05", "00", ".5", "-.5", "5.", "1.e5", "2.E5", "0x1", "inf", "nan")
        ),
    ],
)
def test_numbers_that_json_knows(text: str, plain: bool) -> None:
    assert are_json_numbers(pa.array([text])) is plain
    assert are_json_numbers(pa.array(["1", text, "0"])) is plain
    assert are_json_numbers(pa.array(["x", text, "0"]).slice(1)) is plain


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b'{"a":1}', ("a",)),
        (b'{ "a" : 1, "b b" :"x"}\r\n{ "a" : 2, "b b" :""}\r\n', ("a", "b b")),
        (b'{"a":1}\n{"a":"x"}\n', ("a",)),  # the types are looked at later
        (b'{"a":1}\n{"a": 1}\n', None),
        (b'{"a":1,"a":1}', None),
        (b'{"a":{"b":1}}', None),
        (b'{"a,b":1}', None),
        (b"{}", None),
        (b'{"a":1,}', None),
        (b"", None),
        (b"\n", None),
        (b'\n{"a":1}', None),
    ],
)
def test_layouts(data: bytes, names: tuple[str, ...] | None) -> None:
    found = layout_of(data)
    assert (found and found.names) == names


ITEMS = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "u": st.none() | st.integers(0, 2**64 - 1),
        "f": st.none() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False),
        "b": st.none() | st.booleans(),
        "s": st.none() | st.text(max_size=3) | st.sampled_from(["null", "}", " x ", "é"]),
    }
)


@given(items=st.lists(ITEMS, min_size=1, max_size=6), ascii_only=st.booleans())
def test_what_is_read_is_what_the_careful_reader_reads(items: list[dict[str, Any]], ascii_only: bool) -> None:
    data = "\n".join(json.dumps(item, ensure_ascii=ascii_only) for item in items).encode()
    found = read_even_lines(data, FIELDS)
    assert found is None or found.to_pylist() == carefully(data, FIELDS).to_pylist()
