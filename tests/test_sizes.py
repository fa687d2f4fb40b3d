"""Sizes as they are written, read and shown."""

from __future__ import annotations

import pytest

from daskpar.sizes import UNITS, disk_size, parse_size, readable_size, written_size

SIZES = {
    "10": (10, 1),
    "10240": (10240, 1),
    "0": (0, 1),
    "10kb": (10, 1024),
    "10 KB": (10, 1024),
    "1Mb": (1, 1024**2),
    " 2gb ": (2, 1024**3),
    "9" * 18: (10**18 - 1, 1),
}
NO_SIZES: dict[object, str] = {
    "1.5mb": 'write "1536kb"',
    "0.5 kb": 'write "512"',
    ".5kb": 'write "512"',
    "1.5gb": 'write "1536mb"',
    "10  kb": "a whole number of files",
    "10b": "a whole number of files",
    "1tb": "a whole number of files",
    "5kbkb": "a whole number of files",
    "ten": "a whole number of files",
    "": "a whole number of files",
    "-1": "a whole number of files",
    "9" * 19: "a whole number of files",
    "١٠": "a whole number of files",
    -1: "a whole number of files",
    True: "a whole number of files",
    1.5: "a whole number of files",
    None: "a whole number of files",
}


@pytest.mark.parametrize(("written", "read"), [*SIZES.items(), (10, (10, 1)), (0, (0, 1))])
def test_what_is_read(written: object, read: tuple[int, int]) -> None:
    assert parse_size(written) == read


@pytest.mark.parametrize(("written", "says"), NO_SIZES.items())
def test_what_is_no_size(written: object, says: str) -> None:
    with pytest.raises(ValueError, match=r"^(Write|A size)") as caught:
        parse_size(written)
    assert says in str(caught.value)


@pytest.mark.parametrize("unit", UNITS.values())
def test_what_is_written_is_read_back(unit: int) -> None:
    assert parse_size(written_size(10, unit)) == (10, unit)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 kB"),
        (1536, "1.5 kB"),
        (1024**2 - 1, "1.0 MB"),
        (1024**5, "1024.0 TB"),
    ],
)
def test_what_is_shown(value: int, text: str) -> None:
    assert readable_size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.0 MB"), (1_234_567_890, "1,234.6 MB"), (1024**2, "1.0 MB")]
)
def test_disks_count_by_thousands(value: int, text: str) -> None:
    assert disk_size(value) == text
