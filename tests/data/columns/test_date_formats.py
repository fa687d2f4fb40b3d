from datetime import UTC, datetime

import pytest

from daskpar.data.columns.date_formats import (
    IMPOSSIBLE,
    OUT_OF_RANGE,
    check_formats,
    compile_format,
    infer_formats,
)


def nanoseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["2020-01-31"], ("%Y-%m-%d",)),
        (["2020/1/3"], ("%Y/%m/%d",)),
        (["2020-01-31 1:2:3"], ("%Y-%m-%d %H:%M:%S",)),
        (["2020-01-31T10:20:30.123456789"], ("%Y-%m-%dT%H:%M:%S%.f",)),
        (["2020-01-31T10:20:30Z", "2020-01-31T10:20:30+02:00"], ("%Y-%m-%dT%H:%M:%S%z",)),
        (["2020-01-31 10:20:30 UTC"], ("%Y-%m-%d %H:%M:%S %z",)),
        (["1/31/2020"], ("%m/%d/%Y",)),
        (["31-1-2020", "1-2-2020"], ("%d-%m-%Y",)),
        (["01/31/2020 10:20:30PM"], ("%m/%d/%Y %I:%M:%S%p",)),
        (["31/01/2020 10:20"], ("%d/%m/%Y %H:%M",)),
        (["31-Jan-2020", "31-feb-20"], None),
        (["31/JAN/20 10:20"], ("%d/%b/%y %H:%M",)),
        (["1/2/2020"], ()),
        (["1/31/2020", "31/1/2020"], None),
        (["1-2-2020", "1/31/2020"], ("%m/%d/%Y",)),
        (["31/12/20"], ("%Y/%m/%d",)),
        (["13/12/99"], ("%d/%m/%y",)),
        (["31/12/20 10:20"], ("%d/%m/%y %H:%M",)),
        (["2020-01-31 10:20"], None),
        (["2020-01-31T10:20:30+02"], None),
        (["2020-01-31T10:20:30 GMT"], None),
        (["2020-02-30"], None),
        (["2/30/2020"], None),
        (["2020-01-31 24:00:00"], None),
        (["2020-01-31 10:20:60"], ("%Y-%m-%d %H:%M:%S",)),
        (["01/31/2020 13:20 PM"], None),
        (["31.01.2020"], None),
        (["20200131"], None),
        ([" 2020-01-31"], None),
        (["31 Jan 2020"], None),
        (["2020-01"], None),
        (["10:20:30"], None),
    ],
)
def test_inferred_formats(texts: list[str], formats: tuple[str, ...] | None) -> None:
    assert infer_formats(texts) == formats


def test_families_may_be_mixed() -> None:
    found = infer_formats(["2020-01-02", "01/31/2020", "31-Jan-2020", "2020/01/03 10:20:30"])
    assert found is not None
    assert set(found) == {"%Y-%m-%d", "%m/%d/%Y", "%d-%b-%Y", "%Y/%m/%d %H:%M:%S"}


@pytest.mark.parametrize(
    ("format_", "text", "moment"),
    [
        ("%Y-%m-%d", " 2020-1-3 ", "2020-01-03"),
        ("%Y-%m-%d %H:%M", "2020-01-31T10:20", None),
        ("%Y-%m-%d %H:%M", "2020-01-3110:20", "2020-01-31T10:20:00"),
        ("%d/%m/%y", "31/01/69", "2069-01-31"),
        ("%d/%m/%y", "31/01/70", "1970-01-31"),
        ("%d/%m/%y", "31/01/2020", None),
        ("%d %B %Y", "5 aug 2021", "2021-08-05"),
        ("%d %B %Y", "5 August 2021", "2021-08-05"),
        ("%d %b %Y", "5 August 2021", None),
        ("%m/%d/%Y %I:%M %p", "01/31/2020 12:20 am", "2020-01-31T00:20:00"),
        ("%Y", "2020", "2020-01-01"),
        ("%Y%m%d%H%M%S", "20200131102030", "2020-01-31T10:20:30"),
        ("%F %T", "2020-01-31 10:20:30", "2020-01-31T10:20:30"),
        ("%D", "01/31/20", "2020-01-31"),
        ("%Y-%m-%dT%H:%M:%S%z", "2020-01-31T10:20:30+02:00", "2020-01-31T08:20:30"),
        ("%Y-%m-%dT%H:%M:%S%z", "2020-01-31T10:20:30-0700", "2020-01-31T17:20:30"),
        ("100%% %Y", "100% 2020", "2020-01-01"),
    ],
)
def test_reading_by_a_given_format(format_: str, text: str, moment: str | None) -> None:
    compiled = compile_format(format_, False)
    assert compiled is not None
    assert compiled.read(text) == (None if moment is None else nanoseconds(moment))


def test_the_fraction_may_be_absent() -> None:
    compiled = compile_format("%Y-%m-%d %H:%M:%S.%f", False)
    assert compiled is not None
    base = nanoseconds("2020-01-31T10:20:30")
    assert [compiled.read(f"2020-01-31 10:20:30{rest}") for rest in ("", ".5", ".123456")] == [
        base,
        base + 500_000_000,
        base + 123_456_000,
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("31/13/2020", IMPOSSIBLE),
        ("30/02/2020", IMPOSSIBLE),
        ("01/01/1500", OUT_OF_RANGE),
        ("01/01/2300", OUT_OF_RANGE),
        ("01/01/20", OUT_OF_RANGE),
    ],
)
def test_impossible_fields_and_far_years_differ(text: str, value: int) -> None:
    compiled = compile_format("%d/%m/%Y", False)
    assert compiled is not None
    assert compiled.read(text) == value


def test_a_timestamp_reaches_to_its_last_second() -> None:
    compiled = compile_format("%Y-%m-%d %H:%M:%S", False)
    assert compiled is not None
    assert compiled.read("2262-04-11 23:47:16") == 9223372036 * 10**9
    assert compiled.read("2262-04-11 23:47:17") == OUT_OF_RANGE
    assert compiled.read("1677-09-21 00:12:44") == -9223372036 * 10**9
    assert compiled.read("1677-09-21 00:12:43") == OUT_OF_RANGE


def test_an_unknown_directive_is_no_format() -> None:
    assert compile_format("%Y-%Q", False) is None


def test_formats_that_never_give_a_date_are_refused() -> None:
    with pytest.raises(ValueError, match="no year"):
        check_formats(["%H:%M"])
    with pytest.raises(ValueError, match="date_constant"):
        check_formats(["%H:%M"], "2020-01-01")
    with pytest.raises(ValueError, match="At least one"):
        check_formats([])
    check_formats(["%Y-%m-%d %H:%M", "%Q"], "2020-01-01")
