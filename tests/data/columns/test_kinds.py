import json

import pyarrow as pa
import pytest

from daskpar.data.columns.kinds import BOOL, FLOAT, INT, STRING, ColumnKind, infer_kind


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["5", "22"], INT),
        (["0", "1"], BOOL),
        (["00", "01", "+1"], BOOL),
        (["0", "1", "2"], INT),
        (["1", None, "0"], BOOL),
        (["-0", "-1"], INT),
        ([" 4 ", "\t007"], INT),
        (["9223372036854775807", "-9223372036854775808"], INT),
        (["9223372036854775808", "5"], FLOAT),
        (["9" * 5000, "5"], FLOAT),
        (["1.0", "0.0"], FLOAT),
        (["nan", "-Infinity", "+inf", "INF", ".5", "5.", "1e3"], FLOAT),
        (["true", "False", "T", "f", "Yes", "NO", " N "], BOOL),
        (["yes", "no"], STRING),
        (["tRuE"], STRING),
        (["true", "2"], STRING),
        (["true", "1.5"], STRING),
        (["0x10", "1"], STRING),
        (["1_0"], STRING),
        (["NaN", "x"], STRING),
        (["5", ""], STRING),
        (["NA", "null"], STRING),
        (["2020-01-31", "2020"], STRING),
        (["٣"], STRING),
        ([None, None], STRING),
        ([], STRING),
    ],
)
def test_inference(texts: list[str | None], kind: ColumnKind) -> None:
    assert infer_kind(texts) == kind


def test_dates_are_inferred_with_their_formats() -> None:
    assert infer_kind(["2020-01-31", None]) == ColumnKind("datetime", formats=("%Y-%m-%d",), inferred=True)


def test_dates_whose_order_stays_unknown_are_a_datetime_kind_without_values() -> None:
    kind = infer_kind(["1/2/2020", "3/4/2020"])
    assert kind == ColumnKind("datetime", inferred=True)
    assert kind.arrow == pa.null()


def test_a_kind_survives_json() -> None:
    for kind in (
        INT,
        ColumnKind("datetime", formats=("%d/%m/%Y",), inferred=True),
        ColumnKind("datetime", formats=("%Y %H:%M",), date_constant="2020 "),
        ColumnKind("bool", true_values=("x",), false_values=(), mismatch=False),
    ):
        assert ColumnKind.from_json(json.loads(json.dumps(kind.to_json()))) == kind


def test_arrow_types() -> None:
    kinds = [
        STRING,
        INT,
        FLOAT,
        BOOL,
        ColumnKind("datetime", formats=("%Y",)),
        ColumnKind("null"),
        ColumnKind("stream_info"),
    ]
    assert [kind.arrow for kind in kinds] == [
        pa.string(),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
        pa.timestamp("ns"),
        pa.null(),
        pa.string(),
    ]
