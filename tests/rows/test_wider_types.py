"""One type for a column: wider where no value changes, none where one would."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from daskpar.rows.wider_types import usual_type, wider_type

I8, I16, I64, U8, U32, U64 = pa.int8(), pa.int16(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64()
TEXT, NULL = pa.large_string(), pa.null()
BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("one", "other", "wider"),
    [
        (NULL, I8, I8),
        (I8, I64, I64),
        (I8, U8, I16),
        (U32, I8, I64),
        (U8, U64, U64),
        (U64, I8, None),
        (I64, pa.float64(), None),  # 2 would become 2.0
        (I8, pa.float64(), None),
        (pa.bool_(), I8, None),
        (pa.float32(), pa.float64(), pa.float64()),
        (TEXT, I64, None),
        (pa.decimal128(3, 2), pa.decimal128(5, 1), pa.decimal128(6, 2)),
        (pa.decimal128(38, 0), pa.decimal128(38, 38), pa.decimal256(76, 38)),
        (pa.decimal256(76, 0), pa.decimal256(76, 1), None),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("ns"), None),  # years after 2262
        (pa.timestamp("us", BERLIN), pa.timestamp("us", "UTC"), None),
        (pa.timestamp("us", BERLIN), pa.timestamp("us"), None),
        (pa.duration("s"), pa.duration("ms"), pa.duration("ms")),
        (pa.date32(), pa.timestamp("us"), None),
        (pa.list_(NULL), pa.list_(I8), pa.list_(I8)),
        (pa.list_(I8), pa.large_list(I64), pa.large_list(I64)),
        (pa.struct({"a": I8, "b": NULL}), pa.struct({"a": NULL, "b": TEXT}), pa.struct({"a": I8, "b": TEXT})),
        (pa.struct({"a": I8}), pa.struct({"b": I8}), None),
        (pa.struct({"a": I8}), pa.struct({"a": TEXT}), None),
    ],
)
def test_the_type_of_both(one: pa.DataType, other: pa.DataType, wider: pa.DataType | None) -> None:
    assert wider_type(one, other) == wider
    assert wider_type(other, one) == wider


SOME = [NULL, I8, I16, I64, U8, U32, U64, pa.float32(), pa.float64(), pa.decimal128(3, 2), pa.decimal128(30, 0), pa.decimal256(40, 20), TEXT,
        pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns"), pa.list_(I8), pa.list_(NULL), pa.list_(U8)]  # fmt: skip


def test_the_order_in_which_types_are_met_makes_no_difference() -> None:
    def all_of(kinds: tuple[pa.DataType, ...]) -> pa.DataType | None:
        found: pa.DataType | None = kinds[0]
        for kind in kinds[1:]:
            found = wider_type(found, kind) if found is not None else None
        return found

    for kinds in itertools.combinations(SOME, 3):
        assert len({all_of(order) for order in itertools.permutations(kinds)}) == 1, kinds


@pytest.mark.parametrize(
    ("kind", "usual"),
    [
        (pa.string(), TEXT),
        (pa.string_view(), TEXT),
        (pa.binary(), pa.large_binary()),
        (pa.dictionary(pa.int32(), pa.string()), TEXT),
        (pa.list_(pa.dictionary(pa.int32(), pa.string())), pa.list_(TEXT)),
        (pa.struct({"a": pa.string()}), pa.struct({"a": TEXT})),
        (I8, I8),
    ],
)
def test_types_that_mean_the_same_are_one(kind: pa.DataType, usual: pa.DataType) -> None:
    assert usual_type(kind) == usual
