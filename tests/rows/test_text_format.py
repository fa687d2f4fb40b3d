"""The text of returned values: that of pandas' to_csv and of str(), whatever is written together."""

from __future__ import annotations

import datetime
import itertools
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.errors import JobFailed
from daskpar.rows.text_format import HEADERLESS, NO_COLUMNS, PLAIN_TEXT, TextEncoder, TextFormat, names_known


def objects(values):
    return pd.Series(values, dtype=object)


def expected(returned):
    if isinstance(returned, pd.DataFrame):
        return returned.to_csv(sep=" ", header=False, index=False, lineterminator="\n").encode(
            "utf-8", "surrogateescape"
        )
    return "".join(f"{element}\n" for element in returned).encode("utf-8", "surrogateescape")


def written(*returns, header=False):
    buffer = TextEncoder(header)
    counts = [buffer.add(returned) for returned in returns]
    text, lengths = buffer.take()
    assert sum(lengths) == len(text)
    ends = np.cumsum([0, *lengths])
    return [text[a:b] for a, b in itertools.pairwise(ends)], counts


FRAMES = {
    "numbers": pd.DataFrame({"a": [1, -2, 2**62], "b": [1.0, -0.0, 0.1 + 0.2], "c": [True, False, True]}),
    "nasty floats": pd.DataFrame(
        {
            "a": [
                1e16,
                1e15,
                1e-4,
                1e-5,
                5e-324,
                -0.0,
                np.inf,
                -np.inf,
                np.nan,
                9999999999.0,
                1e10,
                1.7976931348623157e308,
                0.1,
            ]
        }
    ),
    "nasty float32": pd.DataFrame(
        {"a": np.array([0.1, 1e5, 99999, 1e-3, 1e-4, 1e15, 1e16, np.nan, 16777216, 3e38, 1e-45], np.float32)}
    ),
    "widest numbers": pd.DataFrame(
        {
            "a": [-(2**63), 2**63 - 1, 0],
            "b": [-0.00012345678901234567, -9876543210.123457, 0.30000000000000004],
            "c": np.array([-0.0012345678, -99999.99, 0.1], np.float32),
            "d": np.array([2**64 - 1, 0, 1], np.uint64),
            "e": np.array([-128, 127, 0], np.int8),
        }
    ),
    "float16": pd.DataFrame({"a": np.array([0.1, 1, 60000], np.float16)}),
    "small ints": pd.DataFrame(
        {
            "a": np.array([1, -128], np.int8),
            "b": np.array([0, 2**64 - 1], np.uint64),
            "c": np.array([1, 2], ">i4"),
        }
    ),
    "text to quote": pd.DataFrame(
        {
            "a": [
                "a b",
                'say "hi"',
                '"',
                "",
                " ",
                "line\nbreak",
                "cr\rlf",
                "x\x00y",
                "tab\t",
                "é ü",
                "comma,",
            ],
            "b": 1,
        }
    ),
    "one text column": pd.DataFrame({"a": ["", None, "x"]}),
    "one float column": pd.DataFrame({"a": [np.nan, 1.0]}),
    "text objects": pd.DataFrame({"a": objects(["x", None, np.nan, pd.NA, pd.NaT, "y z"]), "b": 1.5}),
    "mixed objects": pd.DataFrame({"a": objects(["x", 1, 2.5, None, True, b"z q", Decimal("1.10"), (1, 2)])}),
    "dates": pd.DataFrame({"a": pd.to_datetime(["2020-01-01", "2020-01-02"]), "b": [1, 2]}),
    "times": pd.DataFrame({"a": pd.to_datetime(["2020-01-01 00:00", "2020-01-02 10:00"]), "b": ["x y", "z"]}),
    "zoned": pd.DataFrame({"a": pd.to_datetime(["2020-01-01", None]).tz_localize("Europe/Berlin")}),
    "durations": pd.DataFrame(
        {"a": pd.to_timedelta([1, 2], unit="s"), "b": [datetime.date(2020, 1, 1), None]}
    ),
    "nullable": pd.DataFrame(
        {
            "a": pd.array([1, None, 3], "Int64"),
            "b": pd.array([True, None, False], "boolean"),
            "c": pd.array([1.5, None, 2], "Float64"),
            "d": pd.array(["x y", None, ""], "string"),
        }
    ),
    "nullable only": pd.DataFrame(
        {"a": pd.array([1, None], "UInt8"), "b": pd.array([None, False], "boolean")}
    ),
    "categories": pd.DataFrame(
        {"a": pd.Categorical(["x y", None, "z"], categories=["z", "unused", "x y"]), "b": [1, 2, 3]}
    ),
    "number categories": pd.DataFrame({"a": pd.Categorical([3, None, 1])}),
    "arrow": pd.DataFrame(
        {"a": pd.array([1, None], "int64[pyarrow]"), "b": pd.array(["x", None], "string[pyarrow]")}
    ),
    "complex": pd.DataFrame({"a": [1 + 2j]}),
    "same names": pd.DataFrame([[1, "x"], [2, "y"]], columns=["a", "a"]),
    "odd index": pd.DataFrame({"a": [1, 2]}, index=["q", "r"]),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="float64"), "b": pd.Series([], dtype=object)}),
    "no columns": pd.DataFrame(index=range(3)),
    "nothing": pd.DataFrame(),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
def test_a_frame_is_written_as_to_csv_writes_it(name):
    frame = FRAMES[name]
    large = pd.concat([frame] * (1500 // max(len(frame), 1) + 1)) if len(frame) else frame
    texts, counts = written(frame, frame, large, frame)
    assert texts == [expected(frame), expected(frame), expected(large), expected(frame)]
    assert counts == [len(frame), len(frame), len(large), len(frame)]


@settings(max_examples=200, deadline=None)
@given(
    floats=st.lists(st.floats(1e-4, 1e10).map(lambda x: x if x % 2 < 1 else -x), min_size=1, max_size=50),
    float32=st.lists(st.floats(np.float32(1e-3), 1e5, width=32, exclude_max=True), min_size=1, max_size=50),
    whole=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50),
    text=st.sampled_from(["x", "x y"]),
)
def test_numbers_of_a_large_frame_are_written_as_to_csv_writes_them(floats, float32, whole, text):
    """Arrow's writer makes the text of most; it is told how much room that takes."""
    rows = np.arange(1000)
    columns = [np.array(floats), np.array(float32, np.float32), np.array(whole)]
    frame = pd.DataFrame({str(i): np.resize(values, len(rows)) for i, values in enumerate(columns)})
    frame["text"] = text
    assert written(frame)[0] == [expected(frame)]


@pytest.mark.parametrize("name", ["nasty floats", "nasty float32"])
@pytest.mark.parametrize("places", [[0], [499], [999], [0, 1, 2, 999], [3, 500, 501], range(0, 1000, 60)])
def test_numbers_that_are_written_in_another_way_may_be_few_among_many(name, places):
    nasty = FRAMES[name]["a"].to_numpy()
    for first in range(len(nasty)):
        values = np.linspace(0.5, 900.25, 1000, dtype=nasty.dtype)
        values[list(places)] = np.resize(np.roll(nasty, -first), len(places))
        frame = pd.DataFrame({"a": values, "b": np.arange(1000)})
        assert written(frame)[0] == [expected(frame)]


@pytest.mark.parametrize(
    "returned",
    [
        [],
        ["a", "b c", 'say "hi"'],
        [1, 2.50, None, [1, "x"], {"a": 1}],
        ("a", 1),
        np.array([1.5, 2.0]),
        np.arange(6).reshape(2, 3),
        np.arange(4000).reshape(2, 2000),
        pd.Series(["x y", None, "z"], index=[3, 4, 5]),
        pd.Series([1.0, np.nan]),
        ["line\nbreak", ""],
        ["émoji 😀", b"\xff.png".decode("utf-8", "surrogateescape")],
    ],
    ids=repr,
)
def test_elements_are_written_one_str_a_line(returned):
    assert written(returned, returned) == ([expected(returned)] * 2, [len(returned)] * 2)


def test_iterators_are_consumed():
    assert written(x * 2 for x in range(3)) == ([b"0\n2\n4\n"], [3])


class Refuses:
    def __str__(self):
        raise RuntimeError("no text for this")


@pytest.mark.parametrize(
    "bad",
    [
        ["fine", Refuses()],
        pd.DataFrame({"a": [Refuses()]}),
        ["\ud800"],
        pd.DataFrame({"a": objects(["\ud800"])}),
    ],
    ids=["element", "object in a frame", "surrogate", "surrogate in a frame"],
)
def test_what_cannot_be_written_fails_alone(bad):
    buffer = TextEncoder()
    frame = pd.DataFrame({"a": objects(["x"])})
    buffer.add(frame)
    with pytest.raises((RuntimeError, UnicodeEncodeError)):
        buffer.add(bad)
    buffer.add(frame)
    buffer.add(["y"])
    assert buffer.take() == (b"x\nx\ny\n", [2, 2, 2])


def test_a_frame_changed_after_its_return_keeps_its_text():
    numbers = np.zeros(3)
    frame = pd.DataFrame({"a": [1, 2, 3], "b": pd.array([1, None, 3], "Int64"), "c": ["x", "y", "z"]})
    shared = pd.DataFrame(numbers.reshape(3, 1), copy=False)
    before = [expected(frame), expected(shared)]
    buffer = TextEncoder()
    buffer.add(frame)
    buffer.add(shared)
    frame.loc[0] = [9, 9, "changed"]
    numbers[:] = 7
    text, _ = buffer.take()
    assert text == b"".join(before)


def test_take_starts_afresh():
    buffer = TextEncoder()
    buffer.add(["a"])
    assert buffer.size_estimate == 2
    assert buffer.take() == (b"a\n", [2])
    assert buffer.size_estimate == 0
    assert buffer.take() == (b"", [])


def test_the_estimate_is_near_the_truth():
    buffer = TextEncoder()
    frame = pd.DataFrame(
        {
            "row": np.arange(100) + 10**6,
            "score": np.random.default_rng(0).random(100),
            "label": ["setosa"] * 100,
        }
    )
    for _ in range(50):
        buffer.add(frame)
    estimate = buffer.size_estimate
    text, _ = buffer.take()
    assert 0.5 * len(text) < estimate < 2 * len(text)


def test_columns_are_kept_for_the_header():
    buffer = TextEncoder(header=True)
    buffer.add(pd.DataFrame())
    assert buffer.schema is None
    buffer.add(pd.DataFrame({"id": [1], 2: ["x"]}))
    assert buffer.schema == ("id", "2")
    with pytest.raises(ValueError, match=r"\['id', 'score'\] after one with the columns \['id', '2'\]"):
        buffer.add(pd.DataFrame({"id": [1], "score": [0.5]}))
    assert buffer.take() == (b"1 x\n", [0, 4])


def test_without_a_header_columns_may_differ():
    texts, _ = written(
        pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [2]}), pd.DataFrame({"c": ["x"], "d": [1.5]})
    )
    assert texts == [b"1\n", b"2\n", b"x 1.5\n"]


ONE, TWO = pd.DataFrame({"a": [1], "b": ["x"]}), pd.DataFrame({"b": ["x"], "a": [1]})


@pytest.mark.parametrize(
    ("returns", "names"),
    [
        ([ONE, ONE], ("a", "b")),
        ([ONE, ONE[:0], pd.DataFrame(), []], ("a", "b")),
        ([ONE, TWO], ()),
        ([ONE, TWO, ONE], ()),
        ([ONE, ["line"]], ()),
        ([["line"], ONE], ()),
        ([["line"]], ()),
        ([pd.DataFrame(index=[0]), ONE], ()),
        ([pd.DataFrame({0: [1], "a": [2]})], ("0", "a")),
        ([], ()),
    ],
)
def test_without_a_header_readers_know_the_columns_that_all_rows_have(returns, names):
    encoder = TextEncoder()
    for returned in returns:
        encoder.add(returned)
    assert names_known(encoder.schema) == names


def test_processors_that_returned_other_columns_leave_none():
    one, two = (HEADERLESS, "a"), (HEADERLESS, "b")
    assert PLAIN_TEXT.agreed(one, one, "") == one
    assert PLAIN_TEXT.agreed(one, two, "") == PLAIN_TEXT.agreed(NO_COLUMNS, one, "") == NO_COLUMNS
    assert (
        PLAIN_TEXT.head(one) == PLAIN_TEXT.head(NO_COLUMNS) == b""
        and names_known(("a", "b")) == names_known(None) == ()
    )


def test_a_header_that_is_asked_for_later():
    """A run is resumed with --append_row_dataframe_header and --allow-changes."""
    later = TextFormat(header=True)
    assert later.agreed((HEADERLESS, "a"), ("a",), "") == later.agreed(NO_COLUMNS, ("a",), "") == ("a",)
    assert later.head((HEADERLESS, "a", "b")) == b"a b\n" and later.head(NO_COLUMNS) == b""
    with pytest.raises(JobFailed):
        later.agreed((HEADERLESS, "a"), ("b",), "Mini-batch 1")


def test_text_needs_no_pandas():
    code = (
        "import sys; from daskpar.rows.text_format import TextEncoder; b = TextEncoder(); b.add(['x']); b.take(); "
        "print(sorted({'pandas', 'numpy', 'pyarrow'} & {*sys.modules}))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


words = st.one_of(st.none(), st.text(max_size=5), st.text(alphabet=' "\n\r,ab', max_size=4))
COLUMNS = {
    "float": lambda n: st.lists(st.floats(), min_size=n, max_size=n).map(lambda x: np.array(x, np.float64)),
    "plain float": lambda n: st.lists(st.floats(-1e6, 1e6), min_size=n, max_size=n).map(
        lambda x: np.array(x, np.float64)
    ),
    "float32": lambda n: st.lists(st.floats(width=32), min_size=n, max_size=n).map(
        lambda x: np.array(x, np.float32)
    ),
    "int": lambda n: st.lists(st.integers(-(2**63), 2**63 - 1), min_size=n, max_size=n).map(
        lambda x: np.array(x, np.int64)
    ),
    "bool": lambda n: st.lists(st.booleans(), min_size=n, max_size=n).map(lambda x: np.array(x, bool)),
    "objects": lambda n: st.lists(st.one_of(words, st.integers(), st.floats()), min_size=n, max_size=n).map(
        lambda x: objects(x)
    ),
    "text": lambda n: st.lists(words, min_size=n, max_size=n).map(lambda x: objects(x)),
    "string": lambda n: st.lists(words, min_size=n, max_size=n).map(lambda x: pd.array(x, "string")),
    "category": lambda n: st.lists(words, min_size=n, max_size=n).map(pd.Categorical),
    "Int64": lambda n: st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=n, max_size=n).map(
        lambda x: pd.array(x, "Int64")
    ),
    "date": lambda n: st.lists(
        st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)), min_size=n, max_size=n
    ).map(lambda x: np.array(x, "datetime64[us]")),
}


@st.composite
def returns(draw):
    """A list of returns: frames (neighbours often of the same kinds) and lists."""
    shapes = draw(
        st.lists(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=3), min_size=1, max_size=2)
    )
    result = []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.integers(0, 5)) == 0:
            result.append(draw(st.lists(words, max_size=3)))
            continue
        n = draw(st.integers(0, 4))
        shape = draw(st.sampled_from(shapes))
        result.append(pd.DataFrame({f"c{i}": draw(COLUMNS[kind](n)) for i, kind in enumerate(shape)}))
    return result


@settings(max_examples=300, deadline=None)
@given(data=st.data(), several=returns())
def test_text_is_a_function_of_each_return_alone(data, several):
    buffer = TextEncoder()
    texts, lengths = [], []
    for returned in several:
        assert buffer.add(returned) == len(returned)
        if data.draw(st.booleans()):
            text, some = buffer.take()
            texts.append(text)
            lengths += some
    text, some = buffer.take()
    assert b"".join([*texts, text]) == b"".join(map(expected, several))
    assert lengths + some == [len(expected(returned)) for returned in several]
