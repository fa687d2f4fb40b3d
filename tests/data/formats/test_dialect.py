import json

import pytest

from daskpar.data.formats.dialect import ENCODINGS, Dialect, mark_length, to_utf8
from daskpar.errors import InputError


def test_only_the_first_character_of_a_delimiter_counts() -> None:
    assert Dialect(delimiter="::").delimiter == ":"


@pytest.mark.parametrize("delimiter", ["", "§", '"', "\n", "\r"])
def test_delimiters_that_cannot_work_are_refused(delimiter: str) -> None:
    with pytest.raises(InputError, match="delimiter"):
        Dialect(delimiter=delimiter)


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"utf-7.*windows1252"):
        Dialect(encoding="utf-7")


@pytest.mark.parametrize("spelling", ENCODINGS)
def test_a_dialect_survives_json(spelling: str) -> None:
    dialect = Dialect("\t", spelling, True, True)
    assert Dialect.from_json(json.loads(json.dumps(dialect.to_json()))) == dialect


def test_windows_1252_passes_undefined_bytes_through() -> None:
    assert to_utf8(b"\x80\x81\x93\xe9", Dialect(encoding="latin1")).decode() == "€\x81“é"


def test_utf16_is_little_endian() -> None:
    assert to_utf8("é,😀\n".encode("utf-16-le"), Dialect(encoding="utf16")).decode() == "é,😀\n"


def test_an_undecodable_byte_is_named_by_its_place_in_the_file() -> None:
    with pytest.raises(InputError, match=r"d\.csv: byte 102 \(e9 2c\) is not UTF-8"):
        to_utf8(b"a,\xe9,", Dialect(), offset=100, source="d.csv")


def test_half_a_character_of_utf16_is_an_error() -> None:
    with pytest.raises(InputError, match="UTF-16"):
        to_utf8(b"a\0b", Dialect(encoding="utf16"))


def test_byte_order_marks() -> None:
    assert mark_length(b"\xef\xbb\xbfa", Dialect()) == 3
    assert mark_length(b"\xef\xbb\xbfa", Dialect(encoding="latin1")) == 0
    assert mark_length(b"\xff\xfea\0", Dialect(encoding="utf16")) == 2
    assert mark_length(b"a", Dialect()) == 0


def test_big_endian_is_refused() -> None:
    with pytest.raises(InputError, match="big-endian"):
        mark_length(b"\xfe\xff\0a", Dialect(encoding="utf16"))
