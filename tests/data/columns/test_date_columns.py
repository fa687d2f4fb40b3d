from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.data.columns.date_columns import read_date, to_timestamps
from daskpar.data.columns.kinds import ColumnKind

FORMATS = [
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y/%m/%d",
    "%d/%m/%Y",
    "%m/%d/%y",
    "%d-%b-%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%Y%m%d",
    "%d %B %Y",
]
moments = st.datetimes(datetime(1600, 1, 1), datetime(2400, 1, 1))


@st.composite
def dated(draw: st.DrawFn, formats: list[str]) -> str | None:
    """A text of one of the formats, sometimes with short parts, other blanks or a wrong character."""
    format_ = draw(st.sampled_from(formats)).replace("%.f", draw(st.sampled_from(["", ".%f", ".5"])))
    text = draw(moments).strftime(
        format_.replace("%z", draw(st.sampled_from(["Z", "UTC", "+02:00", "-0730"])))
    )
    change = draw(st.integers(0, 9))
    if change == 0:
        return draw(st.sampled_from([None, "", f" {text}", text.replace(" ", "  "), text.replace(" ", "")]))
    if change == 1:
        at = draw(st.integers(0, len(text) - 1))
        return text[:at] + draw(st.sampled_from("019 xT:/-.")) + text[at + 1 :]
    return text.replace("/0", "/").replace("-0", "-") if change < 5 else text


@settings(max_examples=150, deadline=None)
@given(st.data(), st.lists(st.sampled_from(FORMATS), min_size=1, max_size=3, unique=True), st.booleans())
def test_a_column_is_read_as_its_texts_one_by_one(
    data: st.DataObject, formats: list[str], inferred: bool
) -> None:
    texts = data.draw(st.lists(dated(formats), max_size=30))
    kind = ColumnKind("datetime", formats=tuple(formats), inferred=inferred)
    expected = [None if text is None else read_date(text, kind) for text in texts]
    column = pa.array(texts, pa.string())
    assert to_timestamps(column, kind).cast(pa.int64()).to_pylist() == expected
    assert to_timestamps(column.slice(3), kind).cast(pa.int64()).to_pylist() == expected[3:]


@pytest.mark.parametrize("format_", ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%d/%m/%Y"])
def test_regular_columns(format_: str) -> None:
    days = [datetime(1970, 1, 1) + timedelta(days=37 * number) for number in range(500)]
    got = to_timestamps(
        pa.array([day.strftime(format_) for day in days]),
        ColumnKind("datetime", formats=(format_,), inferred=True),
    )
    assert got.type == pa.timestamp("ns")
    assert got.cast(pa.timestamp("us")).to_pylist() == days


def test_a_given_format_that_fits_an_impossible_date_ends_the_search() -> None:
    kind = ColumnKind("datetime", formats=("%m/%d/%Y", "%Y-%m-%d", "%d/%m/%Y"))
    got = (
        to_timestamps(pa.array(["2020-01-31", "31/01/2020", "1/31/2020"]), kind)
        .cast(pa.timestamp("s"))
        .to_pylist()
    )
    assert got == [datetime(2020, 1, 31), None, datetime(2020, 1, 31)]


def test_an_inferred_format_that_fits_an_impossible_date_does_not() -> None:
    kind = ColumnKind("datetime", formats=("%Y/%m/%d", "%d/%m/%y"), inferred=True)
    got = to_timestamps(pa.array(["31/12/20", "13/12/99"]), kind).cast(pa.timestamp("s")).to_pylist()
    assert got == [None, datetime(1999, 12, 13)]


def test_the_date_constant_stands_in_front() -> None:
    kind = ColumnKind("datetime", formats=("%Y-%m-%d %H:%M",), date_constant="2020-01-01")
    assert to_timestamps(pa.array(["10:20", None, "x"]), kind).cast(pa.timestamp("s")).to_pylist() == [
        datetime(2020, 1, 1, 10, 20),
        None,
        None,
    ]


def test_other_formats_than_the_seen_ones_give_null() -> None:
    kind = ColumnKind("datetime", formats=("%Y-%m-%d",), inferred=True)
    texts = ["2020-02-03", "2020-02-03 10:00:00", "01/31/2020", "zz", "2020/02/03", "0000-01-01"]
    assert to_timestamps(pa.array(texts), kind).null_count == 5
